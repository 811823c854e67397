"""The official data of an environment: ``prism-bench download NAME DEST``.

Every environment that has data to fetch has a module ``envs.NAME.download`` with a function ``main``.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

import envs
from prism_bench.commands.hydra_command import reporting_mistakes
from prism_bench.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch the official data of an environment."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    names = [name for _, name, is_package in iter_modules(envs.__path__) if is_package and _has_download(name)]
    if not given or given[0] in ("-h", "--help"):
        print(f"usage: prism-bench download NAME DEST\n\nNAME: {', '.join(names)}")
        return 0 if given else 1
    with reporting_mistakes():
        if given[0] not in names:
            raise InputError(f"no environment {given[0]!r} has data to download; choose from {', '.join(names)}")
    import_module(f"envs.{given[0]}.download").main(given[1:])
    return 0


def _has_download(name: str) -> bool:
    return find_spec(f"envs.{name}.download") is not None
