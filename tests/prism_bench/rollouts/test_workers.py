"""Environments in processes of their own give the episodes of environments in this process, unless they die."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from saying import Saying
from troubled import noted, troubled

from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.contract import TrainingContext
from prism_bench.algorithms.grpo import GRPO
from prism_bench.data.prompts import ActionPrompt, ReactPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import load_trajectories, save_trajectories
from prism_bench.errors import InputError
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import Episode, Limits, RolloutRunner
from prism_bench.rollouts.transformers_backend import TransformersBackend, TransformersEngine
from prism_bench.rollouts.workers import HOPELESS_TASKS, WorkerEnvironments

TASKS = ["1-4", "5-2", "6-1", "3-4", "2-6", "1-4", "4-1"]
GREEDY, SAMPLED = Sampling(0.0, 4), Sampling(1.0, 4, seed=3)


@pytest.fixture
def renderer(corridor_policy) -> Renderer:
    return Renderer(corridor_policy().tokenizer, ActionPrompt(), max_length=500)


@pytest.fixture
def east(renderer, tmp_path) -> Iterator[Callable[..., list[Episode]]]:
    """Return a function that rolls out tasks with :class:`Saying` in workers; afterwards no process may be left."""
    before = set(psutil.Process().children(recursive=True))
    meter = Meter("eval")

    def play(make, task_ids, places=2, meter=meter, renderer=renderer, **options) -> list[Episode]:
        with RolloutRunner(make, renderer, places, workers=True) as runner:
            return runner.run(Saying(renderer), task_ids, GREEDY, "policy:east", meter, **options)

    yield play
    assert set(psutil.Process().children(recursive=True)) == before


def outline(episodes: list[Episode]) -> list[tuple[str | None, int, float, bool]]:
    return [(e.trajectory.task_id, len(e.trajectory.steps), e.trajectory.score, e.trajectory.success) for e in episodes]


def assert_sound(episode: Episode) -> None:
    """Check that an episode is valid for RL and for the files of trajectories."""
    assert episode.prompt_ids and episode.completion_ids and episode.trajectory.steps
    assert len(episode.completion_ids) == len(episode.agent_mask) == len(episode.logprobs)
    assert episode.trajectory.agent_tokens == sum(episode.agent_mask) > 0


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("prompt", [ActionPrompt(), ReactPrompt("Go.", list_admissible=True)], ids=["action", "react"])
def test_workers_play_the_episodes_that_this_process_plays(corridor_policy, tmp_path, sampling, prompt):
    policy = corridor_policy()
    renderer = Renderer(policy.tokenizer, prompt, max_length=150)
    played, meters = [], [Meter("eval"), Meter("eval")]
    for workers, meter in zip((False, True), meters, strict=True):
        with RolloutRunner(troubled(tmp_path), renderer, 3, workers=workers) as runner:
            backend = TransformersBackend(policy.model, renderer.end_token_id)
            played.append(runner.run(backend, TASKS, sampling, "policy:x", meter, limits=Limits(6)))
    local, remote = played
    for one, other in zip(local, remote, strict=True):
        assert replace(one, logprobs=[]) == replace(other, logprobs=[])
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert len({tuple(episode.completion_ids) for episode in local}) > 4
    assert replace(meters[0].spent, flops=0) == replace(meters[1].spent, flops=0)


def test_whoever_has_answered_is_served(east, tmp_path):
    """The first task waits until all others are over, which a batch that waits for the slowest never lets happen."""

    def let_go(finished: int) -> None:
        if finished == len(TASKS) - 1:
            (tmp_path / "go").touch()

    tasks = ["2-6", *(task for task in TASKS if task != "2-6")]
    episodes = east(troubled(tmp_path, from_2_to_6="step wait"), tasks, on_episode=let_go)
    assert [episode.trajectory.task_id for episode in episodes] == tasks
    assert episodes[0].trajectory.success and len(episodes[0].trajectory.steps) == 4


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize(("death", "how"), [("kill", "killed by SIGKILL"), ("exit", "exit status 3")])
def test_a_death_in_step_costs_its_episode_alone(east, tmp_path, caplog, death, how, places):
    meter = Meter("eval")
    make = troubled(tmp_path, from_1_to_4=f"step {death}")
    episodes = east(make, ["1-4", "1-3", "2-5", "3-6"], places, meter=meter)
    lost, *others = episodes
    assert outline([lost]) == [("1-4", 2, 0.0, False)] and lost.trajectory.task_type == "east"
    assert [step.reward for step in lost.trajectory.steps] == [pytest.approx(1 / 3), 0.0]
    assert_sound(lost)
    assert outline(others) == [("1-3", 2, 1.0, True), ("2-5", 3, 1.0, True), ("3-6", 3, 1.0, True)]
    assert meter.spent.worker_deaths == meter.spent.lost_episodes == 1 and meter.spent.env_steps == 10
    (record,) = caplog.records
    said = f"died with its process, {how}; the episode counts as a failure, and the run goes on"
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"task 1-4, step 2: the environment {said}")
    (dead,) = {process for process, _ in noted(tmp_path, "1-4", "step")}
    living = {process for task in ("1-3", "2-5", "3-6") for process, _ in noted(tmp_path, task, "step")}
    assert dead not in living


def test_a_death_in_reset_is_tried_again(east, tmp_path, caplog):
    meter = Meter("eval")
    episodes = east(troubled(tmp_path, from_1_to_3="reset once"), ["1-3", "2-4"], meter=meter)
    assert outline(episodes) == [("1-3", 2, 1.0, True), ("2-4", 2, 1.0, True)]
    assert (meter.spent.worker_deaths, meter.spent.lost_episodes) == (1, 0)
    (record,) = caplog.records
    said = "task 1-3, reset: the environment died with its process, exit status 0; another one tries again"
    assert record.getMessage().startswith(said)
    assert len({process for process, _ in noted(tmp_path, "1-3", "reset")}) == 2


@pytest.mark.parametrize("prompt", [ActionPrompt(), ActionPrompt(True), ReactPrompt("Go.", True)])
def test_a_task_that_no_process_can_reset_is_a_failed_episode_like_others(east, renderer, tmp_path, prompt):
    meter = Meter("eval")
    renderer = Renderer(renderer.tokenizer, prompt, max_length=500)
    make = troubled(tmp_path, from_5_to_6="reset kill")
    episodes = east(make, ["5-6", "2-4", "5-6", "1-3"], meter=meter, renderer=renderer)
    assert outline(episodes[::2]) == [("5-6", 1, 0.0, False)] * 2
    assert outline(episodes[1::2]) == [("2-4", 2, 1.0, True), ("1-3", 2, 1.0, True)]
    assert (meter.spent.worker_deaths, meter.spent.lost_episodes) == (4, 2)
    assert_sound(episodes[0])
    save_trajectories([episode.trajectory for episode in episodes], tmp_path / "episodes.parquet")
    assert load_trajectories(tmp_path / "episodes.parquet") == [episode.trajectory for episode in episodes]
    assert renderer.render(episodes[0].trajectory).input_ids == episodes[0].prompt_ids + episodes[0].completion_ids


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
def test_reinforcement_learning_outlives_deaths(corridor_policy, tmp_path):
    policy, meter = corridor_policy(), Meter("rl")
    logged: list[dict[str, float]] = []
    renderer = Renderer(policy.tokenizer, ActionPrompt(), 200)
    make = troubled(tmp_path, from_5_to_2="reset exit", from_3_to_6="step exit")
    with RolloutRunner(make, renderer, 8, workers=True) as runner:
        context = TrainingContext(
            phase="rl",
            renderer=renderer,
            runner=runner,
            engine=TransformersEngine(),
            max_completion_tokens=4,
            meter=meter,
            seed=5,
            folder=tmp_path / "trainer",
            log=lambda values, update: logged.append(dict(values)),
        )
        batch = {"num_generations": 2, "per_device_train_batch_size": 6, "gradient_accumulation_steps": 1}
        GRPO(max_steps=2, logging_steps=1, **batch).train(policy, [], ["5-2", "3-6", "3-4"], context)
    assert meter.spent.worker_deaths == 2 * (2 * 2 + 2)
    assert len([values for values in logged if "rl/reward" in values]) == 2


@pytest.mark.parametrize("tasks", [2, 30])
def test_an_environment_that_cannot_be_reset_ends_the_run(east, tmp_path, tasks):
    task_ids = [f"{start}-{goal}" for start in range(1, 7) for goal in range(1, 7) if start != goal][:tasks]
    make = troubled(tmp_path, **{f"from_{task.replace('-', '_to_')}": "reset exit" for task in task_ids})
    with pytest.raises(InputError, match=rf"failed in reset\(\) on {min(tasks, HOPELESS_TASKS)} tasks in a row, twice"):
        east(make, task_ids)
    assert len(list(tmp_path.glob("* reset"))) <= HOPELESS_TASKS + 1


@pytest.mark.parametrize("where", ["reset", "step"])
def test_an_exception_is_raised_here(east, tmp_path, where):
    message = rf"^task 2-4, {where}{' 2' * (where == 'step')}: the environment raised KeyError: 'no such room'\n"
    with pytest.raises(RuntimeError, match=message) as raised:
        east(troubled(tmp_path, from_2_to_4=f"{where} raise"), ["1-3", "2-4", "2-6"])
    assert "troubled.py" in raised.value.__notes__[0]


@pytest.mark.parametrize("where", ["reset", "step"])
def test_a_refusal_is_raised_here_as_it_is(east, tmp_path, where):
    with pytest.raises(InputError, match=r"^room 4 has no door; choose another task$"):
        east(troubled(tmp_path, from_2_to_4=f"{where} refuse"), ["1-3", "2-4", "2-6"])


def test_after_an_exception_the_player_can_play_on(renderer, tmp_path):
    for workers in (False, True):
        with RolloutRunner(troubled(tmp_path, from_2_to_4="step raise"), renderer, 3, workers=workers) as runner:
            with pytest.raises((RuntimeError, KeyError), match="no such room"):
                runner.run(Saying(renderer), ["1-3", "2-4", "1-6"], GREEDY, "policy:east", Meter("eval"))
            episodes = runner.run(Saying(renderer), ["3-5", "1-2", "4-5"], GREEDY, "policy:east", Meter("eval"))
        assert outline(episodes) == [("3-5", 2, 1.0, True), ("1-2", 1, 1.0, True), ("4-5", 1, 1.0, True)]


def test_processes_are_kept_from_call_to_call_and_know_nothing_of_torch(renderer, tmp_path):
    with RolloutRunner(troubled(tmp_path), renderer, 3, workers=True) as runner:
        for _ in range(2):
            runner.run(Saying(renderer), TASKS, GREEDY, "policy:east", Meter("eval"))
        notes = [note for task in set(TASKS) for note in noted(tmp_path, task, "step")]
        assert len({process for process, _ in notes}) == 3 and not any(torch for _, torch in notes)
        processes = [psutil.Process(process) for process, _ in notes]
    assert not any(process.is_running() for process in processes)
    assert len(list(tmp_path.glob("closed *"))) == 3


def test_one_that_died_between_two_calls_is_replaced(renderer, tmp_path):
    meter = Meter("eval")
    with RolloutRunner(troubled(tmp_path), renderer, 1, workers=True) as runner:
        runner.run(Saying(renderer), ["1-3"], GREEDY, "policy:east", meter)
        psutil.Process(noted(tmp_path, "1-3", "step")[0][0]).kill()
        episodes = runner.run(Saying(renderer), ["2-4"], GREEDY, "policy:east", meter)
    assert outline(episodes) == [("2-4", 2, 1.0, True)] and meter.spent.worker_deaths == 1


def test_an_environment_at_work_does_not_hold_up_the_end(renderer, tmp_path):
    environments = WorkerEnvironments(troubled(tmp_path, from_2_to_4="reset hang"))
    environments.reset(0, "2-4")
    process = asked_process(tmp_path / "2-4 reset")
    environments.close()
    assert not process.is_running()


PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which is off in all that a shell starts in the background
from pathlib import Path
from troubled import troubled
from prism_bench.rollouts.workers import WorkerEnvironments
environments = WorkerEnvironments(troubled(Path(sys.argv[1]), from_2_to_4="reset hang"))
environments.reset(0, "2-4")
environments.reset(1, "1-3")
time.sleep(600)
"""


