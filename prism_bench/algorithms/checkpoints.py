"""Checkpoints of a phase that trains, from which an interrupted run continues within the phase.

A checkpoint is that of transformers' ``Trainer`` (weights, optimizer, schedule, random states, counters), with one file
more: the states of our own objects that go on between updates, and a checksum of every file. It is written after an
update, as often as a hundredth of the time allows. A phase that continues ends with the weights of one that was never
interrupted.
"""

import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prism_bench.algorithms.contract import TrainingContext, Unfinished
from prism_bench.digests import folder_manifest
from prism_bench.files import write_atomically
from prism_bench.models.policy import save_weights

SECONDS_BETWEEN = 30.0
"""Least time between two checkpoints."""

SHARE = 0.01
"""Share of the time that may go into writing them."""

_STATE = "prism_bench.json"

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
        self._parts = {"stage": unfinished, **parts}
        self._every = every
        self._due = time.monotonic() + SECONDS_BETWEEN

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self._every == 0 and time.monotonic() >= self._due:
            control.should_save = True

    def resume(self) -> str | None:
        """Restore all parts and return the newest checkpoint, or None if there is no sound one."""
        for checkpoint in reversed(self._written()):
            try:
                stored = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
                sound = stored["files"] == _checksums(checkpoint) and stored["states"].keys() == self._parts.keys()
            except (OSError, ValueError, KeyError, TypeError):
                sound = False  # the last one may be incomplete
            if sound:
                for name, part in self._parts.items():
                    part.restore_state(stored["states"][name])
                return str(checkpoint)
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
    """Mixin for TRL's trainers that writes checkpoints without model cards and without asking the hub."""

    checkpoints: Checkpoints | None = None

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
