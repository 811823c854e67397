"""Failures of environments cost the run or the episode, as configured, in this process and in others alike."""

import logging
import re
import time
from functools import partial

import pytest
from saying import Saying
from troubled import INVALID, Troubled, make_counted, troubled

from prism_bench.accounting.meter import Meter
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.errors import InputError
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.rollouts.expert import run_expert
from prism_bench.rollouts.faults import ALWAYS_LOST, FaultRules, attempt
from prism_bench.settings.making import build

LOSE = FaultRules(on_error="lose")
SOON = FaultRules(step_seconds=0.3)
TASKS = ["1-4", "2-5", "3-6"]

INVALID_STEPS = {
    "bytes": "returned an observation that is bytes, no text",
    "surrogate": "returned an observation that is no valid Unicode",
    "nan": "returned the score nan, no number from 0 to 1",
    "per_cent": "returned the score 50.0, no number from 0 to 1",
    "text_score": "returned the score '0.5', no number from 0 to 1",
    "infinite": "returned the reward inf, no finite number",
}


@pytest.fixture
def east(corridor_policy):
    """Return a function that rolls out tasks and returns their outlines and the meter."""
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=500)

    def play(make, rules, workers, tasks=TASKS):
        meter = Meter("eval")
        with RolloutRunner(make, renderer, 2, workers, rules) as runner:
            episodes = runner.run(Saying(renderer), tasks, Sampling(0.0, 4), "policy:east", meter)
        trajectories = [episode.trajectory for episode in episodes]
        return [(t.task_id, len(t.steps), t.score, t.success) for t in trajectories], meter.spent

    return play


SOLVED = [(task, 3, 1.0, True) for task in TASKS]
HOSTS = pytest.mark.parametrize("workers", [False, True], ids=["here", "workers"])


@HOSTS
def test_a_step_that_hangs_costs_its_episode_alone(east, tmp_path, caplog, workers):
    began = time.monotonic()
    outline, spent = east(troubled(tmp_path, from_2_to_5="step hang"), SOON, workers)
    assert time.monotonic() - began < 30
    assert outline == [SOLVED[0], ("2-5", 2, 0.0, False), SOLVED[2]]
    assert (spent.hangs, spent.lost_episodes, spent.episodes, spent.worker_deaths) == (1, 1, 3, 0)
    (record,) = caplog.records
    assert "task 2-5, step 2: the environment did not answer within env.step_seconds=0.3; " in record.getMessage()


@HOSTS
def test_a_reset_that_hangs_costs_its_episode_alone(east, tmp_path, workers):
    outline, spent = east(troubled(tmp_path, from_2_to_5="reset hang"), SOON, workers)
    assert outline == [SOLVED[0], ("2-5", 1, 0.0, False), SOLVED[2]]
    assert (spent.hangs, spent.lost_episodes) == (2 if workers else 1, 1)  # another process tries again


def test_workers_may_take_their_time_while_the_policy_generates(east, tmp_path, monkeypatch):
    """The time that an answer waits for being read is not the environment's."""
    complete = Saying.complete
    monkeypatch.setattr(Saying, "complete", lambda *arguments: time.sleep(0.4) or complete(*arguments))
    assert east(troubled(tmp_path), SOON, workers=True)[0] == SOLVED


@HOSTS
@pytest.mark.parametrize("fault", ["raise", "leave", *INVALID_STEPS])
def test_bugs_cost_the_episode_where_that_is_configured(east, tmp_path, caplog, workers, fault):
    outline, spent = east(troubled(tmp_path, from_2_to_5=f"step {fault}"), LOSE, workers)
    assert outline == [SOLVED[0], ("2-5", 2, 0.0, False), SOLVED[2]]
    kind = "invalid_answers" if fault in INVALID else "errors"
    assert getattr(spent, kind) == spent.lost_episodes == 1 and spent.hangs == spent.worker_deaths == 0
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert ("troubled.py" in record.getMessage()) == (fault == "raise")


@HOSTS
@pytest.mark.parametrize("fault", ["leave", *INVALID_STEPS])
def test_otherwise_they_end_the_run_with_one_sentence(east, tmp_path, workers, fault):
    said = INVALID_STEPS.get(fault, "called sys.exit('no more rooms')")
    expected = f"task 2-5, step 2: the environment {said}; correct the environment, or env.on_error=lose gives up"
    with pytest.raises(InputError, match=re.escape(expected)):
        east(troubled(tmp_path, from_2_to_5=f"step {fault}"), FaultRules(), workers)


@HOSTS
@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("gone", "worker_deaths", "is not to be reached: the game has ended"),
        ("late", "hangs", "did not answer in time: no word for a minute"),
    ],
)
def test_another_process_that_is_missed_costs_its_episode_alone(east, tmp_path, caplog, workers, fault, kind, said):
    outline, spent = east(troubled(tmp_path, from_2_to_5=f"step {fault}"), FaultRules(), workers)
    assert outline == [SOLVED[0], ("2-5", 2, 0.0, False), SOLVED[2]]
    assert getattr(spent, kind) == spent.lost_episodes == 1
    assert f"task 2-5, step 2: the environment {said}; " in caplog.text


