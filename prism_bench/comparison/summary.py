"""The tables of a comparison on a console and as Markdown."""

import io
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prism_bench.comparison.record import Comparison
from prism_bench.comparison.rows import ALL, FINAL, METHOD, Difference, Rate, Ratio, Saving, Tables
from prism_bench.results.schema import BASE
from prism_bench.results.units import count, duration, times


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
            table = _success(tables, split, quantity, names)
            if table.row_count:
                _print(console, heading, table, style)
        own = [row for row in tables.earlier if row.configuration in names]
        for split, stage in dict.fromkeys((row.split, row.stage) for row in own):
            rows = [row for row in own if (row.split, row.stage) == (split, stage)]
            _print(
                console, f"Success on {split} after {stage}, before later phases, %{title}", _after(tables, rows), style
            )
        if any(row.configuration in names and row.mean is not None for row in tables.savings):
            heading = f"FLOPs of routing and training to {100 * comparison.reach:g} % on the learning curves{title}"
            _print(console, heading, _savings(tables, names), style)
        if any(row.configuration in names for row in tables.values):
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


def _success(tables: Tables, split: str, quantity: str, names: list[str]) -> Table:
    table = Table("configuration")
    for header in ("seeds", "base", "final", "by seed", "against", "difference", "p", "smallest", "P(better)", ""):
        table.add_column(header, justify="left" if header in ("against", "") else "right")
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
        by_seed = ", ".join(f"{100 * value:.1f}" for value in final.values.values())
        ends = [*map(_interval, (base, final)), by_seed]
        table.add_row(escape(name), str(len(final.values)), *ends, *_difference(found))
    return table


def _after(tables: Tables, rows: Sequence[Difference]) -> Table:
    """Return the success of both sides of differences at the same stage."""
    table = Table("configuration")
    for header in ("seeds", "success", "against", "its success", "difference", "p", "smallest", "P(better)", ""):
        table.add_column(header, justify="left" if header in ("against", "") else "right")
    for row in rows:
        own, other = (
            _interval(_rate(tables, name, row.stage, row.split, row.quantity))
            for name in (row.configuration, row.baseline)
        )
        against, *tested = _difference(row)
        table.add_row(escape(row.configuration), str(len(row.values)), own, against, other, *tested)
    return table


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


def _difference(row: Difference | None) -> list[str]:
    if row is None:
        return [""] * 6
    p = "" if row.p is None else f"{row.p:.3f}" if row.p >= 0.001 else "< .001"
    smallest = "" if row.smallest is None else f"{100 * row.smallest:.1f}" if row.smallest < 1 else "none"
    return [escape(row.baseline), _interval(row, "+"), p, smallest, f"{row.improvement:.2f}", row.verdict]


def _savings(tables: Tables, names: list[str]) -> Table:
    table = Table("configuration")
    for header in ("reached by", "mean", "times as cheap as the reference", "times as cheap as the baseline"):
        table.add_column(header, justify="right")
    for row in tables.savings:
        if row.configuration in names:
            table.add_row(escape(row.configuration), *_saving(row))
    return table


def _saving(row: Saving) -> list[str]:
    reached = sum(flops is not None for flops in row.flops.values())
    mean = "never" if row.mean is None else count(row.mean)
    return [f"{reached} of {len(row.flops)}", mean, _times(row.times_reference), _times(row.times_baseline)]


def _values(tables: Tables, names: list[str]) -> Table:
    table = Table("configuration", "split", "oracle")
    table.add_column("value", justify="right")
    for row in tables.values:
        if row.configuration in names:
            value = escape(f"{row.mean:.2f} [{row.low:.2f}, {row.high:.2f}]")
            table.add_row(escape(row.configuration), row.split, escape(row.oracle), value)
    return table


def _times(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    ends = "" if ratio.low is None or ratio.high is None else f" [{times(ratio.low)}, {times(ratio.high)}]"
    return escape(times(ratio.mean) + ends)


def _costs(tables: Tables, names: list[str]) -> Table:
    table = Table("configuration")
    phases = dict.fromkeys(cost.phase for cost in tables.costs if cost.phase != METHOD)
    for header in ("FLOPs of routing and training", "their time", *(f"FLOPs of {phase}" for phase in phases)):
        table.add_column(header, justify="right")
    for name in names:
        costs = {cost.phase: cost.quantities for cost in tables.costs if cost.configuration == name}
        method = costs[METHOD]
        of_phases = [count(costs[phase]["flops"]) if phase in costs else "" for phase in phases]
        table.add_row(escape(name), count(method["flops"]), duration(method["seconds"]), *of_phases)
    return table


def _print(console: Console, heading: str, table: Table, style: box.Box) -> None:
    table.box = style
    if style is box.MARKDOWN:
        console.print(f"\n### {heading}\n", markup=False, highlight=False, soft_wrap=True)
    else:
        table.title, table.title_justify = heading, "left"
    console.print(table)
