"""Groups of sequences for one forward pass: of similar length, so that little of a batch is padding."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def groups_of_similar_length(
    items: Iterable[Item], length: Callable[[Item], int], *, factor: float, slack: int
) -> Iterator[list[Item]]:
    """Yield ``items``, shortest first, in groups whose longest is at most ``factor`` x the shortest + ``slack``."""
    group: list[Item] = []
    for item in sorted(items, key=length):
        if group and length(item) > factor * length(group[0]) + slack:
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def groups_within_budget(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield positions of ``lengths``, shortest first, in groups of at most ``tokens`` with padding, or of one."""
    group: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (len(group) + 1) * lengths[position] > tokens:
            yield group
            group = []
        group.append(position)
    if group:
        yield group
