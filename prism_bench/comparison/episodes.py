"""Episodes that the page shows step by step: a bounded sample of evaluated tasks, and of the demonstrations.

They are those of one seed, the lowest of those that most configurations have. Of the evaluated tasks, those are drawn
first on which policies differ in success, in proportion to task types; the expert's episodes of them are rolled out
anew. Files that are gone leave a note that says so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prism_bench.accounting.meter import Meter
from prism_bench.comparison.record import Comparison, Routing, Run
from prism_bench.data.trajectory import Trajectory, load_trajectories
from prism_bench.errors import InputError
from prism_bench.results.evaluation import sample_tasks
from prism_bench.results.result import RESULT, read_result
from prism_bench.results.schema import BASE
from prism_bench.rollouts.expert import run_expert
from prism_bench.settings.making import make
from prism_bench.settings.targets import check_targets

TASKS, DEMONSTRATIONS = 24, 48
"""How many evaluated tasks of a split are shown, and how many demonstrations of a list."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Whose episodes are shown side by side with others'.

    Attributes:
        name: of the policy; of a final one, that of its configuration.
        stage: of the run.
        configurations: that it belongs to; several can start from one base model.
    """

    name: str
    stage: Literal["expert", "base", "final"]
    configurations: list[str]


@dataclass(frozen=True, slots=True)
class EvaluatedTask:
    """A task of an evaluated split, with its episodes by the number of their policy."""

    split: str
    task_id: str
    task_type: str
    episodes: dict[int, Trajectory]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A demonstration, with what routers decided on it, by configuration: whether it went to RL, and its score."""

    trajectory: Trajectory
    decisions: dict[str, tuple[bool, float]]


@dataclass(frozen=True, slots=True)
class Episodes:
    """Episodes of one seed; the first policy is the expert. ``notes`` say what is missing, and why."""

    seed: int | None
    policies: list[Policy]
    evaluated: list[EvaluatedTask]
    demonstrations: list[Demonstration]
    notes: list[str]


def collect_episodes(
    comparison: Comparison, root: Path, tasks: int = TASKS, demonstrations: int = DEMONSTRATIONS
) -> Episodes:
    """Return the episodes of a comparison whose run folders are seen from ``root``.

    Args:
        tasks: how many evaluated tasks of each split.
        demonstrations: how many of each list of demonstrations.

    Raises:
        ResultError: a result is damaged.
    """
    notes: list[str] = []
    seed = _seed(comparison)
    runs = [run for run in comparison.runs if run.seed == seed]
    results = {}
    for run in runs:
        if (path := root / run.folder / RESULT).is_file():
            results[run.configuration] = read_result(path)
        else:
            notes.append(f"{run.folder}: the folder of this run is gone, so its episodes are not shown.")
    files = Files(root, runs, results, notes)
    policies = _policies(runs, files)
    chosen = [(split, task) for split in _splits(runs) for task in _sample(comparison, runs, split, tasks)]
    found = {number: files.policy(policy, chosen) for number, policy in enumerate(policies) if policy.stage != "expert"}
    found[0] = _expert(comparison, runs, results, chosen, notes) if results else {}
    types = _types(comparison, runs)
    evaluated = [
        EvaluatedTask(
            *key, types[key], {number: found[number][key] for number in sorted(found) if key in found[number]}
        )
        for key in chosen
    ]
    shown = [task for task in evaluated if task.episodes]
    return Episodes(seed, policies, shown, _demonstrations(comparison, runs, files, demonstrations), notes)


class Files:
    """Files of episodes, by the names that results give them; what is gone is noted once."""

    def __init__(self, root: Path, runs: Sequence[Run], results: Mapping[str, Any], notes: list[str]) -> None:
        self.root, self.runs, self.results, self.notes = root, runs, results, notes

    def path(self, run: Run, name: str) -> Path | None:
        """Return the path of a file of a run; None if the run has none or its folder is gone."""
        path = self.results[run.configuration]["files"].get(name) if run.configuration in self.results else None
        return None if path is None else self.root / run.folder / path

    def read(self, run: Run, name: str) -> list[Trajectory]:
        """Return the episodes in a file of a run; none if they cannot be read."""
        path = self.path(run, name)
        if path is None:
            note = f"{run.folder}: the result does not name its files of episodes; it is of an older version."
            if run.configuration in self.results and note not in self.notes:
                self.notes.append(note)
            return []
        try:
            return load_trajectories(path)
        except InputError as error:
            self.notes.append(
                f"The {name} of {run.configuration} are not shown ({error}). The same command makes them again."
            )
            return []

    def policy(self, policy: Policy, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Trajectory]:
        """Return the wanted episodes of a policy by split and task."""
        run = next(run for run in self.runs if run.configuration in policy.configurations)
        keys = set(wanted)
        stage = BASE if policy.stage == BASE else _last(run)
        return {
            (split, str(episode.task_id)): episode
            for split in run.outcomes.get(stage, {})
            for episode in self.read(run, f"episodes {stage} {split}")
            if (split, str(episode.task_id)) in keys
        }


