"""Supervised fine-tuning: imitate trajectories, with TRL's ``SFTTrainer``.

The trainer is fed tokens and labels from the one renderer, so that the loss falls on the agent's own words only, the
same ones the probe scores. TRL's own data preparation (chat templates, truncation) is switched off.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from prism_bench.flops import ModelShape, training_flops
from prism_bench.ledger import Meter
from prism_bench.models import Policy
from prism_bench.rendering import Rendered
from prism_bench.training.reporting import ReportingCallback
from prism_bench.training.settings import SFTSettings


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
    on_cpu = policy.model.device.type == "cpu"
    config = SFTConfig(
        output_dir=str(folder),
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=max(1, settings.batch_size // settings.gradient_accumulation),
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        warmup_steps=settings.warmup,
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        dataset_kwargs={"skip_prepare_dataset": True},
        use_cpu=on_cpu,
        bf16=False,
        fp16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=not on_cpu,
        seed=seed,
        data_seed=seed,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        logging_steps=10,
        **settings.options,
    )
    trainer = SFTTrainer(
        model=policy.model,
        args=config,
        train_dataset=dataset,
        processing_class=policy.tokenizer,
        callbacks=[report],
    )
    trainer.train()
    lengths = np.array([len(episode.input_ids) for episode in episodes])
    passes = trainer.state.global_step * settings.batch_size / len(episodes)
    passes = min(passes, settings.epochs)
    targets = np.array([episode.agent_tokens for episode in episodes])
    meter.add(
        trained_tokens=round(passes * int(lengths.sum())),
        flops=passes * float(training_flops(ModelShape.from_config(policy.model.config), lengths, logits=targets)),
    )
