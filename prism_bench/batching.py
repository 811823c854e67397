"""What goes through a model together: sequences of similar length, so that little of a batch is padding."""

from collections.abc import Callable, Iterable, Iterator
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
