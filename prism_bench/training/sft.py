"""Supervised fine-tuning: imitate trajectories, with TRL's ``SFTTrainer``.

The trainer is fed tokens and labels from the one renderer, so that the loss falls on the agent's own words only, the
same ones the probe scores. TRL's own data preparation (chat templates, truncation) is switched off.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from prism_bench.decoder import update_flops
from prism_bench.ledger import Meter
from prism_bench.models import Policy
from prism_bench.rendering import Rendered
from prism_bench.training.reporting import ReportingCallback
from prism_bench.training.settings import SFTSettings
from prism_bench.training.trl_config import equal_part, trainer_config


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
            "per_device_train_batch_size": equal_part(settings.batch_size, settings.gradient_accumulation, "sft"),
            "gradient_accumulation_steps": settings.gradient_accumulation,
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
    trainer = SFTTrainer(
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
