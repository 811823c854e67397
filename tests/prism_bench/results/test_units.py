import pytest

from prism_bench.results.units import count, duration, memory, share, times


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (12_345, "12.3 k"),
        (999_600, "1.00 M"),
        (3.7e18, "3.70 E"),
        (1e26, "100000 Z"),
    ],
)
def test_counts(number, text):
    assert count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.314, "0.31 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3599.8, "1 h 00 min"),
        (7380, "2 h 03 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_ratios_beyond_belief_are_bounds():
    assert [times(ratio) for ratio in (0.004, 0.01, 3.216, 100, 155452.5)] == [
        "< 0.01",
        "0.01",
        "3.22",
        "100.00",
        "> 100",
    ]


def test_memory_and_shares():
    assert (memory(700 * 2**20), memory(3 * 2**29)) == ("700 MiB", "1.50 GiB")
    assert (share(1, 8), share(0, 0)) == ("12.5 %", "0.0 %")
