"""Official data of an environment: ``prism-bench download NAME DEST``.

An environment that has data to fetch has a module ``envs.NAME.download`` with a function ``main``, which reads the
other arguments from the command line.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

import envs
from prism_bench.commands.hydra_command import clean_exit
from prism_bench.errors import InputError


def main() -> int:
    """Fetch the official data of an environment."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    names = [module for _, module, is_package in iter_modules(envs.__path__) if is_package and _has_download(module)]
    if name in ("-h", "--help"):
        print(f"usage: prism-bench download NAME DEST\n\n{main.__doc__}\n\nNAME: {', '.join(names)}")
        return 0 if len(sys.argv) > 1 else 1
    with clean_exit():
        if name not in names:
            raise InputError(f"no environment {name!r} has data to download; choose from {', '.join(names)}")
        sys.argv[:2] = [f"prism-bench download {name}"]
        import_module(f"envs.{name}.download").main()
    return 0


def _has_download(name: str) -> bool:
    return find_spec(f"envs.{name}.download") is not None
