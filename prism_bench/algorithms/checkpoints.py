"""Checkpoints of a phase that trains, from which an interrupted run continues within the phase.

A checkpoint is that of transformers' ``Trainer`` (weights, optimizer, schedule, random states, counters), with one file
more: the states of our own objects that go on between updates, and a checksum of every file. It is written after an
update, as often as a hundredth of the time allows. A phase that continues ends with the weights of one that was never
interrupted. Where several processes train (:mod:`prism_bench.processes`), the first one writes, and all of them go on
from there.
"""

import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prism_bench import processes
from prism_bench.algorithms.contract import TrainingContext, Unfinished
from prism_bench.digests import folder_manifest
from prism_bench.files import write_atomically
from prism_bench.models.policy import save_weights

SECONDS_BETWEEN = 30.0
"""Least time between two checkpoints."""

SHARE = 0.01
"""Share of the time that may go into writing them."""

_STATE = "prism_bench.json"
_STAGE = "stage"

_log = logging.getLogger(__name__)


class Resumable(Protocol):
    """An object whose state is part of a checkpoint."""

    def export_state(self) -> dict[str, Any]:
        """Return the state as plain JSON."""

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""


class Checkpoints(TrainerCallback):
    """Callback that asks for checkpoints when they are due.

    Args:
        unfinished: where they are written, and the state of the stage.
        parts: objects of the algorithm, by name.
        every: updates after which nothing is left over for the next one, such as rollouts.
    """

    def __init__(self, unfinished: Unfinished, parts: Mapping[str, Resumable], every: int = 1) -> None:
        self._folder = unfinished.folder
        self._parts = {_STAGE: unfinished, **parts}
        self._every = every
        self._due = time.monotonic() + SECONDS_BETWEEN

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if processes.number() == 0 and state.global_step % self._every == 0 and time.monotonic() >= self._due:
            control.should_save = True

    def resume(self) -> str | None:
        """Restore all parts and return the newest checkpoint, or None if there is no sound one."""
        found = processes.agree(self._newest())
        if found is None:
            return None
        checkpoint, states = found
        for name, part in self._parts.items():
            if name != _STAGE or processes.number() == 0:  # one of them has curve and bill
                part.restore_state(states[name])
        return checkpoint

    def _newest(self) -> tuple[str, dict[str, Any]] | None:
        """Return the newest sound checkpoint and the states in it."""
        for checkpoint in reversed(self._written()):
            try:
                stored = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
                sound = stored["files"] == _checksums(checkpoint) and stored["states"].keys() == self._parts.keys()
            except (OSError, ValueError, KeyError, TypeError):
                sound = False  # the last one may be incomplete
            if sound:
                return str(checkpoint), stored["states"]
            _log.warning("the checkpoint %s is incomplete or damaged, and is not used", checkpoint)
        return None

    def write(self, trainer: Trainer) -> None:
        """Complete the checkpoint that ``trainer`` has begun to write, and remove older ones."""
        checkpoint = self._folder / f"checkpoint-{trainer.state.global_step}"
        states = {name: part.export_state() for name, part in self._parts.items()}
        stored = {"states": states, "files": _checksums(checkpoint)}
        write_atomically(checkpoint / _STATE, json.dumps(stored))
        for older in self._written():
            if older != checkpoint:
                shutil.rmtree(older)

    def wait(self, seconds: float) -> None:
        """Let the next checkpoint wait, since the last one took ``seconds``."""
        self._due = time.monotonic() + max(SECONDS_BETWEEN, seconds / SHARE)

    def _written(self) -> list[Path]:
        return sorted(self._folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))


class CheckpointingTrainer(Trainer):
    """Mixin for TRL's trainers that writes checkpoints without model cards and without asking the hub.

    Its other half is what a trainer does that shares its batches with other processes: :meth:`put_together`.
    """

    checkpoints: Checkpoints | None = None

    def put_together(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss of all processes, for part of an update; after the last part the gradients are of all too."""
        if self.accelerator.sync_gradients:
            self.add_up_gradients()
        processes.add_up([loss])
        return loss

    def add_up_gradients(self) -> None:
        """Give every weight the gradient that all processes found together."""
        if processes.count() == 1:
            return
        weights = [weight for weight in cast(PreTrainedModel, self.model).parameters() if weight.requires_grad]
        for weight in weights:
            if weight.grad is None:  # this process had no share
                weight.grad = torch.zeros_like(weight)
        processes.add_up(weight.grad for weight in weights if weight.grad is not None)

    def train_on(self, checkpoints: Checkpoints | None) -> None:
        """Train, from the last checkpoint if there is one."""
        self.checkpoints = checkpoints
        if checkpoints is None:
            self.train()
            return
        self.add_callback(checkpoints)
        self.train(resume_from_checkpoint=checkpoints.resume())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        assert self.checkpoints is not None
        began = time.monotonic()
        Trainer._save_checkpoint(self, model, trial)
        self.checkpoints.write(self)
        self.checkpoints.wait(time.monotonic() - began)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        assert output_dir is not None
        save_weights(cast(PreTrainedModel, self.model), output_dir)


def checkpoint_folder(context: TrainingContext) -> Path:
    """Return the folder for the files of a trainer, its checkpoints among them."""
    return context.folder if context.unfinished is None else context.unfinished.folder


def _checksums(checkpoint: Path) -> dict[str, str]:
    return {name: content for name, content in folder_manifest(checkpoint).items() if name != _STATE}
