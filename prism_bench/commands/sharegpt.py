"""Conversion between trajectories and ShareGPT conversations (:mod:`prism_bench.data.sharegpt`).

prism-bench import IN OUT.parquet [--task KEY]
prism-bench export IN.parquet OUT.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prism_bench.commands.hydra_command import quieten, reporting_mistakes

if TYPE_CHECKING:  # it takes seconds to import, for which --help should not wait
    from prism_bench.data.trajectory import Trajectory


def import_main(arguments: Sequence[str] | None = None) -> None:
    """Read ShareGPT conversations and write trajectories."""
    parser = _files("import", import_main, "a .json or .jsonl file, or a folder of them", ".parquet")
    parser.add_argument("--task", default="task_id", metavar="KEY", help="the key under which a record names its task")
    options = parser.parse_args(arguments)
    source, target = options.source, options.target
    with reporting_mistakes() as console:
        quieten()
        from prism_bench.data.sharegpt import import_conversations
        from prism_bench.data.trajectory import save_trajectories

        trajectories = import_conversations(source, options.task)
        save_trajectories(trajectories, target)
        console.print(_summary(trajectories, target), soft_wrap=True)


def export_main(arguments: Sequence[str] | None = None) -> None:
    """Read trajectories and write ShareGPT conversations."""
    options = _files("export", export_main, "a .parquet file of trajectories", ".json or .jsonl").parse_args(arguments)
    source, target = options.source, options.target
    with reporting_mistakes() as console:
        from prism_bench.data.sharegpt import export_conversations
        from prism_bench.data.trajectory import load_trajectories

        trajectories = load_trajectories(source)
        export_conversations(trajectories, target)
        console.print(_summary(trajectories, target), soft_wrap=True)


def _files(name: str, command: object, source: str, suffix: str) -> argparse.ArgumentParser:
    """Return a parser of two files."""
    parser = argparse.ArgumentParser(prog=f"prism-bench {name}", description=command.__doc__)
    parser.add_argument("source", type=Path, metavar="IN", help=source)
    parser.add_argument("target", type=Path, metavar="OUT", help=f"the {suffix} file to write")
    return parser


def _summary(trajectories: Sequence[Trajectory], target: Path) -> str:
    steps = sum(len(trajectory.steps) for trajectory in trajectories)
    return f"{len(trajectories)} episodes, {steps} steps -> {target}"
