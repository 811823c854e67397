"""The console command ``prism-bench``, also ``python -m prism_bench``."""

import sys
from collections.abc import Callable
from importlib import import_module

COMMANDS = {
    "run": "run:main",
    "check": "check:main",
    "compare": "compare:main",
    "diagnose": "diagnose:main",
    "collect": "collect:main",
    "probe": "probe:main",
    "report": "report:main",
    "cache": "cache:main",
    "import": "sharegpt:import_main",
    "export": "sharegpt:export_main",
    "download": "download:main",
    "new-env": "skeleton:env_main",
    "new-router": "skeleton:router_main",
}


def main() -> int | None:
    """Run the command that the first argument names; return its exit status."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in COMMANDS:
        lines = [f"  {command:<12}{(_load(command).__doc__ or '').splitlines()[0]}" for command in COMMANDS]
        print("usage: prism-bench COMMAND ...; COMMAND --help explains each\n", *lines, sep="\n")
        return 0 if name in ("-h", "--help") and len(sys.argv) > 1 else 1
    sys.argv[:2] = [f"prism-bench {name}"]
    status: int | None = _load(name)()
    return status


def _load(command: str) -> Callable[[], int | None]:
    module, _, name = COMMANDS[command].partition(":")
    function: Callable[[], int | None] = getattr(import_module(f"prism_bench.commands.{module}"), name)
    return function
