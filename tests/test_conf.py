"""Every file of every configuration group composes, and its object can be made."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from prism_bench.data.indexed_prompt import IndexedPrompt
from prism_bench.data.prompts import ActionPrompt, ReactPrompt
from prism_bench.environments.contract import TextEnvironment
from prism_bench.models.policy import ModelSettings
from prism_bench.results.evaluation import EvaluationSettings
from prism_bench.results.loggers import FileLogger, WandbLogger
from prism_bench.rollouts.transformers_backend import TransformersEngine
from prism_bench.rollouts.vllm_engine import VLLMEngine
from prism_bench.strategy import make_algorithm, read_strategy

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
CHOICES = sorted(path.relative_to(CONF).with_suffix("").parts for path in CONF.glob("*/*.yaml"))
KINDS = {
    "model": ModelSettings,
    "prompt": ActionPrompt | IndexedPrompt | ReactPrompt,
    "eval": EvaluationSettings,
    "generation": TransformersEngine | VLLMEngine,
}


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def choices(*groups: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("group", "choice"), [pair for pair in CHOICES if pair[0] in groups])


def test_every_group_is_tried_below():
    assert {group for group, _ in CHOICES} == {*KINDS, "env", "router", "logger", "algorithm", "strategy"}


@choices(*KINDS)
def test_settings(group, choice):
    missing = ["model.path=FOLDER"] if choice == "checkpoint" else []
    chosen = configured(f"{group}={choice}", *missing)[group]
    assert isinstance(instantiate(chosen, _convert_="object"), KINDS[group])


@choices("router")
def test_routers(group, choice):
    router = configured(f"{group}={choice}").router
    assert {"quantile", "ties", "reverse"} <= router.keys()  # so that every router can be set up as every other one
    assert callable(instantiate(router).route)


@choices("algorithm")
def test_algorithms(group, choice):
    algorithm = instantiate(configured(f"algorithm={choice}").algorithm, _convert_="object")
    assert algorithm.needs_demonstrations or algorithm.needs_tasks
    assert callable(algorithm.train)


@choices("strategy")
@pytest.mark.parametrize("env", ["alfworld", "webshop"])
def test_strategies(group, choice, env):
    one_loop = ["algorithm=luffy"] if choice == "one_loop" else []
    config = configured(f"env={env}", f"strategy={choice}", "strategy.name=tried", *one_loop)
    phases = read_strategy(OmegaConf.to_container(config.strategy, resolve=True)["phases"])
    assert all(make_algorithm(phase) for phase in phases) and (choice == "none") == (not phases)


@choices("env")
def test_environments(group, choice):
    env = configured(f"{group}={choice}").env
    for split in [env.train_split, env.validation_split, *env.test_splits]:
        environment = instantiate(env.make, split=split)
        assert isinstance(environment, gymnasium.Env) and environment.spec.max_episode_steps
        assert isinstance(environment.unwrapped, TextEnvironment) and environment.unwrapped.task_ids
    assert environment.unwrapped.expert(env.expert)


@choices("logger")
def test_loggers(group, choice):
    assert instantiate(configured(f"{group}={choice}").logger).func in (FileLogger, WandbLogger)


def test_a_first_sentence_explains_every_choice_in_the_help():
    finished = subprocess.run([sys.executable, str(ROOT / "run.py"), "--help"], capture_output=True, text=True)
    assert finished.returncode == 0
    rows = [line.split(maxsplit=1) for line in finished.stdout.splitlines() if line.startswith("    ")]
    explained = [words[0] for words in rows if len(words) == 2]
    assert {choice for _, choice in CHOICES} <= set(explained)
