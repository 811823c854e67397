"""Supervised fine-tuning on demonstrations, with TRL's ``SFTTrainer``.

The trainer is given tokens and labels from the one renderer, so that the loss falls on the agent's own tokens only, as
in the probe. TRL's own data preparation (chat templates, truncation) is switched off.

An update takes ``per_device_train_batch_size`` random demonstrations, but they go through the model in parts: sorted
by length, as many at once as fit ``tokens_per_forward``. Loss and gradient are those of the whole, up to the order in
which floats are added; memory is that of one part. Updates of similar length (``train_sampling_strategy:
group_by_length``) are no faster, and the length of a demonstration would decide with which others it is trained. TRL's
packing would pad nothing, but on a CPU and with ``sdpa`` it computes attention between all demonstrations of a pack and
masks it (``benchmarks/sft.py``).

Several processes (:mod:`prism_bench.processes`) share the demonstrations of an update.

Where a demonstration is several contexts (``prompt.last_turns``), each of them is an example of its own.

With ``held_out``, a share of the demonstrations is not trained on. Their loss is computed as often as TRL's
``eval_strategy`` and ``eval_steps`` say, and training ends when it has not improved for ``patience`` checks: the switch
at the plateau of arXiv 2512.11470. The policy is the one after the last update, not the one of the best check.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
from annotated_types import Ge, Lt
from datasets import Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, PrinterCallback, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from prism_bench import processes
from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.callbacks import PhaseCallback
from prism_bench.algorithms.checkpoints import CheckpointingTrainer, Checkpoints, checkpoint_folder
from prism_bench.algorithms.contract import TrainingContext
from prism_bench.algorithms.target_head import add_target_head, remove_target_head
from prism_bench.algorithms.trl_config import check_fields, fields_of, trainer_config
from prism_bench.data.batching import groups_within_budget
from prism_bench.data.rendering import IGNORED, Rendered, render_demonstrations
from prism_bench.data.trajectory import Trajectory
from prism_bench.errors import InputError
from prism_bench.models.policy import Policy
from prism_bench.settings.types import Count

_OURS = {
    "dataset_kwargs": {"skip_prepare_dataset": True},
    "max_length": None,  # the renderer truncates
    "packing": False,
    "label_smoothing_factor": 0.0,  # would need the logits at every token
}
_FIELDS = fields_of(SFTConfig, _OURS, {"max_steps": Literal[-1] | Count})


class SFT:
    """Supervised fine-tuning; an :class:`prism_bench.algorithms.contract.Algorithm`.

    Args:
        tokens_per_forward: the most tokens that an update puts through the model at once, padding included.
        held_out: share of the demonstrations held out to find the plateau of the loss; 0 for none.
        patience: checks of the held-out loss without improvement after which training ends.
        config: fields of ``trl.SFTConfig`` by TRL's names.

    Raises:
        InputError: settings contradict each other.
    """

    needs_demonstrations: ClassVar[bool] = True
    needs_tasks: ClassVar[bool] = False
    needs_one_context: ClassVar[bool] = False

    def __init__(
        self,
        *,
        tokens_per_forward: Count = 1024,
        held_out: Annotated[float, Ge(0), Lt(1)] = 0.0,
        patience: Count = 3,
        **config: Annotated[Any, _FIELDS],
    ) -> None:
        self.tokens_per_forward = tokens_per_forward
        self.held_out = held_out
        self.patience = patience
        self.config = config
        if (held_out > 0) != (config.get("eval_strategy", "no") != "no"):
            raise InputError("held_out and eval_strategy (steps or epoch) belong together; set both of them or none")
        check_fields(SFTConfig, config, _OURS)

    def train(
        self,
        policy: Policy,
        demonstrations: Sequence[Trajectory],
        tasks: Sequence[str],
        context: TrainingContext,
    ) -> None:
        """Train ``policy`` in place on ``demonstrations``; ``tasks`` are not used."""
        self.fit(policy, render_demonstrations(context.renderer, demonstrations, context.meter), context)

    def fit(self, policy: Policy, rendered: Sequence[Rendered], context: TrainingContext) -> None:
        """Train ``policy`` in place on sequences whose targets are marked in their labels.

        Raises:
            InputError: there are too few sequences, or training diverges.
        """
        trained, held_out = self._divide(rendered, context.seed)
        report = PhaseCallback(policy, context)
        callbacks: list[TrainerCallback] = [report]
        ours: dict[str, Any] = dict(_OURS)
        if held_out:
            callbacks.append(EarlyStoppingCallback(self.patience))
            ours |= {"metric_for_best_model": "eval_loss", "greater_is_better": False}
        trainer = EpisodeSFTTrainer(
            self.tokens_per_forward,
            context.meter,
            model=policy.model,
            args=trainer_config(
                SFTConfig, policy, seed=context.seed, folder=checkpoint_folder(context), values=self.config, ours=ours
            ),
            train_dataset=_dataset(trained),
            eval_dataset=_dataset(held_out) if held_out else None,
            processing_class=policy.tokenizer,
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)  # logs go through the report
        unfinished = context.unfinished
        checkpoints = None if unfinished is None else Checkpoints(unfinished, {"report": report})
        try:
            trainer.train_on(checkpoints)
        finally:
            remove_target_head(policy.model)

    def _divide(self, rendered: Sequence[Rendered], seed: int) -> tuple[list[Rendered], list[Rendered]]:
        """Return the training set and the held-out set."""
        count = int(np.ceil(self.held_out * len(rendered)))
        if len(rendered) <= count:
            raise InputError(f"SFT has {len(rendered)} demonstrations, of which {count} are held out; give it more")
        chosen = set(np.random.default_rng(seed).permutation(len(rendered))[:count].tolist())
        return (
            [sequence for number, sequence in enumerate(rendered) if number not in chosen],
            [sequence for number, sequence in enumerate(rendered) if number in chosen],
        )


class EpisodeSFTTrainer(CheckpointingTrainer, SFTTrainer):
    """SFT trainer that takes a batch in parts of at most ``tokens_per_forward`` tokens and bills them."""

    def __init__(self, tokens_per_forward: int, meter: Meter, **options: Any) -> None:
        super().__init__(**options)
        self.tokens_per_forward = tokens_per_forward
        add_target_head(cast(PreTrainedModel, self.model), meter)

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Add the gradient of the batch's loss to the parameters' gradients, and return the loss."""
        targets = (inputs["labels"][:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = torch.zeros((), device=self.accelerator.device)
        for part in self._parts(inputs):
            loss += super().training_step(model, part, targets)
        return self.put_together(loss)

    def _parts(self, inputs: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
        """Yield this process's share of a batch, in parts for one forward pass each."""
        if "attention_mask" not in inputs:  # TRL's padding-free batches are one row
            yield from processes.share([inputs])
            return
        lengths = inputs["attention_mask"].sum(1).tolist()  # padded on the right
        rows = processes.share(sorted(range(len(lengths)), key=lengths.__getitem__))
        for group in groups_within_budget([lengths[row] for row in rows], self.tokens_per_forward):
            chosen = [rows[place] for place in group]
            yield {name: value[chosen, : lengths[chosen[-1]]] for name, value in inputs.items()}


def _dataset(rendered: Sequence[Rendered]) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [ids for sequence in rendered for ids, _ in sequence.contexts],
            "labels": [labels for sequence in rendered for _, labels in sequence.contexts],
        }
    )
