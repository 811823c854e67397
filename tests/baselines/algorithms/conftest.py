"""Trainers of hybrid algorithms on made-up batches, and a policy that never succeeds by itself."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from datasets import Dataset
from phase import Phase
from trl.trainer.grpo_config import GRPOConfig

from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.demonstrations import Demonstrations
from prism_bench.algorithms.grpo import GRPO
from prism_bench.algorithms.grpo_trainer import EpisodeGRPOTrainer
from prism_bench.data.trajectory import Trajectory
from prism_bench.models.policy import Policy

SETTINGS = {
    "learning_rate": 1e-2,
    "max_steps": 8,
    "num_generations": 4,
    "per_device_train_batch_size": 8,  # two tasks
    "gradient_accumulation_steps": 1,
    "loss_type": "grpo",
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": False,
    "logging_steps": 1,
}


@pytest.fixture
def settings() -> dict[str, Any]:
    """Fields of ``trl.GRPOConfig`` for a training of a few updates on two tasks each."""
    return dict(SETTINGS)


@pytest.fixture
def trainer_of(corridor_policy: Callable[..., Policy], corridor: Any, tmp_path: Any) -> Callable[..., Any]:
    """Return a maker of an algorithm's trainer, as the algorithm makes it, with a policy of its own."""

    def make(algorithm: GRPO, demonstrations: Sequence[Trajectory] = ()) -> EpisodeGRPOTrainer:
        policy = corridor_policy(initializer_range=0.2)
        trainer = algorithm.trainer(
            meter=Meter("rl"),
            algorithm=algorithm,
            demonstrations=Demonstrations(demonstrations, Phase(policy, tmp_path, corridor).context),
            model=policy.model,
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=GRPOConfig(output_dir=str(tmp_path), report_to="none", use_cpu=True, bf16=False, **algorithm.config),
            train_dataset=Dataset.from_dict({"prompt": ["x"]}),
            processing_class=policy.tokenizer,
        )
        trainer.callbacks()
        return trainer

    return make


@pytest.fixture
def demonstrations(corridor_episodes: list[Trajectory]) -> list[Trajectory]:
    """The expert's episodes of four tasks."""
    return [episode for episode in corridor_episodes if episode.task_id in ("2-3", "3-4", "4-3", "2-4")]
