"""Demonstrations that a user brings: ``demonstrations=FILE`` in place of the episodes of the environment's expert.

The file is a Parquet file of trajectories, or ShareGPT conversations (:mod:`prism_bench.data.sharegpt`). Failed
episodes are left out, as those of an expert are. Episodes without a task id serve SFT, the probe, and routers that look
at nothing but the text; the others serve every strategy.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from prism_bench.data.sharegpt import import_conversations
from prism_bench.data.trajectory import Trajectory, load_trajectories, save_trajectories
from prism_bench.digests import content_digest
from prism_bench.environments.contract import TextEnvironment
from prism_bench.errors import InputError
from prism_bench.rollouts.answers import Environment
from prism_bench.selection import demonstration_sample
from prism_bench.stage_cache.declaration import Files, Inputs, stage
from prism_bench.stages.collect import TRAJECTORIES


class OwnEpisodes:
    """The demonstrations in a user's file, read when they are first needed.

    Args:
        path: of a Parquet, JSON or JSONL file, or of a folder of the latter two.
        count: how many are used, a sample; None for all.
    """

    def __init__(self, path: Path, count: int | None) -> None:
        self.path = path.expanduser().absolute()
        self.count = count

    @cached_property
    def file(self) -> Files:
        """The file, with the digest of its content."""
        if not self.path.exists():
            raise InputError(f"demonstrations={self.path}: there is no such file")
        return Files(self.path, content_digest(self.path))

    @property
    def name(self) -> str:
        """Name and digest of the file, for the protocol."""
        return f"{self.path.name} ({self.file.content[:12]})"

    @cached_property
    def numbers(self) -> list[int]:
        """The numbers of the chosen episodes among the successful ones."""
        self._successes = read_successes(self.file.path)
        return demonstration_sample(self._successes, self.count)

    @cached_property
    def chosen(self) -> list[Trajectory]:
        return [self._successes[number] for number in self.numbers]

    @property
    def tasks(self) -> list[str]:
        """The tasks of the chosen episodes, as far as they are known."""
        return [episode.task_id for episode in self.chosen if episode.task_id is not None]

    def check(self, train: TextEnvironment, evaluated: Mapping[str, TextEnvironment], admissible: bool) -> None:
        """Check that one can learn from the chosen episodes in an environment.

        Args:
            train: the train split.
            evaluated: the splits that are evaluated, by name.
            admissible: whether the prompt shows the admissible actions of every step.

        Raises:
            InputError: a task is not in the train split or in one that is evaluated, or admissible actions are missing.
        """
        for number, episode in zip(self.numbers, self.chosen, strict=True):
            where = f"demonstrations={self.path}: successful episode {number}"
            for split, environment in evaluated.items():
                if environment.has_task(episode.task_id):
                    raise InputError(
                        f"{where} is of the task {episode.task_id!r} of the evaluated split {split}; remove it"
                    )
            if episode.task_id is not None and not train.has_task(episode.task_id):
                raise InputError(
                    f"{where} is of the task {episode.task_id!r}, which the train split does not have; choose the "
                    "environment of these episodes, or remove their task ids to use them for SFT only"
                )
            if admissible and not all(step.admissible_actions for step in episode.steps):
                raise InputError(
                    f"{where} has no admissible actions, which the prompt shows; collect episodes with this prompt, or "
                    "choose another one"
                )

    def refuse_without_tasks(self, needing: Sequence[str]) -> None:
        """Check that the task of every chosen episode is known.

        Raises:
            InputError: one is not, and there is something that needs the tasks, described in ``needing``.
        """
        unknown = len(self.chosen) - len(self.tasks)
        if unknown and needing:
            raise InputError(
                f"demonstrations={self.path}: {unknown} of {len(self.chosen)} episodes have no task id, and "
                f"{needing[0]} needs their tasks; choose a strategy and router that do not, such as strategy=sft"
            )

    def replay(self, environment: Environment, count: int | None) -> tuple[int, int]:
        """Replay the actions of ``count`` of the chosen episodes, or of all of them.

        Returns:
            How many were replayed, those whose tasks are known, and how many of these got other observations.
        """
        known = [episode for episode in self.chosen if episode.task_id is not None]
        replayed = [known[number] for number in demonstration_sample(known, count)] if count != 0 else []
        return len(replayed), sum(_differs(environment, episode) for episode in replayed)


@stage("import", parents=("file",), values=("numbers",))
def import_episodes(inputs: Inputs, folder: Path, tools: object) -> None:
    """Write the chosen episodes of a file."""
    episodes = read_successes(inputs.parents["file"].path)
    save_trajectories([episodes[number] for number in inputs.values["numbers"]], folder / TRAJECTORIES)


def read_successes(path: Path) -> list[Trajectory]:
    """Return the successful episodes of a Parquet file, or of ShareGPT conversations in a file or folder.

    Raises:
        InputError: it cannot be read, or no episode in it succeeded.
    """
    conversations = path.is_dir() or path.suffix in (".json", ".jsonl")
    episodes = import_conversations(path) if conversations else load_trajectories(path)
    successes = [episode for episode in episodes if episode.success]
    if not successes:
        raise InputError(f"demonstrations={path}: none of the {len(episodes)} episodes in it succeeded")
    return successes


def _differs(environment: Environment, episode: Trajectory) -> bool:
    """Return True if the environment answers the actions of an episode otherwise than recorded."""
    observation, _ = environment.reset(options={"task_id": episode.task_id})
    over = False
    for step in episode.steps:
        if over or observation.strip() != step.observation.strip():
            return True
        observation, _, terminated, truncated, _ = environment.step(step.action)
        over = terminated or truncated
    return False