def _seed(comparison: Comparison) -> int | None:
    counts = Counter(run.seed for run in comparison.runs)
    return min(counts, key=lambda seed: (-counts[seed], seed), default=None)


def _last(run: Run) -> str:
    return next(reversed(run.outcomes), BASE)


def _splits(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(split for run in runs for split in run.outcomes.get(_last(run), {})))


def _policies(runs: Sequence[Run], files: Files) -> list[Policy]:
    """Return the expert, the base model or models, and every final policy."""
    bases: dict[tuple[str, ...], list[str]] = {}
    for run in runs:
        if BASE in run.outcomes:
            paths = tuple(str(files.path(run, f"episodes {BASE} {split}")) for split in run.outcomes[BASE])
            bases.setdefault(paths, []).append(run.configuration)
    names = ["base model"] if len(bases) == 1 else [f"base model of {members[0]}" for members in bases.values()]
    return [
        Policy("expert", "expert", []),
        *(Policy(name, "base", members) for name, members in zip(names, bases.values(), strict=True)),
        *(Policy(run.configuration, "final", [run.configuration]) for run in runs if _last(run) != BASE),
    ]


def _types(comparison: Comparison, runs: Sequence[Run]) -> dict[tuple[str, str], str]:
    return {
        (split, str(task)): str(kind)
        for run in runs
        for split, outcomes in run.outcomes.get(_last(run), {}).items()
        for task, kind in zip(comparison.lists[outcomes.tasks].ids, comparison.lists[outcomes.tasks].types, strict=True)
    }


def _sample(comparison: Comparison, runs: Sequence[Run], split: str, count: int) -> list[str]:
    """Return tasks of a split, first those on which policies differ in success."""
    flags: dict[str, set[str]] = {}
    for run in runs:
        for stage in dict.fromkeys([BASE, _last(run)]):
            if (outcomes := run.outcomes.get(stage, {}).get(split)) is not None:
                for task, flag in zip(comparison.lists[outcomes.tasks].ids, outcomes.success, strict=True):
                    flags.setdefault(str(task), set()).add(flag)
    types = _types(comparison, runs)
    sample: list[str] = []
    for several in (True, False):
        pool = [task for task, seen in flags.items() if (len(seen) > 1) == several and (split, task) in types]
        if n := min(len(pool), count - len(sample)):
            sample += sample_tasks(pool, [types[split, task] for task in pool], n, seed=0)
    return sample


def _expert(
    comparison: Comparison,
    runs: Sequence[Run],
    results: Mapping[str, Any],
    wanted: Sequence[tuple[str, str]],
    notes: list[str],
) -> dict[tuple[str, str], Trajectory]:
    """Return the expert's episodes of tasks, rolled out in the environment of the first run that has them."""
    groups: dict[tuple[str, str], list[str]] = {}
    for split, task in wanted:
        for run in runs:
            outcomes = run.outcomes.get(_last(run), {}).get(split)
            if run.configuration in results and outcomes and task in comparison.lists[outcomes.tasks].ids:
                groups.setdefault((run.configuration, split), []).append(task)
                break
    found: dict[tuple[str, str], Trajectory] = {}
    for (configuration, split), tasks in groups.items():
        config = results[configuration]["config"]
        if config["env"]["expert"] is None:
            continue
        try:
            check_targets(config["env"]["make"], config.get("modules", []))
            with closing(make(config["env"]["make"], "env.make", split=split)) as environment:
                episodes = run_expert(environment, config["env"]["expert"], tasks, Meter("page"))
        except InputError as error:
            notes.append(f"The expert's episodes of {split} are not shown ({error}).")
            continue
        found |= {(split, str(episode.task_id)): episode for episode in episodes}
    return found


def _demonstrations(comparison: Comparison, runs: Sequence[Run], files: Files, count: int) -> list[Demonstration]:
    by_list: dict[str, list[tuple[Run, Routing]]] = {}
    for run in runs:
        if run.routing is not None:
            by_list.setdefault(run.routing.demonstrations, []).append((run, run.routing))
    shown = []
    for name, routed in by_list.items():
        tasks = comparison.lists[name]
        episodes = next((found for run, _ in routed if (found := files.read(run, "demonstrations"))), [])
        if len(episodes) != len(tasks.ids):
            continue
        numbers = [str(number) for number in range(len(episodes))]
        for number in map(int, sample_tasks(numbers, [str(kind) for kind in tasks.types], min(count, len(numbers)), 0)):
            decisions = {run.configuration: (r.to_rl[number] == "1", r.scores[number]) for run, r in routed}
            shown.append(Demonstration(episodes[number], decisions))
    return shown
