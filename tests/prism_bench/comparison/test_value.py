"""The value of a router: Fieller's interval by simulation, and where there is a value at all."""

import numpy as np
import pytest
from comparisons import Shape, comparison

from prism_bench.comparison.page import write_page
from prism_bench.comparison.summary import markdown
from prism_bench.comparison.tables import tables_of
from prism_bench.comparison.value import fieller

CELLS = (("prism", "split"), ("random", "split"), ("label", "split"), (None, "rl"))


def test_the_interval_holds_the_ratio_as_often_as_it_says():
    rng, held, found = np.random.default_rng(0), 0, 0
    for _ in range(2000):
        shared = rng.normal(0, 0.02, size=8)  # of the baseline, which both differences have
        oracle = dict(enumerate(0.10 + shared + rng.normal(0, 0.02, size=8)))
        router = dict(enumerate(0.04 + shared + rng.normal(0, 0.02, size=8)))
        if (ends := fieller(router, oracle)) is not None:
            found += 1
            held += ends[1] <= 0.4 <= ends[2]
            assert ends[1] <= ends[0] <= ends[2]
    assert found > 1900
    assert 0.935 <= held / found <= 0.965


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ({0: 0.1}, {0: 0.2}),  # one seed
        ({0: 0.1, 1: 0.2}, {2: 0.1, 3: 0.2}),  # none in common
        ({0: 0.1, 1: 0.2, 2: 0.1}, {0: 0.3, 1: -0.2, 2: 0.0}),  # an oracle that gains nothing
        ({0: 0.1, 1: 0.2, 2: 0.1}, {0: -0.3, 1: -0.31, 2: -0.3}),  # one that loses
    ],
)
def test_there_is_no_share_of_nothing(above, below):
    assert fieller(above, below) is None


def test_an_oracle_is_worth_one_itself_and_its_double_too():
    gains = {0: 0.2, 1: 0.3, 2: 0.25}
    assert fieller(gains, gains) == pytest.approx((1.0, 1.0, 1.0))
    assert fieller({seed: gain / 2 for seed, gain in gains.items()}, gains) == pytest.approx((0.5, 0.5, 0.5))


def test_every_router_but_the_oracle_has_a_value_where_the_oracle_gains():
    made = comparison(Shape(cells=CELLS, seeds=5, tasks=400, gains={0: 0.3, 1: 0.1, 2: 0.6, 3: 0.6}))
    values = tables_of(made).values
    assert {(row.configuration, row.oracle) for row in values} == {
        ("prism-split", "label-split"),
    }
    assert {row.split for row in values} == {"valid_seen", "valid_unseen"}
    assert all(row.low < 0.4 < row.high and 0 < row.low < row.mean < row.high < 1 for row in values)
    assert tables_of(comparison(Shape(cells=CELLS, seeds=5, gains={0: 0.3, 1: 0.3, 2: 0.3}))).values == []
    assert tables_of(comparison(Shape())).values == []


def test_it_is_shown_on_the_page_and_in_the_tables(tmp_path):
    made = comparison(Shape(cells=CELLS, seeds=5, tasks=400, gains={0: 0.3, 1: 0.1, 2: 0.6, 3: 0.6}))
    tables = tables_of(made)
    text = markdown(made, tables)
    value = tables.values[0]
    shown = f"{value.mean:.2f} [{value.low:.2f}, {value.high:.2f}]"
    assert "Value: share of the oracle's gain" in text and shown in text
    write_page(tmp_path / "page.html", made, tables, tmp_path)
    assert shown in (tmp_path / "page.html").read_text(encoding="utf-8")
