"""Positions of the points of a learning curve; the rest of the callback is tested with the trainers."""

from hypothesis import given
from hypothesis import strategies as st

from prism_bench.algorithms.callbacks import evenly_spaced


@given(st.integers(1, 2000), st.integers(0, 60))
def test_points_are_evenly_spaced_and_end_at_the_last_update(updates, points):
    chosen = sorted(evenly_spaced(updates, points))
    assert len(chosen) == min(updates, points)
    if chosen:
        gaps = [after - before for before, after in zip([0, *chosen], chosen, strict=False)]
        assert chosen[-1] == updates and min(gaps) >= 1 and max(gaps) - min(gaps) <= 1
