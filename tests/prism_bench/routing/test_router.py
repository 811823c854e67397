"""The split that every router shares: exact counts whatever the ties, one orientation, a mirror image when reversed."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.errors import InputError
from prism_bench.routing.allocation import Allocation
from prism_bench.routing.router import ScoreRouter, split

TIED = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=40)
ANY = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40)
SEEDS = st.integers(0, 2**32 - 1)


def trajectories(count: int) -> list[Trajectory]:
    steps = (Step("You see a door.", "open door", 1.0),)
    return [Trajectory(f"task-{number}", "doors", "expert:search", steps, 1.0, True) for number in range(count)]


@given(TIED | ANY, st.floats(0.01, 0.99), st.booleans(), SEEDS)
def test_exactly_the_rounded_share_goes_to_sft(scores, quantile, reverse, seed):
    share = round(quantile * len(scores))
    assume(0 < share < len(scores))
    allocation = split(scores, quantile=quantile, reverse=reverse, seed=seed)
    imitated, explored = allocation.indices("sft"), allocation.indices("rl")
    assert len(imitated) == share
    assert sorted(imitated + explored) == list(range(len(scores)))
    assert allocation.scores == tuple(scores)


@given(TIED | ANY, SEEDS)
def test_a_high_score_goes_to_rl(scores, seed):
    allocation = split(scores, seed=seed)
    imitated = [scores[number] for number in allocation.indices("sft")]
    assert max(imitated) <= min(scores[number] for number in allocation.indices("rl"))
    assert allocation.threshold == max(imitated)
    assert allocation.tied_at_threshold == scores.count(allocation.threshold)


@given(TIED | ANY, SEEDS)
def test_reversed_is_the_mirror_image(scores, seed):
    assume(len(scores) % 2 == 0)
    forward, reverse = split(scores, seed=seed), split(scores, reverse=True, seed=seed)
    assert reverse.indices("sft") == forward.indices("rl")
    assert reverse.threshold == min(scores[number] for number in reverse.indices("sft"))
    assert reverse.tied_at_threshold == scores.count(reverse.threshold)


# Not any float: the mean of two neighbours is one of them, and whether the lower or the upper one is up to rounding.
@given(TIED | st.lists(st.integers(-500, 500).map(lambda value: value / 8), min_size=2, max_size=40), st.booleans())
def test_ties_of_the_paper_follow_the_median_alone(scores, reverse):
    median = np.median(scores)
    expected = [number for number, score in enumerate(scores) if (score >= median if reverse else score <= median)]
    assume(len(expected) < len(scores))
    allocations = [split(scores, ties="paper", reverse=reverse, seed=seed) for seed in (0, 1)]
    assert [allocation.indices("sft") for allocation in allocations] == [expected, expected]


def test_the_seed_breaks_ties_evenly_and_repeatably():
    scores = [0.5] * 20
    assert split(scores, seed=3) == split(scores, seed=3)
    chosen = np.zeros(20)
    for seed in range(400):
        chosen[split(scores, seed=seed).indices("sft")] += 1
    assert np.abs(chosen - 200).max() < 50  # five standard deviations of a fair coin


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([0.1, float("nan"), 0.3], {}, "trajectory 1 has the score nan, which cannot be ordered"),
        ([0.1, float("inf")], {}, "trajectory 1 has the score inf"),
        ([], {}, r"no trajectory for sft \(0 trajectories"),
        ([0.1], {}, "no trajectory for sft"),
        ([0.1, 0.2, 0.3], {"quantile": 0.1}, "no trajectory for sft .3 trajectories, quantile 0.1"),
        ([0.1, 0.2, 0.3], {"quantile": 0.9}, "no trajectory for rl"),
        ([0.5, 0.5, 0.5], {"ties": "paper"}, "no trajectory for rl .*use ties=random where many scores are equal"),
        (
            [0.1, 0.2],
            {"quantile": 1.0},
            r"quantile=1\.0 leaves SFT or RL without data; choose a value between 0 and 1",
        ),
        ([0.1, 0.2], {"ties": "first"}, r"ties='first' is unknown; choose random or paper"),
    ],
)
def test_splits_that_make_no_sense_are_refused(scores, options, message):
    with pytest.raises(InputError, match=message):
        split(scores, **options)


@dataclass(frozen=True)
class Given(ScoreRouter):
    """Router with given scores."""

    scores: tuple[float, ...] = ()

    def score(self, trajectories, context):
        return np.array(self.scores), {"made": "by hand"}


@pytest.fixture
def allocated(tmp_path):
    """Return a function from a router to its allocation of as many trajectories as there should be."""

    def route(router: ScoreRouter, count: int, seed: int = 0) -> Allocation:
        folder = SimpleNamespace(folder=tmp_path)
        router.measure(trajectories(count), folder)
        return router.route(trajectories(count), tmp_path, tmp_path, seed)

    return route


def test_a_new_router_says_only_how_it_scores(allocated):
    allocation = allocated(Given(scores=(3.0, 1.0, 2.0, 4.0), quantile=0.25), 4)
    assert allocation.stages == ("rl", "sft", "rl", "rl")
    assert allocation.identity == {"made": "by hand"}
    tied = Given(scores=(1.0,) * 30)
    runs = [allocated(tied, 30, seed).stages for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_scores_are_what_was_measured_to_the_bit(allocated):
    scores = tuple(np.random.default_rng(0).normal(size=50) * 10.0 ** np.arange(-25, 25))
    assert allocated(Given(scores=scores), 50).scores == scores


def test_a_router_that_scores_too_few_is_refused(allocated):
    with pytest.raises(InputError, match=r"Given\.score returned an array of shape \(2,\) for 4 trajectories"):
        allocated(Given(scores=(1.0, 2.0)), 4)
