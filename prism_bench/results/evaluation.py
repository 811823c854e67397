"""The protocol of evaluation, the same before and after every phase: the tasks, and the decoding of completions.

A part of a split is never its first tasks, since lists have an order (by task type, by product). :func:`sample_tasks`
draws it in proportion to the task types.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from prism_bench.errors import InputError
from prism_bench.settings.types import Count, CountFromZero, NotNegative


@dataclass(frozen=True)
class EvaluationSettings:
    """Tasks and decoding of the evaluation.

    Attributes:
        tasks: how many tasks of a split, a sample (:func:`sample_tasks`); None for all of them.
        temperature: of sampling; 0 is greedy decoding.
        curve_points: points of the learning curve in each phase; 0 for none.
        curve_tasks: tasks of the validation split that are rolled out at each point, the same ones at all points.
    """

    tasks: Count | None = None
    temperature: NotNegative = 0.0
    curve_points: CountFromZero = 10
    curve_tasks: Count = 64


def sample_tasks(task_ids: Sequence[str], task_types: Sequence[str] | None, n: int | None, seed: int) -> list[str]:
    """Draw ``n`` tasks without replacement, in proportion to their types.

    Each type gets its share of ``n``, rounded down or up (the largest remainders are rounded up). A hash of seed and
    task draws, so the sample does not depend on the order of the list.

    Args:
        task_ids: the tasks of a split, each once.
        task_types: their types in the same order; None if they are not known, for a simple sample.
        n: how many; None for all.
        seed: other seeds draw other tasks.

    Returns:
        The sample in random order.

    Raises:
        InputError: ``n`` is less than 1 or more than there are.
    """
    if n is not None and not 1 <= n <= len(task_ids):
        raise InputError(
            f"{n} tasks were asked for and there are {len(task_ids)}; ask for 1 to {len(task_ids)}, or all"
        )
    shuffled = sorted(task_ids, key=lambda task_id: _draw(seed, "task", task_id))
    if n is None or task_types is None:
        return shuffled[:n]
    type_of = dict(zip(task_ids, task_types, strict=True))
    left = _quotas(Counter(task_types), n, seed)
    sample = []
    for task_id in shuffled:
        if left[type_of[task_id]] > 0:
            left[type_of[task_id]] -= 1
            sample.append(task_id)
    return sample


def _quotas(counts: Counter[str], n: int, seed: int) -> Counter[str]:
    """Divide ``n`` in proportion to ``counts`` by the method of largest remainders; a hash decides between equals."""
    total = counts.total()
    quotas = Counter({kind: n * count // total for kind, count in counts.items()})
    by_remainder = sorted(counts, key=lambda kind: (-(n * counts[kind] % total), _draw(seed, "type", kind)))
    quotas.update(by_remainder[: n - quotas.total()])
    return quotas


def _draw(seed: int, *key: str) -> bytes:
    return hashlib.blake2b("\0".join((str(seed), *key)).encode(errors="surrogatepass"), digest_size=8).digest()
