"""Tables of a diagnosis: what a score detects, how far it agrees with itself and with others, what it costs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import numpy as np
from scipy.stats import spearmanr

from prism_bench.diagnosis.detection import auroc, detection, residuals
from prism_bench.diagnosis.scoring import Scored
from prism_bench.errors import InputError
from prism_bench.results.statistics import Estimate

FEWEST = 2  # trajectories of a kind, for a variance


@dataclass(frozen=True)
class Detection:
    """How well a router's score tells the trajectories of a regime from those of the baseline.

    Attributes:
        trajectories: of the regime.
        by_seed: the area of every seed.
        beyond: the area of what length, loss and size of the gradient do not explain of the score.
        alone: likewise without each single one of them, by name.
    """

    router: str
    setting: str
    regime: str
    trajectories: int
    area: Estimate
    by_seed: tuple[float, ...]
    beyond: Estimate
    alone: Mapping[str, Estimate]


@dataclass(frozen=True)
class Agreement:
    """The mean rank correlation of two columns of scores of the same trajectories.

    ``first`` and ``second`` are a router and a setting each. They are equal for the agreement of a score with itself
    under two seeds of the base model; otherwise the correlation is that within a seed. ``pairs`` were averaged.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    correlation: float | None  # None where one of the scores is the same for all trajectories
    pairs: int


@dataclass(frozen=True)
class Price:
    """What scoring one trajectory costs, in the mean over seeds."""

    router: str
    setting: str
    flops: float
    seconds: float


@dataclass(frozen=True)
class Diagnosis:
    """All tables of a diagnosis.

    Attributes:
        baseline: the regime that the others are told from.
        regimes: the number of trajectories of each.
    """

    command: str
    baseline: str
    regimes: Mapping[str, int]
    seeds: tuple[int, ...]
    detections: Sequence[Detection]
    agreements: Sequence[Agreement]
    prices: Sequence[Price]


def diagnosis_of(found: Sequence[Scored], baseline: str, command: str) -> Diagnosis:
    """Return the tables of scores of the same demonstrations.

    Raises:
        InputError: there are too few trajectories of a regime, or none of another than the baseline.
    """
    regimes = np.array(found[0].regimes)
    counts = {str(name): int((regimes == name).sum()) for name in dict.fromkeys(found[0].regimes)}
    others = sorted(name for name in counts if name != baseline)
    if few := [name for name in (baseline, *others) if counts.get(name, 0) < FEWEST]:
        raise InputError(f"a diagnosis needs {FEWEST} demonstrations of the regime {few[0]}; raise trajectories=N")
    if not others:
        raise InputError(f"all demonstrations are {baseline}; name other regimes too, in env.regimes")
    groups: dict[tuple[str, str], list[Scored]] = {}
    for one in found:
        groups.setdefault((one.router, one.setting), []).append(one)
    return Diagnosis(
        command=command,
        baseline=baseline,
        regimes=counts,
        seeds=tuple(dict.fromkeys(one.seed for one in found)),
        detections=[_detection(name, group, regime, baseline) for name, group in groups.items() for regime in others],
        agreements=list(_agreements(groups)),
        prices=[_price(name, group) for name, group in groups.items()],
    )


def _detection(name: tuple[str, str], group: Sequence[Scored], regime: str, baseline: str) -> Detection:
    regimes = np.array(group[0].regimes)
    chosen = (regimes == regime) | (regimes == baseline)
    positive = regimes[chosen] == regime
    scores = np.array([one.scores[chosen] for one in group])

    def left(names: Sequence[str]) -> Estimate:
        explained = [{name: one.covariates[name][chosen] for name in names} for one in group]
        return detection(np.array([residuals(*pair) for pair in zip(scores, explained, strict=True)]), positive)

    names = list(group[0].covariates)
    return Detection(
        *name,
        regime,
        int(positive.sum()),
        detection(scores, positive),
        tuple(auroc(row, positive) for row in scores),
        left(names),
        {one: left([one]) for one in names},
    )


def _agreements(groups: Mapping[tuple[str, str], Sequence[Scored]]) -> Iterator[Agreement]:
    for name, group in groups.items():
        pairs = [(one.scores, other.scores) for one, other in combinations(group, 2)]
        if pairs:
            yield _agreement(name, name, pairs)
    for first, second in combinations(groups, 2):
        if first[0] == second[0] or first[1] == second[1]:  # one router under two settings, or two under one
            by_seed = {one.seed: one.scores for one in groups[second]}
            both = [(one.scores, by_seed[one.seed]) for one in groups[first] if one.seed in by_seed]
            yield _agreement(first, second, both)


def _agreement(
    first: tuple[str, str], second: tuple[str, str], pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Agreement:
    varied = [(one, other) for one, other in pairs if np.ptp(one) and np.ptp(other)]
    found = [float(spearmanr(one, other).statistic) for one, other in varied]
    return Agreement(first, second, fmean(found) if found else None, len(found))


def _price(name: tuple[str, str], group: Sequence[Scored]) -> Price:
    counts = [len(one.scores) for one in group]
    flops = fmean(one.flops / count for one, count in zip(group, counts, strict=True))
    return Price(*name, flops, fmean(one.seconds / count for one, count in zip(group, counts, strict=True)))
