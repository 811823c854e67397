"""Concentration against its definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from prism_bench.probe.concentration import concentration

VECTORS = st.lists(st.floats(0.0, 1e3).filter(lambda value: value == 0 or value > 1e-3), min_size=2, max_size=20)


@given(VECTORS)
def test_gini_is_the_mean_absolute_difference_over_twice_the_mean(values):
    row = np.array(values)
    expected = np.abs(row[:, None] - row).mean() / (2 * row.mean()) if row.any() else 0.0
    assert concentration(row[None], "gini")[0] == pytest.approx(expected, abs=1e-9)


@given(VECTORS)
def test_cv_and_kurtosis_are_those_of_scipy(values):
    row = np.array(values)
    if np.ptp(row) <= 1e-3 * row.mean():
        return  # scipy calls these degenerate
    assert concentration(row[None], "cv")[0] == pytest.approx(stats.variation(row), rel=1e-9)
    assert concentration(row[None], "kurtosis")[0] == pytest.approx(stats.kurtosis(row), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", ["gini", "cv", "kurtosis"])
def test_concentration_of_even_rows_is_zero_and_scale_does_not_matter(kind):
    assert concentration(np.array([[3.3, 3.3, 3.3], [0.0, 0.0, 0.0]]), kind) == pytest.approx(0.0, abs=1e-12)
    norms = np.random.default_rng(0).random((5, 2, 7))
    np.testing.assert_allclose(concentration(norms, kind), concentration(1e-6 * norms, kind), rtol=1e-9)
    peaked = np.concatenate([np.full((1, 13), 1.0), [[20.0]]], axis=1)
    spread = np.linspace(1, 2, 14)[None]
    assert concentration(peaked, kind) > concentration(spread, kind)


def test_unknown_concentration_is_refused():
    with pytest.raises(ValueError, match=r"concentration='entropy' is unknown; choose gini, cv, kurtosis"):
        concentration(np.ones((1, 7)), "entropy")
