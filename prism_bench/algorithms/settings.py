"""The hyper-parameters of SFT and RL, filled from ``conf/sft`` and ``conf/rl``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SFTSettings:
    """How to imitate."""

    learning_rate: float
    batch_size: int  # trajectories per update
    epochs: float = 1.0
    tokens_per_batch: int = 1024  # an update goes through the model in parts of so many tokens, padding included
    warmup: float = 0.05  # share of the updates
    schedule: str = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)  # any other field of trl.SFTConfig


@dataclass(frozen=True)
class RLSettings:
    """How to explore."""

    learning_rate: float
    steps: int  # rounds of playing and learning
    tasks_per_step: int
    group_size: int = 8  # episodes per task
    updates_per_step: int = 1  # the episodes of a step are divided among so many updates
    gradient_accumulation: int = 1  # the episodes of an update are in memory in so many parts
    max_turns: int | None = None  # shorter than the environment's own limit: what takes longer counts as failed
    temperature: float = 1.0
    schedule: str = "constant"
    warmup: float = 0.0
    max_grad_norm: float = 1.0
    loss: str = "dapo"  # how tokens are averaged, see loss_type of trl.GRPOConfig
    scale_rewards: str = "group"
    options: Mapping[str, Any] = field(default_factory=dict)  # any other field of trl.GRPOConfig