@HOSTS
@pytest.mark.parametrize("fault", ["raise", "gone"])
def test_environments_that_failed_are_closed_too(corridor_policy, tmp_path, workers, fault):
    renderer = Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=500)
    make = partial(make_counted, tmp_path, {"2-5": f"step {fault}"})
    with RolloutRunner(make, renderer, 1, workers, LOSE) as runner:
        runner.run(Saying(renderer), TASKS, Sampling(0.0, 4), "policy:east", Meter("eval"))
    assert len(list(tmp_path.glob("made *"))) == len(list(tmp_path.glob("gone *"))) == 2


@HOSTS
def test_another_task_than_the_one_asked_for_is_an_invalid_answer(east, tmp_path, workers):
    with pytest.raises(InputError, match="task 2-5, reset: the environment began the task '1-2'; correct"):
        east(troubled(tmp_path, from_2_to_5="reset other_task"), FaultRules(), workers)


def test_an_exception_keeps_its_traceback_and_names_task_and_step(east, tmp_path):
    with pytest.raises(KeyError, match="no such room") as raised:
        east(troubled(tmp_path, from_2_to_5="step raise"), FaultRules(), False)
    assert raised.traceback[-1].name == "_meet"
    (note,) = raised.value.__notes__
    assert note.startswith("task 2-5, step 2: the environment raised KeyError: 'no such room'\nenv.on_error=lose")


@HOSTS
def test_too_many_lost_episodes_end_the_run(east, tmp_path, workers):
    tasks = ["2-5", "1-3"] * (ALWAYS_LOST + 1)
    make = troubled(tmp_path, from_2_to_5="step raise")
    expected = f"^{ALWAYS_LOST + 1} of 22 episodes were lost because the environment failed, .*; more than 10 and 0.01 "
    with pytest.raises(InputError, match=expected):
        east(make, LOSE, workers, tasks)
    outline, spent = east(make, FaultRules(on_error="lose", most_lost=0.5), workers, tasks)
    assert len(outline) == len(tasks) and spent.lost_episodes == ALWAYS_LOST + 1


def test_the_first_failure_of_each_kind_is_said(east, tmp_path, caplog):
    make = troubled(tmp_path, from_2_to_5="step raise", from_1_to_4="step nan")
    east(make, LOSE, False, ["2-5", "1-4", "2-5", "1-4"])
    assert len(caplog.records) == 2


class TestExpert:
    def roll_out(self, folder, rules, trouble):
        meter = Meter("collect")
        make = troubled(folder, from_2_to_5=trouble)
        episodes = run_expert(make(), "straight", TASKS, meter, rules=rules, make=make)
        return [(e.task_id, len(e.steps), e.score, e.success) for e in episodes], meter.spent

    @pytest.mark.parametrize(("trouble", "kind"), [("step hang", "hangs"), ("step nan", "invalid_answers")])
    def test_an_episode_is_lost(self, tmp_path, trouble, kind):
        rules = FaultRules(step_seconds=0.3, on_error="lose")
        outline, spent = self.roll_out(tmp_path, rules, trouble)
        assert outline == [SOLVED[0], ("2-5", 2, 0.0, False), SOLVED[2]]
        assert getattr(spent, kind) == spent.lost_episodes == 1

    def test_a_reset_that_fails_is_a_failed_episode(self, tmp_path):
        outline, spent = self.roll_out(tmp_path, LOSE, "reset raise")
        assert outline[1] == ("2-5", 1, 0.0, False) and spent.errors == 1

    def test_a_bug_ends_the_run(self, tmp_path):
        with pytest.raises(InputError, match="task 2-5, step 2: the environment returned the score nan"):
            self.roll_out(tmp_path, FaultRules(), "step nan")


def test_what_catches_everything_cannot_catch_the_end_of_its_time():
    def stubborn():
        try:
            time.sleep(60)
        except Exception:
            return "went on"

    assert attempt(stubborn, 0.1).failure.kind == "hangs"


def test_the_settings_are_checked():
    assert build(FaultRules, {}) == FaultRules()
    assert build(FaultRules, {"step_seconds": 2, "on_error": "lose", "most_lost": 0}) == FaultRules(2, "lose", 0)
    for setting, value in (("step_seconds", 0), ("step_seconds", "1 s"), ("on_error", "ignore"), ("most_lost", 2)):
        with pytest.raises(InputError, match=f"^{setting}={value} is not possible"):
            build(FaultRules, {setting: value})


def test_the_corridor_is_sound_without_trouble(tmp_path):
    assert Troubled(tmp_path, {}).reset(options={"task_id": "1-4"})[0].startswith("You are in room 1.")
