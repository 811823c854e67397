"""The cache of finished stages: ``prism-bench cache list | size | prune | show STAGE``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from rich.filesize import decimal

from prism_bench.commands.hydra_command import CONF, reporting_mistakes

if TYPE_CHECKING:
    from rich.console import Console

    from prism_bench.stage_cache.stored import StoredStage


def main(arguments: Sequence[str] | None = None) -> None:
    """List, measure, explain and remove finished stages."""
    options = _parser().parse_args(arguments)
    with reporting_mistakes() as console:
        from prism_bench.errors import InputError

        root = Path(options.cache).expanduser().resolve()
        if not root.is_dir():
            raise InputError(f"{root} is no folder of stages; name one with --cache DIR")
        options.action(root, options, console)


def _parser() -> argparse.ArgumentParser:
    default = OmegaConf.load(CONF / "config.yaml").cache
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--cache", default=default, metavar="DIR", help=f"the folder of stages, by default {default}")
    names = argparse.ArgumentParser(add_help=False)
    names.add_argument("--name", action="append", default=[], help="only stages of this name; may be repeated")
    parser = argparse.ArgumentParser(prog="prism-bench cache", description=main.__doc__)
    actions = parser.add_subparsers(required=True, metavar="list | size | prune | show")
    listing = actions.add_parser("list", parents=[common, names], help="every stage: age, size, cost, what it is of")
    listing.set_defaults(action=_list)
    actions.add_parser("size", parents=[common, names], help="sizes by name").set_defaults(action=_sizes)
    prune = actions.add_parser(
        "prune", parents=[common, names], help="remove what no run uses: stages whose runs are gone, leftovers, locks"
    )
    prune.add_argument("--older-than", type=float, default=0, metavar="DAYS", help="only what was last used before")
    prune.add_argument("--all", action="store_true", help="also stages of runs whose folders exist")
    prune.add_argument("--dry-run", action="store_true", help="print what would be removed, and remove nothing")
    prune.set_defaults(action=_prune)
    show = actions.add_parser("show", parents=[common], help="the inputs and the cost of one stage")
    show.add_argument("stage", metavar="STAGE", help="its key, or the first digits; or its name and key")
    show.set_defaults(action=_show)
    return parser


def _list(root: Path, options: argparse.Namespace, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    from prism_bench.results.units import count, duration
    from prism_bench.stage_cache.stored import stored_stages

    table = Table("stage", "key", "made", "last used", "runs", "size", "FLOPs", "time", "of", title=str(root))
    for stage in stored_stages(root, options.name):
        rows = stage.rows or ()
        cost = count(sum(row.flops for row in rows)), duration(sum(row.seconds for row in rows))
        ages = _age(stage.made), _age(stage.used)
        about = stage.name, stage.key[:10], *ages, str(len(stage.runs)), decimal(stage.size), *cost
        table.add_row(*about, escape(stage.description))
    console.print(table)


def _sizes(root: Path, options: argparse.Namespace, console: Console) -> None:
    from rich.table import Table

    from prism_bench.stage_cache.stored import stored_stages

    stages = stored_stages(root, options.name)
    table = Table("stage", "number", "size", title=str(root))
    for name in sorted({stage.name for stage in stages}):
        sizes = [stage.size for stage in stages if stage.name == name]
        table.add_row(name, str(len(sizes)), decimal(sum(sizes)))
    table.add_section()
    table.add_row("total", str(len(stages)), decimal(sum(stage.size for stage in stages)), style="bold")
    console.print(table)


def _prune(root: Path, options: argparse.Namespace, console: Console) -> None:
    from prism_bench.stage_cache.stored import removable, remove

    things = removable(root, names=options.name, older_than=options.older_than, used_too=options.all)
    removed = things if options.dry_run else remove(things)
    for thing in removed:
        path = thing.path.relative_to(root)
        console.print(f"{path}: {thing.reason}, {decimal(thing.size)}", markup=False, highlight=False, soft_wrap=True)
    done = "would be removed" if options.dry_run else "removed"
    console.print(f"{decimal(sum(thing.size for thing in removed))} {done} from {root}", markup=False, soft_wrap=True)


def _show(root: Path, options: argparse.Namespace, console: Console) -> None:
    from prism_bench.errors import InputError
    from prism_bench.results.units import count, duration
    from prism_bench.stage_cache.stored import find_stage, origins

    stage = find_stage(root, options.stage)
    if stage.inputs is None or stage.rows is None:
        raise InputError(f"{stage.folder} is damaged; the next run that needs it makes it again")
    known = origins(root)
    parents = {name: _origin(known.get(content), content) for name, content in stage.inputs["parents"].items()}
    cost = {row.phase: f"{count(row.flops)} FLOPs, {duration(row.seconds)}" for row in stage.rows}
    code = stage.inputs["code"]
    shown: dict[str, Any] = {
        "stage": f"{stage.name}/{stage.key}",
        "made": f"{_age(stage.made)} ago, last used {_age(stage.used)} ago",
        "size": decimal(stage.size),
        "cost": cost,
        "runs": [str(run) for run in stage.runs],
        "values": _short(stage.inputs["values"]),
        "settings": _short(stage.inputs["settings"]),
        "parents": parents,
        "code": {"modules": f"{len(code['modules'])} of this project", "packages": code["packages"]},
    }
    console.print(OmegaConf.to_yaml(OmegaConf.create(shown)), markup=False, highlight=False, soft_wrap=True)


def _origin(stage: StoredStage | None, content: str) -> str:
    return f"content {content}" if stage is None else f"{stage.name}/{stage.key}: {stage.description}"


def _short(value: Any) -> Any:
    """Return inputs with only the first items of long lists."""
    if isinstance(value, Mapping):
        return {name: _short(item) for name, item in value.items()}
    if isinstance(value, list):
        return [*map(_short, value[:3]), *([f"... {len(value):,} in all"] if len(value) > 3 else [])]
    return value


def _age(since: float) -> str:
    from prism_bench.stage_cache.stored import DAY

    seconds = max(0.0, time.time() - since)
    for unit, length in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
