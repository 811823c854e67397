"""The tables of a comparison on a console and as Markdown.

A console has less room than a file: it leaves out columns that others explain, and names the baseline above the table
where all rows have the same. Names are never shortened, since two of them may differ at their ends only.
"""

import io
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prism_bench.comparison.record import Comparison
from prism_bench.comparison.rows import ALL, FINAL, METHOD, Difference, Rate, Ratio, Saving, Tables
from prism_bench.results.schema import BASE
from prism_bench.results.units import count, duration, times

Row = Mapping[str, str]
"""Cells by the header of their column, the same headers in all rows of a table."""

_WORDS = ("configuration", "split", "oracle", "against", "verdict")  # columns of words; the others have numbers
_FROM_WIDTH = {"base": 110, "by seed": 140, "seeds": 200, "P(better)": 200}  # of a console that shows the column


def markdown(comparison: Comparison, tables: Tables) -> str:
    """Return the tables as Markdown."""
    stream = io.StringIO()
    print_tables(comparison, tables, Console(file=stream, width=1000), box.MARKDOWN)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    return "\n".join(lines) + "\n"


def print_tables(comparison: Comparison, tables: Tables, console: Console, style: box.Box = box.HEAVY_HEAD) -> None:
    """Print success and its differences for every split, at the end and after earlier phases, savings, and costs.

    Configurations with another budget of FLOPs have tables of their own: at equal data they differ in compute, at equal
    compute in data.
    """
    groups = comparison.groups()
    for group, names in groups.items():
        title = "" if len(groups) == 1 else f". {group}"
        for split, quantity in dict.fromkeys((rate.split, rate.quantity) for rate in tables.rates):
            heading = f"{quantity.capitalize()} on {split}, %{title}"
            _print(console, heading, _success(tables, split, quantity, names), style)
        own = [row for row in tables.earlier if row.configuration in names]
        for split, stage in dict.fromkeys((row.split, row.stage) for row in own):
            rows = [row for row in own if (row.split, row.stage) == (split, stage)]
            heading = f"Success on {split} after {stage}, before later phases, %{title}"
            _print(console, heading, _after(tables, rows), style)
        if any(row.configuration in names and row.mean is not None for row in tables.savings):
            heading = f"FLOPs of routing and training to {100 * comparison.reach:g} % on the learning curves{title}"
            _print(console, heading, _savings(tables, names), style)
        _print(console, f"Value: share of the oracle's gain{title}", _values(tables, names), style)
        _print(console, f"Cost, mean over seeds{title}", _costs(tables, names), style)
    for line in notes(comparison, tables):
        console.print(f"\n{line}" if style is box.MARKDOWN else line, markup=False, highlight=False, soft_wrap=True)


def notes(comparison: Comparison, tables: Tables) -> Iterator[str]:
    """Yield what a reader of the tables has to know."""
    if tables.protocols:
        yield f"Not comparable as they are: the protocols differ in {', '.join(tables.protocols)}."
    seeds = sorted({len(comparison.of(configuration.name)) for configuration in comparison.configurations})
    if seeds[-1:] == [1]:
        yield "One seed: intervals are over tasks only, and no difference is called better or worse."
    else:
        yield (
            "Intervals of 95 % over seeds and tasks; differences are paired by seed and task; p by Holm's method over "
            "a table; the smallest difference is that which these seeds would show with a power of 80 %."
        )
    for failed in comparison.failed:
        yield f"No result: {failed.configuration}, seed {failed.seed}: {failed.reason}"


