"""The tasks of a run: the environment of every split, and the selections for training and for evaluation."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from prism_bench.data.prompts import check_thoughts, without_thoughts
from prism_bench.environments.contract import TextEnvironment
from prism_bench.errors import InputError
from prism_bench.models.scratch import ScratchModel
from prism_bench.results.schema import Selection
from prism_bench.rollouts.answers import Environment
from prism_bench.run_parts import RunParts
from prism_bench.selection import (
    curve_tasks,
    demonstration_tasks,
    describe_selection,
    evaluation_tasks,
    pretraining_tasks,
)
from prism_bench.stages.own_episodes import OwnEpisodes

NO_EXPERT = "env.expert=null: the environment has no expert"
"""First words of the refusal of what would need one."""


class RunTasks:
    """Environments and selections of a run.

    Attributes:
        own: the user's demonstrations in place of the expert's, if there are any.
        selections: what was drawn so far, by name, for the result.
    """

    def __init__(self, parts: RunParts) -> None:
        settings = parts.settings
        self.parts = parts
        self.own = (
            None
            if settings.demonstrations is None
            else OwnEpisodes(Path(settings.demonstrations), settings.trajectories)
        )
        self.train_split = settings.env.train_split
        self.selections: dict[str, Selection] = {}
        self._environments: dict[str, Environment] = {}  # by split, each made once
        self._made: list[Environment] = []

    @property
    def eval_splits(self) -> list[str]:
        """The split on which settings are chosen, and those on which they are tested."""
        env = self.parts.settings.env
        return list(dict.fromkeys([env.validation_split, *env.test_splits]))

    @cached_property
    def demonstrations(self) -> list[str]:
        """The tasks of the demonstrations, as far as they are known."""
        if self.own is not None:
            tasks = self.own.tasks
        else:
            assert self.parts.settings.trajectories is not None
            tasks = demonstration_tasks(self.environment(self.train_split), self.parts.settings.trajectories)
        return self._selected("demonstrations", self.train_split, tasks) if tasks else tasks

    def pretraining(self, count: int) -> list[str]:
        """Return ``count`` train tasks for the base stage, none of which is among the demonstrations'."""
        tasks = pretraining_tasks(self._taught, self.demonstrations, count)
        self.selections["pretraining"] = describe_selection(self._taught, self.train_split, tasks)
        return tasks

    @cached_property
    def _taught(self) -> TextEnvironment:
        if not self.parts.settings.env.taught:
            return self.environment(self.train_split)
        made = self.parts.make_taught()
        self._made.append(made)
        environment: TextEnvironment = made.unwrapped  # type: ignore[assignment]
        return environment

    def evaluated(self, split: str) -> list[str]:
        """Return the tasks of a split that every stage is evaluated on."""
        tasks = evaluation_tasks(self.environment(split), self.parts.eval.tasks)
        return self._selected(f"eval {split}", split, tasks)

    @cached_property
    def curve(self) -> list[str]:
        """The tasks of the validation split that are rolled out for learning curves."""
        split = self.parts.settings.env.validation_split
        tasks = curve_tasks(self.environment(split), self.evaluated(split), self.parts.eval.curve_tasks)
        return self._selected("learning curves", split, tasks)

    def note_solved(self, selection: str, solved: int) -> None:
        """Note how many tasks of a selection the expert solved."""
        self.selections[selection] = replace(self.selections[selection], solved=solved)

    def environment(self, split: str) -> TextEnvironment:
        """Return the environment of a split, without wrappers.

        Raises:
            InputError: the split has no tasks.
        """
        environment: TextEnvironment = self.wrapped(split).unwrapped  # type: ignore[assignment]
        if not environment.task_ids:
            raise InputError(f"the split {split} has no tasks; name other splits in env")
        return environment

    def wrapped(self, split: str) -> Environment:
        """Return the environment of a split as episodes use it.

        Raises:
            InputError: it is no text environment.
        """
        if split not in self._environments:
            made = self.parts.make_environment(split)()
            self._made.append(made)
            if not isinstance(made.unwrapped, TextEnvironment):
                raise InputError("env.make does not make a text environment; name another id")
            self._environments[split] = made
        return self._environments[split]

    def close(self) -> None:
        """Close the environments; those that are needed again are made anew."""
        self._environments.clear()
        self.__dict__.pop("_taught", None)
        with ExitStack() as all_of_them:
            while self._made:
                all_of_them.callback(self._made.pop().close)

    def check(self) -> list[str]:
        """Check that there are tasks for everything, an expert if one is asked, and an environment that is ready.

        Return warnings.

        Raises:
            InputError: there are not, or the demonstrations do not fit the environment, the prompt or the strategy.
        """
        train = self.environment(self.train_split)
        train.check_ready()
        if (expert := self.parts.settings.env.expert) is not None:
            train.expert(expert)
        elif isinstance(self.parts.model, ScratchModel):
            raise InputError(f"{NO_EXPERT}, whose episodes teach a model from scratch; choose a pretrained one")
        elif self.own is None and (self.parts.phases or self.parts.router):
            raise InputError(f"{NO_EXPERT} for demonstrations; bring your own with demonstrations=FILE")
        for split in self.eval_splits:
            self.evaluated(split)
        if self.own is None and self._needs_text and self.parts.prompt.needs_thoughts:
            raise without_thoughts(f"the episodes of the expert {self.parts.settings.env.expert!r} have no thoughts")
        return [] if self.own is None else self._check_own(self.own)

    def _check_own(self, own: OwnEpisodes) -> list[str]:
        evaluated = {split: self.environment(split) for split in self.eval_splits}
        own.check(self.environment(self.train_split), evaluated, self.parts.prompt.needs_admissible)
        if self._needs_text:
            check_thoughts(self.parts.prompt, own.chosen, f"demonstrations={own.path}")
        own.refuse_without_tasks(self._needing_tasks())
        replayed, changed = own.replay(self.wrapped(self.train_split), self.parts.settings.replay)
        if not changed:
            return []
        return [
            f"{changed} of {replayed} demonstrations that were replayed show other observations than the environment "
            "does now: they are from another version of it, or from other settings"
        ]

    @property
    def _needs_text(self) -> bool:
        """True if something reads the demonstrations: a phase that trains on them, or a router."""
        return self.parts.router is not None or any(phase.demonstrations for phase in self.parts.phases)

    def _needing_tasks(self) -> Sequence[str]:
        """Return the parts of the run that need the tasks of the demonstrations."""
        router = self.parts.router
        routers = [f"router {type(router).__name__}"] if router is not None and router.needs_tasks else []
        return [f"phase {phase.name!r}" for phase in self.parts.phases if phase.tasks is not None] + routers

    def _selected(self, name: str, split: str, tasks: list[str]) -> list[str]:
        """Enter a selection into the result, and return its tasks."""
        self.selections[name] = describe_selection(self.environment(split), split, tasks)
        return tasks
