"""Fixtures that several test folders share."""

import tarfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import hypothesis
import pytest
import torch
from corridor import Corridor
from peft import LoraConfig, get_peft_model
from phase import Phase
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.sft import SFT
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.models.policy import Policy
from prism_bench.models.tokenizer import build_tokenizer
from prism_bench.rollouts.expert import run_expert
from prism_bench.routing.router import RoutingContext

hypothesis.settings.register_profile("busy machine", deadline=None)
hypothesis.settings.load_profile("busy machine")
torch.set_num_threads(1)  # the matrices of tests are so small that threads would only wait for each other


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of whole commands first, which take longest: the last to start would be waited for."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("vllm") and find_spec("vllm") is None:
        pytest.skip("needs vLLM: make test-vllm")


ARCHIVES = Path(__file__).resolve().parents[2] / "shared" / "data" / "alfworld"


@pytest.fixture(scope="session")
def official_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a version (``v2.1.1``, ``v2.1.2``) to a folder that holds its official valid_seen games.

    The archives are no part of the project; without them the test is skipped.
    """

    @cache
    def unpack(version: str) -> Path:
        archive = ARCHIVES / f"games_{version}.tar.xz"
        if not archive.exists():
            pytest.skip(f"needs the official games {version}; there is no {archive}")
        folder = tmp_path_factory.mktemp(version)
        with tarfile.open(archive) as tar:
            members = [member for member in tar if member.name.startswith("json_2.1.1/valid_seen/")]
            tar.extractall(folder, members, filter="data")
        return folder

    return unpack


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., PreTrainedModel]:
    """Return a maker of random models: two layers, grouped-query attention, weights that prefer some tokens clearly."""

    def make(architecture: str = "llama", seed: int = 0, lora: tuple[str, ...] = (), **changes: Any) -> PreTrainedModel:
        sizes = {
            "vocab_size": 40,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": 256,
            "initializer_range": 0.3,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        }
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **sizes | changes))
        if lora:
            model = get_peft_model(model, LoraConfig(r=4, target_modules=list(lora), init_lora_weights=False))
        return model

    return make


@pytest.fixture(scope="session")
def corridor() -> Callable[..., gymnasium.Env[str, str]]:
    """Return a maker of :class:`Corridor`, truncated after eight steps."""
    return lambda steps=8: gymnasium.wrappers.TimeLimit(Corridor(), max_episode_steps=steps)


@pytest.fixture(scope="session")
def corridor_episodes(corridor: Callable[..., gymnasium.Env[str, str]]) -> list[Trajectory]:
    """The expert's episodes of all thirty tasks."""
    return run_expert(corridor(), "straight", Corridor.task_ids, Meter("collect"))


@pytest.fixture(scope="session")
def corridor_policy(
    tiny_model: Callable[..., PreTrainedModel], corridor_episodes: list[Trajectory]
) -> Callable[..., Policy]:
    """Return a maker of untrained policies that know the corridor's words; arguments as for ``tiny_model``."""
    steps = [step for episode in corridor_episodes for step in episode.steps]
    tokenizer = build_tokenizer([text for step in steps for text in (step.observation, step.action)])

    def make(*args: Any, **changes: Any) -> Policy:
        ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        return Policy(tiny_model(*args, **{"vocab_size": len(tokenizer)} | ids | changes), tokenizer)

    return make


@pytest.fixture(scope="session")
def undecided(
    corridor_policy: Callable[..., Policy],
    corridor: Callable[..., gymnasium.Env[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Policy]:
    """Return a maker of policies that go east or west in the corridor, but seldom do anything else."""

    def make(**changes: Any) -> Policy:
        policy = corridor_policy(initializer_range=0.05, **changes)
        demonstrations = [
            Trajectory(None, None, "import:x", (Step(f"You are in room {room}.{goal}", action, 0.0),), 1.0, True)
            for room in range(1, 7)
            for goal in (f" Your task is to: go to room {7 - room}.", "")
            for action in ("go east", "go west")
        ]
        algorithm = SFT(
            learning_rate=1e-2,
            per_device_train_batch_size=24,
            num_train_epochs=25,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
        )
        Phase(policy, tmp_path_factory.mktemp("undecided"), corridor, seed=0).train(algorithm, demonstrations)
        return policy

    return make


def _no_rollouts(task_ids, k):
    raise AssertionError("this router has no business rolling out episodes")


@pytest.fixture
def context(corridor_policy, tmp_path: Path) -> Callable[..., RoutingContext]:
    """Return a maker of contexts; ``rollouts`` are refused unless given."""

    def make(rollouts=_no_rollouts, seed: int = 0, **model) -> RoutingContext:
        policy = corridor_policy(**model)
        renderer = Renderer(policy.tokenizer, ActionPrompt(), max_length=256)
        return RoutingContext(policy, renderer, rollouts, Meter("route"), seed, tmp_path)

    return make