def _success(tables: Tables, split: str, quantity: str, names: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for name in names:
        base, final = (_rate(tables, name, stage, split, quantity) for stage in (BASE, FINAL))
        if final is None:
            continue
        found = next(
            (
                row
                for row in tables.differences
                if (row.configuration, row.split, row.quantity, row.task_type) == (name, split, quantity, ALL)
            ),
            None,
        )
        rows.append(
            {
                "configuration": escape(name),
                "seeds": str(len(final.values)),
                "base": _interval(base),
                "final": _interval(final),
                "by seed": ", ".join(f"{100 * value:.1f}" for value in final.values.values()),
                "against": "" if found is None else escape(found.baseline),
                **_tested(found),
            }
        )
    return rows


def _after(tables: Tables, rows: Sequence[Difference]) -> list[Row]:
    """Return the success of both sides of differences at the same stage."""
    found: list[Row] = []
    for row in rows:
        own, other = (
            _interval(_rate(tables, name, row.stage, row.split, row.quantity))
            for name in (row.configuration, row.baseline)
        )
        found.append(
            {
                "configuration": escape(row.configuration),
                "seeds": str(len(row.values)),
                "success": own,
                "against": escape(row.baseline),
                "its success": other,
                **_tested(row),
            }
        )
    return found


def _rate(tables: Tables, name: str, stage: str, split: str, quantity: str) -> Rate | None:
    wanted = (name, stage, split, quantity, ALL)
    return next(
        (
            rate
            for rate in tables.rates
            if (rate.configuration, rate.stage, rate.split, rate.quantity, rate.task_type) == wanted
        ),
        None,
    )


def _interval(row: Rate | Difference | None, sign: str = "") -> str:
    if row is None:
        return ""
    mean, low, high = (f"{100 * value:{sign}.1f}" for value in (row.mean, row.low, row.high))
    return escape(f"{mean} [{low}, {high}]")


def _tested(row: Difference | None) -> Row:
    """Return a difference and what is known of it; empty cells without one."""
    p = smallest = ""
    if row is not None and row.p is not None:
        p = f"{row.p:.3f}" if row.p >= 0.001 else "< .001"
    if row is not None and row.smallest is not None:
        smallest = f"{100 * row.smallest:.1f}" if row.smallest < 1 else "none"
    return {
        "difference": _interval(row, "+"),
        "p": p,
        "smallest": smallest,
        "P(better)": "" if row is None else f"{row.improvement:.2f}",
        "verdict": "" if row is None else row.verdict,
    }


def _savings(tables: Tables, names: Sequence[str]) -> list[Row]:
    return [_saving(row) for row in tables.savings if row.configuration in names]


def _saving(row: Saving) -> Row:
    reached = sum(flops is not None for flops in row.flops.values())
    return {
        "configuration": escape(row.configuration),
        "reached by": f"{reached} of {len(row.flops)}",
        "mean": "never" if row.mean is None else count(row.mean),
        "times as cheap as the reference": _times(row.times_reference),
        "times as cheap as the baseline": _times(row.times_baseline),
    }


def _times(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    ends = "" if ratio.low is None or ratio.high is None else f" [{times(ratio.low)}, {times(ratio.high)}]"
    return escape(times(ratio.mean) + ends)


def _values(tables: Tables, names: Sequence[str]) -> list[Row]:
    return [
        {
            "configuration": escape(row.configuration),
            "split": row.split,
            "oracle": escape(row.oracle),
            "value": escape(f"{row.mean:.2f} [{row.low:.2f}, {row.high:.2f}]"),
        }
        for row in tables.values
        if row.configuration in names
    ]


def _costs(tables: Tables, names: Sequence[str]) -> list[Row]:
    phases = dict.fromkeys(cost.phase for cost in tables.costs if cost.phase != METHOD)
    rows: list[Row] = []
    for name in names:
        costs = {cost.phase: cost.quantities for cost in tables.costs if cost.configuration == name}
        of_phases = {f"FLOPs of {phase}": count(costs[phase]["flops"]) if phase in costs else "" for phase in phases}
        rows.append(
            {
                "configuration": escape(name),
                "FLOPs of routing and training": count(costs[METHOD]["flops"]),
                "their time": duration(costs[METHOD]["seconds"]),
                **of_phases,
            }
        )
    return rows


def _print(console: Console, heading: str, rows: Sequence[Row], style: box.Box) -> None:
    """Print a table and its heading; nothing if it has no rows."""
    if not rows:
        return
    headers = [header for header in rows[0] if console.width >= _FROM_WIDTH.get(header, 0)]
    if style is box.MARKDOWN:
        console.print(f"\n### {heading}\n", markup=False, highlight=False, soft_wrap=True)
        table = Table(box=style)
    else:
        if len(against := {row["against"] for row in rows if row.get("against")}) == 1:
            headers.remove("against")
            heading += f"; differences to {against.pop()}"
        table = Table(box=style, title=heading, title_justify="left")
    for header in headers:
        table.add_column(header, justify="left" if header in _WORDS else "right", overflow="fold")
    for row in rows:
        table.add_row(*(row[header] for header in headers))
    console.print(table)
