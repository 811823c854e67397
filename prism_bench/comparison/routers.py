"""What routers decided: by kind of trajectory, and compared with each other."""

from collections.abc import Iterator
from itertools import combinations
from statistics import fmean
from typing import Any

from scipy.stats import spearmanr

from prism_bench.comparison.record import Comparison
from prism_bench.comparison.rows import Agreement, Kind


def routed(comparison: Comparison) -> list[str]:
    """Return the first configuration of every router: of several with the same decisions in all seeds, one."""
    seen: set[tuple[Any, ...]] = set()
    names = []
    for configuration in comparison.configurations:
        runs = comparison.of(configuration.name)
        decisions = tuple((seed, run.routing.to_rl) for seed, run in runs.items() if run.routing)
        if decisions and decisions not in seen:
            seen.add(decisions)
            names.append(configuration.name)
    return names


def kinds(comparison: Comparison) -> Iterator[Kind]:
    """Yield, for every router and task type, the share of trajectories that goes to RL."""
    for name in routed(comparison):
        decisions: dict[str, list[bool]] = {}
        for run in comparison.of(name).values():
            if run.routing is not None:
                types = comparison.lists[run.routing.demonstrations].types
                for kind, flag in zip(types, run.routing.to_rl, strict=True):
                    decisions.setdefault(str(kind), []).append(flag == "1")
        for kind, flags in sorted(decisions.items()):
            yield Kind(name, kind, len(flags), fmean(flags))


def agreements(comparison: Comparison) -> Iterator[Agreement]:
    """Yield how far each two routers agree."""
    for first, second in combinations(routed(comparison), 2):
        pairs = [
            (one.routing, other.routing)
            for seed, one in comparison.of(first).items()
            if (other := comparison.of(second).get(seed)) and one.routing and other.routing
            if one.routing.demonstrations == other.routing.demonstrations
        ]
        if pairs:
            same = [fmean(a == b for a, b in zip(one.to_rl, two.to_rl, strict=True)) for one, two in pairs]
            varied = [(one.scores, two.scores) for one, two in pairs if len({*one.scores}) > 1 < len({*two.scores})]
            ranks = [float(spearmanr(*scores).statistic) for scores in varied]
            yield Agreement(first, second, len(pairs), fmean(same), fmean(ranks) if ranks else None)
