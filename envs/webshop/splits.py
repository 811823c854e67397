"""The splits of WebShop's goals, and their task ids.

Source: ``web_agent_site/envs/web_agent_text_env.py`` of https://github.com/princeton-nlp/WebShop: of the shuffled goals
the first 500 are the test split, the next 1,000 the validation split, the rest is for training.

Upstream splits by goal, and a product makes a goal of every combination of its options. So most evaluated goals ask for
a product that train goals ask for too: 98 % of them with the generated 1,000 products, 97 % with the official 1,000.

``split_by="product"`` leaves no shared products. Valid and test keep upstream's goals, so that results on them compare
with upstream's; train loses every goal whose product they ask for. Of a small catalogue most are lost (5,727 of 6,761
generated, 5,069 of 5,410 official), and those of products with few goals remain. Valid and test still share products
with each other, since no policy is trained on either.
"""

import bisect
from collections.abc import Iterator, Sequence
from typing import Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from prism_bench.errors import InputError

SPLITS = ("train", "valid", "test")
SplitBy = Literal["goal", "product"]


def split_indices(split: str, products: NDArray[np.int32], split_by: SplitBy = "goal") -> range | NDArray[np.int64]:
    """Return the indices of a split's goals, ascending.

    Of fewer than 3,000 goals, test and valid are the same shares as of 3,000: a sixth and a third.

    Args:
        split: ``train``, ``valid`` or ``test``.
        products: the number of the product that each goal asks for, shape (goals,).
        split_by: ``goal``, or ``product`` for a train split without the products of valid and test.

    Raises:
        InputError: there is no such split or way to split, or no goal in the split.
    """
    if split_by not in get_args(SplitBy):
        raise InputError(f"WebShop cannot split by {split_by!r}; choose from {', '.join(get_args(SplitBy))}")
    if split not in SPLITS:
        raise InputError(f"WebShop has no split {split!r}; choose from {', '.join(SPLITS)}")
    indices = _splits(products, split_by)[split]
    if not len(indices):
        other = " or split_by=goal" if split_by == "product" else ""
        raise InputError(
            f"the split {split} of {len(products)} goals is empty; take a larger catalogue or another kind of "
            f"goals{other}"
        )
    return indices


def shared_with_train(products: NDArray[np.int32], split_by: SplitBy) -> str:
    """Return the shares of test and valid goals that ask for a product of a train goal, in one line."""
    splits = _splits(products, split_by)
    wanted = {
        split: products[ids.start : ids.stop] if isinstance(ids, range) else products[ids]
        for split, ids in splits.items()
    }
    return ", ".join(
        f"{100 * np.isin(wanted[split], wanted['train']).mean():.0f} % of the {split} goals"
        for split in ("test", "valid")
        if len(wanted[split])
    )


def _splits(products: NDArray[np.int32], split_by: SplitBy) -> dict[str, range | NDArray[np.int64]]:
    count = len(products)
    test = min(500, count // 6)
    valid = test + min(1000, count // 3)
    train: range | NDArray[np.int64] = range(valid, count)
    if split_by == "product":
        train = valid + np.flatnonzero(~np.isin(products[valid:], products[:valid]))
    return {"test": range(test), "valid": range(test, valid), "train": train}


class TaskIds(Sequence[str]):
    """The task ids of a split: its goal indices, which ascend, as text that is made when it is asked for."""

    def __init__(self, indices: range | NDArray[np.int64]) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "TaskIds": ...
    def __getitem__(self, index: int | slice) -> "str | TaskIds":
        return TaskIds(self.indices[index]) if isinstance(index, slice) else str(self.indices[index])

    def __iter__(self) -> Iterator[str]:
        return map(str, self.indices)

    def __contains__(self, task_id: object) -> bool:
        number = _number(task_id) if isinstance(task_id, str) else None
        if number is None:
            return False
        position = bisect.bisect_left(self.indices, number)
        return position < len(self) and bool(self.indices[position] == number)

    def nearest(self, task_id: object) -> tuple[str, ...]:
        """Return the ids around the place where ``task_id`` would be, or the first and last if it is no number."""
        number = _number(str(task_id))
        if number is None:
            return tuple(dict.fromkeys((self[0], self[-1])))
        position = min(max(bisect.bisect_left(self.indices, number), 1), max(len(self) - 2, 1))
        return tuple(self[position - 1 : position + 2])


def _number(task_id: str) -> int | None:
    """Return the goal index that a task id spells, None for a text that spells none."""
    spelt = len(task_id) <= 18 and task_id.isascii() and task_id.isdigit() and str(int(task_id)) == task_id
    return int(task_id) if spelt else None
