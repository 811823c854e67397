"""Reinforcement learning on tasks with GRPO (arXiv 2402.03300), TRL's ``GRPOTrainer``.

Every task is rolled out ``num_generations`` times; the reward is by default the episode's score, and the advantage is
the reward minus the mean of its group, divided by the group's standard deviation + 1e-4 (``scale_rewards``).

Deviations from TRL's defaults are in ``conf/algorithm/grpo.yaml``. Episodes are rolled out by this project with the
engine of ``conf/generation``. A vLLM engine is TRL's own (``use_vllm``): TRL loads the policy's weights into it before
the rollouts of a step, and weights the loss to correct for its different probabilities. TRL reports an episode as
clipped if its last completion was truncated before the end-of-turn token.

One generation batch has ``per_device_train_batch_size`` x ``steps_per_generation`` episodes (the latter is by default
``gradient_accumulation_steps``), which is ``num_generations`` times its number of tasks.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
from annotated_types import Ge
from datasets import Dataset
from transformers import PrinterCallback
from trl.trainer.grpo_config import GRPOConfig

from prism_bench import processes
from prism_bench.algorithms.callbacks import PhaseCallback
from prism_bench.algorithms.checkpoints import Checkpoints, Resumable, checkpoint_folder
from prism_bench.algorithms.contract import TrainingContext
from prism_bench.algorithms.demonstrations import Demonstrations
from prism_bench.algorithms.grpo_trainer import EpisodeGRPOTrainer
from prism_bench.algorithms.reward import Reward, episode_reward
from prism_bench.algorithms.rollout_batch import RolloutBatch, Rollouts
from prism_bench.algorithms.target_head import remove_target_head
from prism_bench.algorithms.trl_config import check_fields, fields_of, trainer_config
from prism_bench.data.trajectory import Trajectory
from prism_bench.errors import InputError
from prism_bench.models.policy import Policy
from prism_bench.rollouts.episodes import Limits
from prism_bench.settings.types import Count, CountFromZero, NotNegative, Positive

_OURS = {
    "shuffle_dataset": False,  # the schedule of tasks is random already
    "use_vllm": False,  # the engine says otherwise
    "top_p": 1.0,  # rollouts are drawn from the policy's own distribution
    "top_k": 0,
    "min_p": None,
    "repetition_penalty": 1.0,
    "generation_kwargs": None,
}
_BOUNDS = {
    "num_generations": Annotated[int, Ge(2)],
    "temperature": Positive,
    "num_iterations": Count,
    "steps_per_generation": Count | None,
    "generation_batch_size": Count | None,
    # Of these TRL would learn in the middle of the first update.
    "loss_type": Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"],
    "importance_sampling_level": Literal["token", "sequence"],
    "scale_rewards": bool | Literal["group", "batch", "none"],
}
_FIELDS = fields_of(GRPOConfig, _OURS, _BOUNDS)


class GRPO:
    """Group-relative policy optimization; an :class:`prism_bench.algorithms.contract.Algorithm`.

    A variant with other advantages overrides :meth:`advantages`; one with another loss names its ``trainer``.

    Args:
        max_steps: number of updates.
        max_turns: turns after which an episode has failed; None for the environment's own limit.
        max_inadmissible: the most actions of an episode that are not admissible; None for any number.
        reward: of an episode, the field ``kind`` of :class:`prism_bench.algorithms.reward.Reward`.
        inadmissible_price: what every action that was not admissible takes from the reward.
        resample: rounds in which groups without variance are replaced by groups of other tasks.
        config: fields of ``trl.GRPOConfig`` by TRL's names.

    Raises:
        InputError: settings contradict each other.
    """

    needs_demonstrations: ClassVar[bool] = False
    needs_tasks: ClassVar[bool] = True
    needs_one_context: ClassVar[bool] = True
    trainer: ClassVar[type[EpisodeGRPOTrainer]] = EpisodeGRPOTrainer
    demonstration_in_group: ClassVar[bool] = False
    """True if a demonstration of the task, where there is one, replaces the last rollout of each group."""

    def __init__(
        self,
        *,
        max_steps: Count,
        max_turns: Count | None = None,
        max_inadmissible: CountFromZero | None = None,
        reward: Literal["score", "success"] = "score",
        inadmissible_price: NotNegative = 0.0,
        resample: CountFromZero = 0,
        **config: Annotated[Any, _FIELDS],
    ) -> None:
        self.limits = Limits(max_turns, max_inadmissible)
        self.reward = Reward(reward, inadmissible_price)
        self.resample = resample
        self.config = {"max_steps": max_steps, **config}
        check_fields(GRPOConfig, self.config, _OURS)
        if processes.started() > 1 and config.get("top_entropy_quantile", 1.0) < 1:
            raise InputError("top_entropy_quantile needs the entropies of a whole batch; start it without torchrun")

    def advantages(self, batch: RolloutBatch) -> torch.Tensor:
        """Return the advantage of each episode, (episodes,), or of each token, (episodes, completion tokens)."""
        return batch.advantages

    def train(
        self,
        policy: Policy,
        demonstrations: Sequence[Trajectory],
        tasks: Sequence[str],
        context: TrainingContext,
    ) -> None:
        """Train ``policy`` in place on rollouts of ``tasks``.

        Raises:
            InputError: the engine cannot take new weights, or training diverges.
        """
        config = trainer_config(
            GRPOConfig,
            policy,
            seed=context.seed,
            folder=checkpoint_folder(context),
            values={"max_completion_length": context.renderer.max_length, **self.config},
            ours={**_OURS, **context.engine.grpo_options()},
        )
        report = PhaseCallback(policy, context)
        available = Demonstrations(demonstrations, context)
        rollouts = Rollouts(
            context,
            self.reward,
            config.temperature,
            self.limits,
            cast(int, config.num_generations),
            report.extra,
            available if self.demonstration_in_group else None,
            self.resample,
            tasks,
        )
        trainer = self.trainer(
            meter=context.meter,
            algorithm=self,
            demonstrations=available,
            model=policy.model,
            reward_funcs=episode_reward,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": _schedule(tasks, config, context.seed)}),
            processing_class=policy.tokenizer,
            rollout_func=rollouts,
        )
        trainer.remove_callback(PrinterCallback)  # logs go through the report
        for callback in (*trainer.callbacks(), report):
            trainer.add_callback(callback)
        parts: dict[str, Resumable] = {
            "report": report,
            "demonstrations": available,
            "rollouts": rollouts,
            "trainer": trainer,
        }
        try:
            trainer.train_on(_checkpoints(context, config, parts))
        finally:
            context.engine.leave_trainer(trainer)
            remove_target_head(policy.model)


def _checkpoints(context: TrainingContext, config: GRPOConfig, parts: Mapping[str, Resumable]) -> Checkpoints | None:
    """Return the checkpoints of a phase: only between two batches of rollouts, which are not kept.

    None if TRL moves the reference model along with the policy, since it would not be among the weights.
    """
    if context.unfinished is None or config.sync_ref_model:
        return None
    parts_of_update = config.gradient_accumulation_steps
    parts_of_batch = cast(int, config.steps_per_generation) * config.num_iterations
    every = math.lcm(parts_of_batch, parts_of_update) // parts_of_update
    return Checkpoints(context.unfinished, parts, every)


def _schedule(tasks: Sequence[str], config: GRPOConfig, seed: int) -> list[str]:
    """Return the tasks of all generation batches: every task once in random order, then all once more, and so on.

    TRL's own sampler leaves out the tasks that do not fill a last batch; with fewer tasks than one batch needs, it does
    not train.
    """
    # TRL has worked out these two from the other fields.
    episodes_per_batch, parts_per_batch = (
        cast(int, config.generation_batch_size),
        cast(int, config.steps_per_generation),
    )
    batches = -(-config.max_steps * config.gradient_accumulation_steps // (parts_per_batch * config.num_iterations))
    count = batches * (episodes_per_batch // cast(int, config.num_generations))
    generator, rounds = np.random.default_rng(seed), -(-count // len(tasks))
    order = np.concatenate([generator.permutation(len(tasks)) for _ in range(rounds)])[:count]
    return [tasks[number] for number in order]
