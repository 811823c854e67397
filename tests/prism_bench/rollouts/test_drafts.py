"""Drafts against a search through the whole text."""

from hypothesis import given
from hypothesis import strategies as st

from prism_bench.rollouts.drafts import Lookup

END = 0


def searched(ids: list[int], most: int) -> list[int]:
    """Return what followed the longest suffix, of two tokens or one, that occurred before."""
    for length in (2, 1):
        for start in range(len(ids) - length - 1, -1, -1):
            if len(ids) > length and ids[start : start + length] == ids[-length:]:
                found = ids[start + length :][:most]
                return found[: found.index(END)] if END in found else found
    return []


@given(st.lists(st.lists(st.integers(0, 4), max_size=8), min_size=1, max_size=6), st.integers(0, 5))
def test_a_draft_is_what_came_next_the_last_time(parts, most):
    lookup, ids = Lookup(), []
    for part in parts:
        lookup.extend(part)
        ids += part
        assert lookup.ids == ids
        if ids:
            assert lookup.draft(most, END) == searched(ids, most)
