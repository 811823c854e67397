"""Every file of every configuration group composes, and its object can be made."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from extras import skip_where_missing
from hydra import compose, initialize_config_dir

from prism_bench.algorithms.contract import Algorithm
from prism_bench.comparison.launchers import Launcher
from prism_bench.data.indexed_prompt import IndexedPrompt
from prism_bench.data.prompts import ActionPrompt, ActPrompt, Prompt, ReactPrompt
from prism_bench.data.trajectory import Trajectory
from prism_bench.environments.contract import TextEnvironment
from prism_bench.models.download import ModelDownload
from prism_bench.models.policy import ModelSettings
from prism_bench.results.evaluation import EvaluationSettings
from prism_bench.results.loggers import FileLogger, Logger
from prism_bench.results.wandb_logger import WandbLogger
from prism_bench.rollouts.backend import Engine
from prism_bench.routing.router import Router
from prism_bench.run_parts import make_parts
from prism_bench.settings.configuration import resolve
from prism_bench.settings.making import make
from prism_bench.stages.tools import environment_maker
from prism_bench.strategy import make_algorithm, read_strategy

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
CHOICES = sorted(path.relative_to(CONF).with_suffix("").parts for path in CONF.glob("*/*.yaml"))
KINDS = {
    "model": ModelSettings,
    "prompt": Prompt,
    "download": ModelDownload,
    "eval": EvaluationSettings,
    "generation": Engine,
    "launcher": Launcher,
}


def configured(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=["folder=run", "strategy.name=tried", *overrides])
    return resolve(config).values


def choices(*groups: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("group", "choice"), [pair for pair in CHOICES if pair[0] in groups])


def test_every_group_is_tried_below():
    assert {group for group, _ in CHOICES} == {*KINDS, "env", "router", "logger", "algorithm", "strategy", "experiment"}


@choices(*KINDS)
def test_settings(group, choice):
    missing = ["model.path=FOLDER"] if choice == "checkpoint" else []
    added = "+" if group in ("download", "launcher") else ""  # of other commands
    chosen = configured(f"{added}{group}={choice}", *missing)[group]
    assert make(chosen, group, KINDS[group])


@pytest.mark.parametrize("env", ["alfworld", "webshop"])
@choices("model")
def test_models_choose_their_prompts(group, choice, env):
    """A model that was pretrained to follow instructions is told the commands; the command line has the last word."""
    chosen = [f"env={env}", f"model={choice}", *(["model.path=FOLDER"] if choice == "checkpoint" else [])]
    scratch = {"tiny": ActionPrompt, "deep": ActionPrompt, "tiny-pages": IndexedPrompt}
    prompts = {**scratch, "checkpoint": ActionPrompt}
    config = configured(*chosen)
    assert type(make(config["prompt"], "prompt")) is prompts.get(choice, ActPrompt)
    if choice not in prompts:
        assert config["env"]["commands"] in make(config["prompt"], "prompt").messages("", ())[0]["content"]
    assert isinstance(make(configured(*chosen, "prompt=react")["prompt"], "prompt"), ReactPrompt)


@choices("router")
def test_routers(group, choice):
    router = configured(f"{group}={choice}")["router"]
    assert {"quantile", "ties", "reverse"} <= router.keys()  # so that every router can be set up as every other one
    assert callable(make(router, group, Router).route)


@choices("router")
def test_a_measurement_depends_on_the_seed_if_it_says_that_it_draws(group, choice, context, corridor_episodes):
    """Seeds share what a measurement leaves that says it draws nothing."""
    router = make(configured(f"{group}={choice}")["router"], group, Router)
    episodes = [replace(episode, regime="clean") for episode in corridor_episodes[:4]]

    def allocated(seed: int) -> tuple[float, ...]:
        rolled_out = replace(episodes[0], success=seed == 0)
        made = context(rollouts=lambda tasks, k: [[rolled_out] * k for _ in tasks])
        router.measure(episodes, replace(made, seed=seed))
        return router.route(episodes, made.folder, made.folder, 0).scores

    assert (allocated(0) != allocated(1)) is router.draws


@choices("router")
def test_a_measurement_gets_rollouts_if_it_says_that_it_needs_tasks(group, choice, context, corridor_episodes):
    """One that does not has no setting of rollouts in its key."""
    router = make(configured(f"{group}={choice}")["router"], group, Router)
    asked = []

    def rollouts(tasks: Sequence[str], k: int) -> list[list[Trajectory]]:
        asked.extend(tasks)
        return [[corridor_episodes[0]] * k for _ in tasks]

    router.measure([replace(episode, regime="clean") for episode in corridor_episodes[:4]], context(rollouts=rollouts))
    assert bool(asked) is router.needs_tasks


@choices("algorithm")
@pytest.mark.parametrize("env", ["alfworld", "webshop"])
def test_algorithms(group, choice, env):
    algorithm = make(configured(f"env={env}", f"algorithm={choice}")["algorithm"], group, Algorithm)
    assert algorithm.needs_demonstrations or algorithm.needs_tasks
    assert callable(algorithm.train)


@choices("strategy")
@pytest.mark.parametrize("env", ["alfworld", "webshop"])
def test_strategies(group, choice, env):
    one_loop = ["algorithm=luffy"] if choice == "one_loop" else []
    config = configured(f"env={env}", f"strategy={choice}", *one_loop)
    phases = read_strategy(config["strategy"]["phases"])
    assert all(make_algorithm(phase) for phase in phases) and (choice == "none") == (not phases)


def test_an_environment_chooses_the_steps_of_every_algorithm_that_explores():
    for algorithm in ("grpo", "luffy"):
        chosen = configured("env=webshop", f"algorithm={algorithm}")["algorithm"]
        assert (chosen["learning_rate"], chosen["max_steps"]) == (1e-4, 160)
    assert configured("env=webshop", "algorithm.max_steps=2")["algorithm"]["max_steps"] == 2


@choices("env")
def test_environments(group, choice):
    skip_where_missing(choice)
    env = configured(f"{group}={choice}")["env"]
    for split in [env["train_split"], env["validation_split"], *env["test_splits"]]:
        environment = environment_maker(env["make"], split)()
        assert isinstance(environment, gymnasium.Env) and environment.spec.max_episode_steps
        assert isinstance(environment.unwrapped, TextEnvironment) and environment.unwrapped.task_ids
    assert env["expert"] is None or environment.unwrapped.expert(env["expert"])


@choices("logger")
def test_loggers(group, choice):
    assert make(configured(f"{group}={choice}")["logger"], group, Logger).func in (FileLogger, WandbLogger)


@choices("experiment")
def test_experiments(group, choice):
    """Every setting of the study is one that a run knows, and the command line has the last word."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [
            "folder=run",
            "strategy.name=tried",
            f"{group}={choice}",
            "env.data=FOLDER",
            "trajectories=7",
            "model.device=cpu",
        ]
        parts = make_parts(compose("config", overrides=overrides))
    assert parts.settings.trajectories == 7 and parts.phases


def test_a_first_sentence_explains_every_choice_in_the_help():
    explained = []
    for program in ("run.py", "compare.py"):
        finished = subprocess.run([sys.executable, str(ROOT / program), "--help"], capture_output=True, text=True)
        assert finished.returncode == 0
        rows = [line.split(maxsplit=1) for line in finished.stdout.splitlines() if line.startswith("    ")]
        explained += [words[0] for words in rows if len(words) == 2]
    assert {choice for group, choice in CHOICES if group != "download"} <= set(explained)
