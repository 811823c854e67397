"""Reinforcement learning: explore tasks with GRPO (arXiv 2402.03300), TRL's ``GRPOTrainer``.

Rollouts are real multi-turn episodes. TRL's experimental ``rollout_func`` gets the prompt column only, already repeated
once per generation; that column holds task ids here, so that every episode is rendered by the one renderer as it grows
and a group shares its task. ``env_mask`` keeps the environment's tokens out of the loss. The reward is the episode's
score.

Deviations from TRL's defaults, all in ``conf/rl``: no KL term (beta 0), and rollouts are played by this project, with
the engine of ``conf/generation``. Where that is vLLM it is TRL's own (``use_vllm``): TRL brings the policy's weights
into it before the rollouts of a step, and weighs in the loss for what it samples differently. An episode whose last
reply was cut before its end-of-turn token is what TRL reports as clipped.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PrinterCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from prism_bench.accounting.ledger import Meter
from prism_bench.algorithms.callbacks import ReportingCallback
from prism_bench.algorithms.grpo_trainer import EpisodeGRPOTrainer
from prism_bench.algorithms.settings import RLSettings
from prism_bench.algorithms.trl_config import trainer_config
from prism_bench.errors import InputError
from prism_bench.models.decoder import update_flops
from prism_bench.models.policy import Policy
from prism_bench.rollouts.backend import Engine, Sampling
from prism_bench.rollouts.episodes import EpisodePlayer


class Rollouts:
    """TRL's ``rollout_func``: plays the tasks that the trainer asks for with the policy as it is now."""

    def __init__(
        self,
        player: EpisodePlayer,
        engine: Engine,
        sampling: Sampling,
        source: str,
        max_turns: int | None,
        meter: Meter,
        on_batch: Callable[[Mapping[str, float]], None],
    ) -> None:
        self.player = player
        self.engine = engine
        self.sampling = sampling
        self.source = source
        self.max_turns = max_turns
        self.meter = meter
        self.on_batch = on_batch
        self.calls = 0

    def __call__(self, task_ids: Sequence[str], trainer: GRPOTrainer) -> dict[str, list[Any]]:
        model = trainer.accelerator.unwrap_model(trainer.model)
        seed = int(np.random.SeedSequence([self.sampling.seed, self.calls]).generate_state(1)[0])
        self.calls += 1
        sampling = Sampling(self.sampling.temperature, self.sampling.max_reply_tokens, seed)
        backend = self.engine.in_trainer(trainer, self.player.renderer.end_token_id)
        episodes = self.player.play(backend, task_ids, sampling, self.source, self.meter, max_turns=self.max_turns)
        lengths = np.array([len(episode.prompt_ids) + len(episode.completion_ids) for episode in episodes])
        logits = np.array([len(episode.completion_ids) for episode in episodes])
        checkpointing = trainer.args.gradient_checkpointing
        self.meter.add(
            trained_tokens=int(lengths.sum()), flops=update_flops(model, lengths, logits, checkpointing=checkpointing)
        )
        self.on_batch(
            {
                "success": float(np.mean([episode.trajectory.success for episode in episodes])),
                "steps_per_episode": float(np.mean([len(episode.trajectory.steps) for episode in episodes])),
                "tokens_per_episode": float(lengths.mean()),
            }
        )
        return {
            "prompt_ids": [episode.prompt_ids for episode in episodes],
            "completion_ids": [episode.completion_ids for episode in episodes],
            "logprobs": [episode.logprobs for episode in episodes],
            "env_mask": [episode.agent_mask for episode in episodes],
            "episode_score": [episode.trajectory.score for episode in episodes],
        }


def episode_score(episode_score: Sequence[float], **_: Any) -> list[float | None]:
    """Return the reward of each episode; TRL passes on what the rollouts returned under this name."""
    return list(episode_score)


def _schedule(task_ids: Sequence[str], settings: RLSettings, seed: int) -> list[str]:
    """Return the tasks of all steps: every task once in random order, then all of them once more, and so on.

    TRL's own sampler leaves out the tasks that do not fill a last step; where there are fewer tasks than a step has
    places, it does not train at all.
    """
    generator, count = np.random.default_rng(seed), settings.steps * settings.tasks_per_step
    rounds = -(-count // len(task_ids))
    order = np.concatenate([generator.permutation(len(task_ids)) for _ in range(rounds)])[:count]
    return [task_ids[number] for number in order]


def _equal_part(episodes: int, parts: int) -> int:
    """Return how many episodes are in memory at once.

    Raises:
        InputError: the parts would not be equal.
    """
    part, left = divmod(episodes, parts)
    if left:
        raise InputError(
            f"rl.gradient_accumulation={parts} does not divide the {episodes} sequences of an update into equal parts"
        )
    return part


def explore(
    policy: Policy,
    task_ids: Sequence[str],
    settings: RLSettings,
    *,
    player: EpisodePlayer,
    engine: Engine,
    max_reply_tokens: int,
    source: str,
    seed: int,
    folder: Path,
    meter: Meter,
    report: ReportingCallback,
) -> None:
    """Train ``policy`` in place by playing ``task_ids``; rollouts and updates go to ``meter``."""
    episodes_per_step = settings.tasks_per_step * settings.group_size
    parts = settings.updates_per_step * settings.gradient_accumulation
    config = trainer_config(
        GRPOConfig,
        policy,
        seed=seed,
        folder=folder,
        values={
            "learning_rate": settings.learning_rate,
            "max_steps": settings.steps * settings.updates_per_step,
            "per_device_train_batch_size": _equal_part(episodes_per_step, parts),
            "gradient_accumulation_steps": settings.gradient_accumulation,
            "steps_per_generation": parts,
            "num_generations": settings.group_size,
            "max_completion_length": player.renderer.max_length,
            "temperature": settings.temperature,
            "beta": 0.0,
            "loss_type": settings.loss,
            "scale_rewards": settings.scale_rewards,
            "lr_scheduler_type": settings.schedule,
            "warmup_steps": settings.warmup,
            "max_grad_norm": settings.max_grad_norm,
            "shuffle_dataset": False,
            "logging_steps": 1,
        },
        options={**engine.grpo_options(), **settings.options},
    )
    sampling = Sampling(settings.temperature, max_reply_tokens, seed)
    trainer = EpisodeGRPOTrainer(
        model=policy.model,
        reward_funcs=episode_score,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": _schedule(task_ids, settings, seed)}),
        processing_class=policy.tokenizer,
        rollout_func=Rollouts(player, engine, sampling, source, settings.max_turns, meter, report.extra),
        callbacks=[report],
    )
    trainer.remove_callback(PrinterCallback)  # what is logged goes through report
    try:
        trainer.train()
    finally:
        engine.leave_trainer(trainer)