@pytest.mark.parametrize(("ending", "tracebacks"), [(signal.SIGKILL, 0), (signal.SIGINT, 1)], ids=["killed", "Ctrl-C"])
def test_no_process_outlives_its_program_or_says_a_word(tmp_path, ending, tracebacks):
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}{PROGRAM}", str(tmp_path)]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    processes = [asked_process(tmp_path / name) for name in ("2-4 reset", "1-3 reset")]
    children = psutil.Process(program.pid).children(recursive=True)
    assert set(processes) < set(children)
    os.killpg(program.pid, ending)
    _, errors = program.communicate()
    assert errors.count("Traceback") == tracebacks
    assert not psutil.wait_procs(children, timeout=30)[1]


def asked_process(note: Path) -> psutil.Process:
    patience = time.monotonic() + 60
    while not (note.exists() and note.read_text().endswith("\n")):
        assert time.monotonic() < patience, "it was never asked"
        time.sleep(0.005)
    return psutil.Process(int(note.read_text().split()[0]))


def test_what_other_processes_cannot_make_is_refused(renderer):
    with pytest.raises(InputError, match=r"env.workers=true needs an environment that another process can make, but "):
        RolloutRunner(lambda: None, renderer, 1, workers=True)


def test_the_launcher_is_missed(renderer, tmp_path):
    before = set(psutil.Process().children())
    environments = WorkerEnvironments(troubled(tmp_path))
    (launcher,) = set(psutil.Process().children()) - before
    launcher.kill()
    with pytest.raises(InputError, match="program that starts the environments' processes has ended with status -9"):
        environments.reset(0, "1-3")
    environments.close()
