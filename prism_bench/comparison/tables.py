"""Tables of a comparison: every number that its page and its Markdown show, from nothing but the runs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from prism_bench.comparison.costs import costs_of, fronts, saving_of
from prism_bench.comparison.record import Comparison
from prism_bench.comparison.routers import agreements, kinds
from prism_bench.comparison.rows import Tables
from prism_bench.comparison.success import differences, earlier_differences, rates_of
from prism_bench.comparison.value import values_of
from prism_bench.results.outcomes import ResultError
from prism_bench.results.result import same_numbers


def tables_of(comparison: Comparison) -> Tables:
    """Return the tables of a comparison."""
    rates = [rate for configuration in comparison.configurations for rate in rates_of(comparison, configuration)]
    costs = [cost for configuration in comparison.configurations for cost in costs_of(comparison, configuration)]
    different = differences(comparison)
    return Tables(
        rates=rates,
        differences=different,
        earlier=earlier_differences(comparison),
        savings=[saving_of(comparison, configuration) for configuration in comparison.configurations],
        values=list(values_of(comparison, different)),
        costs=costs,
        front=fronts(rates, costs),
        kinds=list(kinds(comparison)),
        agreements=list(agreements(comparison)),
        protocols=_differing(comparison),
    )


def check_tables(comparison: Comparison, written: Mapping[str, Any]) -> None:
    """Check that tables, as they stand in a file, follow from the runs.

    Raises:
        ResultError: they do not.
    """
    expected = json.loads(json.dumps(asdict(tables_of(comparison))))
    for name, table in expected.items():
        if name not in written or not same_numbers(table, written[name]):
            raise ResultError(f"the table {name!r} does not follow from the runs; the file was changed")


def _differing(comparison: Comparison) -> list[str]:
    protocols = [run.protocol for run in comparison.runs]
    keys = dict.fromkeys(key for protocol in protocols for key in protocol)
    return [key for key in keys if any(other.get(key) != protocols[0].get(key) for other in protocols)]
