"""New environments and routers to begin with: ``prism-bench new-env NAME``, ``prism-bench new-router NAME``.

``skeletons/KIND`` mirrors the project: each of its files is written to the same place there, without ``.txt`` and with
the name for NAME and CLASS. What they make runs at once, and passes the test that comes with it.
"""

import argparse
import keyword
import re
from pathlib import Path

from prism_bench.commands.hydra_command import clean_exit
from prism_bench.errors import InputError
from prism_bench.files import write_atomically

SKELETONS = Path(__file__).with_name("skeletons")


def env_main() -> None:
    """Write an environment to begin with: code, settings and test."""
    _main("env", "an environment", "python run.py env={}")


def router_main() -> None:
    """Write a router to begin with: code, settings and test."""
    _main("router", "a router", "python run.py router={}")


def _main(kind: str, what: str, use: str) -> None:
    parser = argparse.ArgumentParser(description=f"Write {what} to begin with into this checkout of the project.")
    parser.add_argument("name", metavar="NAME", help="lower-case letters, digits and underscores, as in my_world")
    name = parser.parse_args().name
    with clean_exit():
        written = write_skeleton(SKELETONS / kind, Path.cwd(), name)
        test = next(path for path in written if path.name == f"test_{name}.py")
        print("wrote", *written, sep="\n  ")
        print(f"check it   python -m pytest {test}\nuse it     {use.format(name)}")


def write_skeleton(skeleton: Path, project: Path, name: str) -> list[Path]:
    """Write the files of a skeleton and return their paths, from the project's folder; nothing if one is refused.

    Raises:
        InputError: the name is none for a module, a file of it exists, or ``project`` is no checkout.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise InputError(f"{name!r} is no name for a module; take lower-case letters, digits and _, as in my_world")
    camel = "".join(word.capitalize() for word in name.split("_"))
    files = {}
    for source in sorted(skeleton.rglob("*.txt")):
        place = Path(str(source.relative_to(skeleton).with_suffix("")).replace("NAME", name))
        files[place] = source.read_text(encoding="utf-8").replace("NAME", name).replace("CLASS", camel)
    for place in files:
        if not (project / place).parent.is_dir():
            raise InputError(f"there is no folder {place.parent} here; change to a checkout of the project first")
        taken = [path for path in (project / place, (project / place).with_suffix("")) if path.exists()]
        if taken:
            raise InputError(f"{taken[0].relative_to(project)} exists; choose another name, or remove it first")
    for place, text in files.items():
        write_atomically(project / place, text)
    return list(files)
