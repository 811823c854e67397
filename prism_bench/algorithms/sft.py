"""Supervised fine-tuning: imitate trajectories, with TRL's ``SFTTrainer``.

The trainer is fed tokens and labels from the one renderer, so that the loss falls on the agent's own words only, the
same ones the probe scores. TRL's own data preparation (chat templates, truncation) is switched off.

An update takes ``batch_size`` random trajectories, but they go through the model in parts: sorted by length, as many at
once as fit a budget of tokens. Loss and gradient are those of the whole, up to the order in which floats are added;
memory is that of one part. Updates of similar length (``train_sampling_strategy: group_by_length``) are no faster, and
whether a trajectory is long would decide what it is learnt with. TRL's packing would pad nothing, but on a CPU and with
``sdpa`` it computes attention between all trajectories of a pack and masks it (``benchmarks/sft.py``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from prism_bench.accounting.ledger import Meter
from prism_bench.algorithms.callbacks import ReportingCallback
from prism_bench.algorithms.settings import SFTSettings
from prism_bench.algorithms.trl_config import trainer_config
from prism_bench.data.batching import groups_within_budget
from prism_bench.data.rendering import IGNORED, Rendered
from prism_bench.models.decoder import update_flops
from prism_bench.models.policy import Policy


class EpisodeSFTTrainer(SFTTrainer):
    """TRL's trainer, which takes a batch in parts of at most ``tokens_per_batch`` tokens."""

    def __init__(self, tokens_per_batch: int, **options: Any) -> None:
        super().__init__(**options)
        self.tokens_per_batch = tokens_per_batch

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the loss of the batch, whose gradient was added to the parameters'."""
        if "attention_mask" not in inputs:  # TRL's padding-free batches are one row
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return loss
        lengths = inputs["attention_mask"].sum(1).tolist()  # padded on the right
        targets = (inputs["labels"][:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        losses = []
        for group in groups_within_budget(lengths, self.tokens_per_batch):
            part = {name: value[group, : lengths[group[-1]]] for name, value in inputs.items()}
            losses.append(super().training_step(model, part, targets))
        return torch.stack(losses).sum()


def imitate(
    policy: Policy,
    episodes: Sequence[Rendered],
    settings: SFTSettings,
    *,
    seed: int,
    folder: Path,
    meter: Meter,
    report: ReportingCallback,
) -> None:
    """Train ``policy`` in place on ``episodes``; trained tokens and FLOPs go to ``meter``.

    Args:
        folder: for the trainer's own files; nothing the caller needs is left there.
    """
    dataset = Dataset.from_dict(
        {"input_ids": [episode.input_ids for episode in episodes], "labels": [episode.labels for episode in episodes]}
    )
    config = trainer_config(
        SFTConfig,
        policy,
        seed=seed,
        folder=folder,
        values={
            "learning_rate": settings.learning_rate,
            "per_device_train_batch_size": settings.batch_size,
            "num_train_epochs": settings.epochs,
            "warmup_steps": settings.warmup,
            "lr_scheduler_type": settings.schedule,
            "weight_decay": settings.weight_decay,
            "max_grad_norm": settings.max_grad_norm,
            "dataset_kwargs": {"skip_prepare_dataset": True},
            "logging_steps": 10,
        },
        options=settings.options,
    )
    trainer = EpisodeSFTTrainer(
        settings.tokens_per_batch,
        model=policy.model,
        args=config,
        train_dataset=dataset,
        processing_class=policy.tokenizer,
        callbacks=[report],
    )
    trainer.remove_callback(PrinterCallback)  # what is logged goes through report
    trainer.train()
    passes = trainer.state.epoch or 0.0
    lengths = np.array([len(episode.input_ids) for episode in episodes])
    targets = np.array([episode.agent_tokens for episode in episodes])
    flops = update_flops(policy.model, lengths, targets, checkpointing=config.gradient_checkpointing)
    meter.add(trained_tokens=round(passes * int(lengths.sum())), flops=passes * flops)
