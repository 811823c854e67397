"""The page of a comparison: one HTML file with its script and data, which opens from disk without a network.

Its template is in ``template/``. Every text of environments, models and settings is data: jinja2 escapes it in HTML and
in JSON, the scripts write it as text only, and the page's policy allows these scripts and no other by their digests.
Episodes, the larger part, are compressed.
"""

import base64
import hashlib
from dataclasses import asdict
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from prism_bench.comparison.answer import answer, earlier_answers, percent, points, splits_of
from prism_bench.comparison.episodes import Episodes, collect_episodes
from prism_bench.comparison.packing import packed_episodes
from prism_bench.comparison.plots import learning_curves, router_plots
from prism_bench.comparison.record import Comparison
from prism_bench.comparison.rows import ALL, FINAL, METHOD, Tables
from prism_bench.files import write_atomically
from prism_bench.results.schema import BASE
from prism_bench.results.units import count, duration, times

TEMPLATE = Path(__file__).parent / "template"
SCRIPTS = ("figures.js", "sections.js", "routers.js", "trajectories.js")

SECTIONS = {
    "protocol": "Protocol",
    "success": "Success",
    "flops": "Cost",
    "curves": "Learning curves",
    "types": "Task types",
    "routers": "Routers",
    "costs": "Phases",
    "trajectories": "Trajectories",
}
"""Names of the sections by their ids."""

COLOURS = 10
"""Colours of configurations in ``page.css``; letters tell apart those that share one."""


def write_page(path: Path, comparison: Comparison, tables: Tables, root: Path) -> None:
    """Write the page of a comparison whose run folders are seen from ``root``.

    Raises:
        ResultError: the result of a run is damaged.
        InputError: the file cannot be written.
    """
    write_atomically(path, page(comparison, tables, collect_episodes(comparison, root)))


def page(comparison: Comparison, tables: Tables, episodes: Episodes) -> str:
    """Return the page as HTML."""
    packed, shown = packed_episodes(episodes)
    plotly, *scripts = [get_plotlyjs(), *((TEMPLATE / name).read_text(encoding="utf-8") for name in SCRIPTS)]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":"), "default": asdict}
    environment.filters |= {"points": points, "count": count, "duration": duration, "percent": percent, "times": times}
    return environment.get_template("page.html").render(
        **_content(comparison, tables),
        comparison=comparison,
        tables=tables,
        episodes=shown,
        packed=packed,
        style=Markup((TEMPLATE / "page.css").read_text(encoding="utf-8")),
        plotly=Markup(plotly),
        scripts=[Markup(script) for script in scripts],
        digests=[_digest(script) for script in (plotly, *scripts)],
    )


def _content(comparison: Comparison, tables: Tables) -> dict[str, Any]:
    """Return what the template shows besides the comparison and its tables as they are."""
    splits = splits_of(comparison)
    first = next(iter(splits), "")
    names = [configuration.name for configuration in comparison.configurations]
    differences = [row for row in tables.differences if (row.quantity, row.task_type) == ("success", ALL)]
    ends = [abs(end) for row in differences if row.split == first for end in (row.low, row.high)]
    span = max(ends, default=0.0) or 1.0
    routed = list(dict.fromkeys(kind.configuration for kind in tables.kinds))
    return {
        "title": _title(comparison),
        "sections": SECTIONS,
        "numbers": {name: number for number, name in enumerate(SECTIONS, start=1)},
        "data": _data(comparison, tables, splits),
        "answers": [answer(tables, split) for split in splits],
        "earlier": earlier_answers(tables),
        "groups": comparison.groups(),
        "keys": {name: _letters(number) for number, name in enumerate(names)},
        "colour": {name: number % COLOURS for number, name in enumerate(names)},
        "seeds": {name: len(comparison.of(name)) for name in names},
        "baseline_of": {configuration.name: configuration.baseline for configuration in comparison.configurations},
        "reference_of": {configuration.name: configuration.reference for configuration in comparison.configurations},
        "rates": {
            (rate.configuration, rate.stage): rate
            for rate in tables.rates
            if (rate.split, rate.quantity, rate.task_type) == (first, "success", ALL)
        },
        "against": {row.configuration: row for row in differences if row.split == first},
        "span": span,
        "place": lambda value: round(50 + 50 * value / span, 2),
        "costs": {(cost.configuration, cost.phase): cost.quantities for cost in tables.costs},
        "reached": any(saving.mean is not None for saving in tables.savings),
        "curve_tasks": ", ".join(sorted({str(point.tasks) for run in comparison.runs for point in run.curves})),
        "routed": routed,
        "kinds": list(dict.fromkeys(kind.task_type for kind in tables.kinds)),
        "by_kind": {(kind.configuration, kind.task_type): kind for kind in tables.kinds},
        "agreement": {
            pair: row for row in tables.agreements for pair in ((row.first, row.second), (row.second, row.first))
        },
        "protocol": _protocol(comparison),
        "BASE": BASE,
        "FINAL": FINAL,
        "METHOD": METHOD,
    }


def _data(comparison: Comparison, tables: Tables, splits: list[str]) -> dict[str, Any]:
    """Return what the scripts draw."""
    return {
        "reach": comparison.reach,
        "splits": splits,
        "groups": comparison.groups(),
        "configurations": [
            {"key": _letters(number), "name": each.name, "strategy": each.strategy, "router": each.router}
            for number, each in enumerate(comparison.configurations)
        ],
        "tables": {"rates": tables.rates, "differences": tables.differences, "costs": tables.costs},
        "curves": learning_curves(comparison),
        "routers": router_plots(comparison),
    }


def _title(comparison: Comparison) -> str:
    environments = dict.fromkeys(str(run.protocol.get("environment", "")) for run in comparison.runs)
    names = [name.rpartition("/")[2] for name in environments if name]
    runs = f"{len(comparison.runs)} runs" if len(comparison.runs) != 1 else "1 run"
    return f"prism-bench: {', '.join(names) or 'comparison'}, {runs}"


def _protocol(comparison: Comparison) -> dict[str, dict[str, list[str]]]:
    """Return the settings of the protocol, and of each the values with the configurations that have them."""
    found: dict[str, dict[str, list[str]]] = {}
    for run in comparison.runs:
        software = ", ".join(f"{name} {version}" for name, version in run.versions.items())
        for name, value in (run.protocol | {"software": software}).items():
            members = found.setdefault(name, {}).setdefault(str(value), [])
            if run.configuration not in members:
                members.append(run.configuration)
    return found


def _letters(number: int) -> str:
    """Return the short name of a configuration: A to Z, then AA and so on."""
    rest = number // len(ascii_uppercase)
    return (_letters(rest - 1) if rest else "") + ascii_uppercase[number % len(ascii_uppercase)]


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
