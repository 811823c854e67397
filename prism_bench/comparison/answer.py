"""The answer of a comparison in words: what is better than its baseline, by how much, and how sure that is.

Only differences that Holm's correction leaves are called better or worse, and only against the baseline: those that
are better are not ranked among themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from prism_bench.comparison.record import Comparison
from prism_bench.comparison.rows import ALL, FINAL, Difference, Rate, Tables, Verdict
from prism_bench.results.schema import BASE

MANY = 3
"""More configurations than this are counted in a sentence rather than named."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Success of final policies on one split.

    Attributes:
        sentence: the answer in one or two sentences.
        differences: by verdict.
        smallest: the least and the greatest of the differences that could have been seen; None with one seed.
    """

    split: str
    sentence: str
    differences: dict[Verdict, list[Difference]]
    smallest: tuple[float, float] | None


def splits_of(comparison: Comparison) -> list[str]:
    """Return the evaluated splits, first those on which no setting was chosen."""
    names = dict.fromkeys(split for run in comparison.runs for splits in run.outcomes.values() for split in splits)
    chosen = {run.protocol.get("settings chosen on") for run in comparison.runs}
    return sorted(names, key=lambda split: split in chosen)


def answer(tables: Tables, split: str) -> Answer:
    """Return the answer for a split."""
    found: dict[Verdict, list[Difference]] = {}
    for row in tables.differences:
        if (row.split, row.quantity, row.task_type) == (split, "success", ALL):
            found.setdefault(row.verdict, []).append(row)
    smallest = [row.smallest for rows in found.values() for row in rows if row.smallest is not None]
    return Answer(split, _sentence(tables, split, found), found, (min(smallest), max(smallest)) if smallest else None)


def earlier_answers(tables: Tables) -> list[str]:
    """Return a sentence for every split and every phase before the last after which a difference is told."""
    found: dict[tuple[str, str], dict[Verdict, list[Difference]]] = {}
    for row in tables.earlier:
        found.setdefault((row.stage, row.split), {}).setdefault(row.verdict, []).append(row)
    return [
        _sentence(tables, f"{split} after {stage}, before later phases", verdicts)
        for (stage, split), verdicts in found.items()
        if verdicts.keys() & {"better", "worse"}
    ]


def percent(value: float) -> str:
    """Write a rate in per cent with one digit; a half is rounded up, as the page's script does it."""
    return f"{floor(1000 * value + 0.5) / 10:.1f}"


def points(value: float) -> str:
    """Write a difference between rates in points, with its sign."""
    return ("\N{MINUS SIGN}" if value < 0 else "+") + percent(abs(value))


def _sentence(tables: Tables, split: str, found: dict[Verdict, list[Difference]]) -> str:
    if not found:
        return _alone(tables, split)
    better, worse, one = (found.get(verdict, []) for verdict in _VERDICTS)
    if one:
        few = f", by its tasks alone: {_list([_against(row) for row in one])}" if len(one) <= MANY else ""
        return f"On {split}, one seed cannot tell which configuration is better{few}."
    if better:
        return f"On {split}, {_better(better)}{_others(found, '; of the others, ')}."
    if worse:
        return f"On {split}, no configuration is better than its baseline{_others(found, '; ')}."
    (same,) = found.values()
    who = f"{same[0].configuration} is" if len(same) == 1 else f"{len(same)} configurations are"
    return f"On {split}, {who} not told apart from the baseline."


_VERDICTS: tuple[Verdict, ...] = ("better", "worse", "one seed")


def _better(rows: Sequence[Difference]) -> str:
    first = rows[0]
    if len(rows) == 1:
        interval = f"95 % interval {percent(first.low)} to {percent(first.high)}"
        return f"{first.configuration} is better than {first.baseline} by {percent(first.mean)} points ({interval})"
    if len(rows) > MANY:
        return f"{len(rows)} configurations are better than their baselines"
    if len({row.baseline for row in rows}) > 1:
        return f"{_list([_against(row) for row in rows])} are better than their baselines"
    return f"{_list([f'{row.configuration} ({_by(row)})' for row in rows])} are better than {first.baseline}"


def _against(row: Difference) -> str:
    return f"{row.configuration} ({_by(row)} over {row.baseline})"


def _by(row: Difference) -> str:
    return f"{points(row.mean)} points [{points(row.low)}, {points(row.high)}]"


def _others(found: dict[Verdict, list[Difference]], begin: str) -> str:
    """Return the numbers of those that are not better; empty without any."""
    counts = [(len(found[verdict]), verdict) for verdict in _NOT_BETTER if verdict in found]
    return begin + _list([f"{n} {'is' if n == 1 else 'are'} {verdict}" for n, verdict in counts]) if counts else ""


_NOT_BETTER: tuple[Verdict, ...] = ("worse", "not told apart")


def _list(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _alone(tables: Tables, split: str) -> str:
    """Return a sentence for configurations that are compared with nothing."""
    finals = [rate for rate in tables.rates if _of(rate, split, FINAL)]
    if len(finals) != 1:
        return f"{len(finals)} configurations were evaluated on {split}, and none has a baseline to compare it with."
    (final,) = finals
    before = [rate for rate in tables.rates if _of(rate, split, BASE)]
    after = f", {percent(before[0].mean)} % before training" if before else ""
    interval = f"95 % interval {percent(final.low)} to {percent(final.high)}"
    return f"{final.configuration} solves {percent(final.mean)} % of the tasks of {split} ({interval}){after}."


def _of(rate: Rate, split: str, stage: str) -> bool:
    return (rate.split, rate.stage, rate.quantity, rate.task_type) == (split, stage, "success", ALL)
