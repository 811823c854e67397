"""One run from tasks to result: collect, base, route, the phases of the strategy, evaluation.

Every stage is a function of declared inputs (:mod:`prism_bench.stages`), and its files are found again by these inputs
(:mod:`prism_bench.stage_cache`): another router reuses the expert's episodes and the base model, and an interrupted run
resumes at the last finished stage, or within a phase of training. The cost of a stage is on the ledger whether it was
made now or before.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig
from rich.console import Console

from prism_bench.accounting.ledger import QUANTITIES, Ledger, LedgerRow
from prism_bench.algorithms.contract import Algorithm
from prism_bench.data.prompts import Prompt
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Trajectory, count_trajectories, load_trajectories, tasks_of
from prism_bench.digests import content_digest, digest
from prism_bench.environments.contract import TextEnvironment
from prism_bench.errors import InputError
from prism_bench.marks import before_measuring
from prism_bench.models.policy import ModelSettings, PretrainedModel, check_device, checkpoint_folders
from prism_bench.models.scratch import ScratchModel
from prism_bench.outline import Outline, outline
from prism_bench.results.evaluation import EvaluationSettings
from prism_bench.results.loggers import Logger
from prism_bench.results.outcomes import Outcome
from prism_bench.results.result import build_result, result_metrics, write_result
from prism_bench.results.schema import Selection
from prism_bench.rollouts.answers import Environment
from prism_bench.rollouts.backend import Engine
from prism_bench.rollouts.faults import FaultRules
from prism_bench.routing.prism import PrismRouter
from prism_bench.routing.router import Allocation, Router, load_allocation, save_allocation
from prism_bench.run_settings import RunSettings, read
from prism_bench.selection import (
    curve_tasks,
    demonstration_tasks,
    describe_selection,
    evaluation_tasks,
    pretraining_tasks,
)
from prism_bench.settings.configuration import resolve
from prism_bench.settings.making import make
from prism_bench.stage_cache import Files, Stage, StageCache
from prism_bench.stages.base import Pretraining, pretrain
from prism_bench.stages.collect import TRAJECTORIES, collect
from prism_bench.stages.evaluate import EPISODES, evaluate
from prism_bench.stages.own_episodes import OwnEpisodes, import_episodes
from prism_bench.stages.route import ALLOCATION, measure, route
from prism_bench.stages.tools import Tools, environment_maker
from prism_bench.stages.train import CHECKPOINT, RECORD, train
from prism_bench.strategy import Part, Phase, make_algorithm, read_strategy


class Experiment:
    """A configured run; :meth:`run` does it.

    Raises:
        InputError: a setting is refused.
    """

    def __init__(self, config: DictConfig, console: Console) -> None:
        configuration = resolve(config)
        self.config, root = configuration.values, configuration.place
        self.settings = settings = read(RunSettings, configuration)
        self.console = console
        self.folder = Path(settings.folder).resolve()
        if settings.trajectories is None and settings.demonstrations is None:
            raise InputError("trajectories=null goes with demonstrations=FILE; say how many the expert is asked for")
        given = settings.demonstrations
        self.own = None if given is None else OwnEpisodes(Path(given), settings.trajectories)
        self.model: ModelSettings = make(settings.model, root.below("model"), ModelSettings)
        if isinstance(self.model, ScratchModel) and not isinstance(self.model.base, Pretraining):
            raise InputError("model.base is not possible; it should be a group of settings that makes a Pretraining")
        check_device(self.model.device, self.model.dtype)
        self.prompt: Prompt = make(settings.prompt, root.below("prompt"), Prompt)
        self.engine: Engine = make(settings.generation, root.below("generation"), Engine)
        self.eval: EvaluationSettings = make(settings.eval, root.below("eval"), EvaluationSettings)
        router: Router = make(settings.router, root.below("router"), Router)
        for name in ("sft", "algorithm"):
            make(getattr(settings, name), root.below(name), Algorithm)
        self.phases = read_strategy(settings.strategy.phases, root.below("strategy").below("phases"))
        self.algorithms = [make_algorithm(phase) for phase in self.phases]
        self.router = router if any(phase.needs_router for phase in self.phases) else None
        self.ledger = Ledger([self.model.device], self.engine.devices)
        self.cache = StageCache(settings.cache, self.ledger, self.folder, self._forced())
        self.selections: dict[str, Selection] = {}
        self._left_by_router: list[Path] = []
        self._environments: dict[str, Environment] = {}  # by split, each made once
        self._make_environment = partial(environment_maker, settings.env.make, where=root.below("env").below("make"))
        self._make_environment(settings.env.train_split)  # a function, which checks the arguments
        self._make_logger: Callable[..., Logger] = make(settings.logger, root.below("logger"), Logger)
        # Stages have these in their keys, whether the configuration names them or not.
        self.config["env"] |= {field.name: getattr(settings.env, field.name) for field in fields(FaultRules)}

    def run(self) -> dict[str, Any]:
        """Run every stage and return the content of ``result.json``, which is written into the run folder.

        Raises:
            InputError: something that the run was given is refused, or another run uses its folder.
        """
        self.check()
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"another run writes to {self.folder}; wait for it, or choose another folder") from None
        try:
            return self._run()
        finally:
            lock.release()
            if "logger" in self.__dict__:  # it was needed; what it holds is written, however the run ends
                self.logger.finish()

    def _run(self) -> dict[str, Any]:
        checkpoints = {"base": self.base}
        records: list[dict[str, Any]] = []
        left = self._flops_to_spend()
        for phase in self.phases:
            if left is not None and left <= 0:
                self.console.print(f"budget.flops is spent: phase {phase.name} is left out", style="bold")
                break
            stage = self._train(phase, list(checkpoints.values())[-1], left)
            checkpoints[phase.name] = stage.files(CHECKPOINT)
            records.append(json.loads((stage.path / RECORD).read_text(encoding="utf-8")))
            left = None if left is None else left - records[-1]["flops"]
        outcomes = [
            outcome
            for name, checkpoint in checkpoints.items()
            for split in self.eval_splits
            for outcome in self._evaluate(name, checkpoint, split)
        ]
        result = self._result(checkpoints, records, outcomes)
        write_result(self.folder / "result.json", result)
        self.logger.summary(result_metrics(result))
        return result

    def check(self) -> Outline:
        """Check what takes more than the settings: environments, expert, model and engine; return the model's outline.

        Print the environment's restrictions.

        Raises:
            InputError: the run could not be finished.
        """
        train = self._environment(self.settings.env.train_split)
        train.expert(self.settings.env.expert)
        if isinstance(self.model, ScratchModel):
            pretraining_tasks(train, self.demonstration_tasks, self.model.base.episodes)
        for split in self.eval_splits:
            self.evaluated(split)
        if self.own is not None:
            self._check_own(self.own)
        found = outline(self.model, probed=isinstance(self.router, PrismRouter))
        if found.tokenizer is not None:
            Renderer(found.tokenizer, self.prompt, self.model.max_length)
        if any(algorithm.needs_tasks for algorithm in self.algorithms):
            self.engine.grpo_options()
        if restricted := self.protocol.get("restricted"):
            self.console.print(f"Restricted {restricted}", style="dim", highlight=False, markup=False)
        return found

    def _check_own(self, own: OwnEpisodes) -> None:
        """Refuse demonstrations of the user that fit neither the environment nor the strategy."""
        split = self.settings.env.train_split
        evaluated = {name: self._environment(name) for name in self.eval_splits}
        own.check(self._environment(split), evaluated, self.prompt.needs_admissible)
        own.refuse_without_tasks(
            [f"phase {phase.name!r}" for phase in self.phases if phase.tasks is not None]
            + ([f"router {type(self.router).__name__}"] if self.router is not None and self.router.needs_tasks else [])
        )
        replayed, changed = own.replay(self._make(split), self.settings.replay)
        if changed:
            self.console.print(
                f"{changed} of {replayed} demonstrations that were replayed show other observations than the "
                "environment does now: they are from another version of it, or from other settings",
                style="bold red",
                highlight=False,
            )

    # Stages, in the order of the procedure

    @cached_property
    def trajectories_file(self) -> Files:
        """The demonstrations that the router divides and the phases train on: the expert's or the user's own."""
        if self.own is None:
            return self._collect("demonstrations", self.demonstration_tasks)
        parents, values = {"file": self.own.file}, {"numbers": self.own.numbers}
        stage = self.cache.get(import_episodes, self.tools, config=self.config, parents=parents, values=values)
        return stage.files(TRAJECTORIES)

    @cached_property
    def demonstrations(self) -> list[Trajectory]:
        return load_trajectories(self.trajectories_file.path)

    @cached_property
    def base(self) -> Files:
        """The model before training: the base stage's for a model from scratch, else the checkpoint itself."""
        if isinstance(self.model, PretrainedModel):
            folders = checkpoint_folders(self.model.path)
            return Files(folders[0], digest([content_digest(folder) for folder in folders]))
        assert isinstance(self.model, ScratchModel)
        split = self.settings.env.train_split
        tasks = pretraining_tasks(self._environment(split), self.demonstration_tasks, self.model.base.episodes)
        parents = {"trajectories": self._collect("pretraining", self._selected("pretraining", split, tasks))}
        return self.cache.get(pretrain, self.tools, config=self.config, parents=parents).files()

    @cached_property
    def allocation(self) -> Allocation:
        """The router's decision on :attr:`demonstrations`; its files are copied into the run folder."""
        parents = {"policy": self.base, "trajectories": self.trajectories_file}
        values = {"router": before_measuring(self.config["router"])}
        measured = self.cache.get(measure, self.tools, config=self.config, parents=parents, values=values)
        parents = {"measured": measured.files(), "trajectories": self.trajectories_file}
        routed = self.cache.get(route, self.tools, config=self.config, parents=parents)
        for stage in (measured, routed):
            for name in stage.manifest:
                self._left_by_router.append(Path(name))
                shutil.copyfile(stage.path / name, self.folder / name)
        cost = sum((replace(row, cached=False) for row in self._routing_rows()), LedgerRow("route"))
        costs = {name: getattr(cost, name) for name in QUANTITIES}
        allocation = replace(load_allocation(routed.path / ALLOCATION), cost=costs)
        save_allocation(self.folder / ALLOCATION, allocation, self.demonstrations)
        return allocation

    def _train(self, phase: Phase, start: Files, flops_budget: float | None) -> Stage:
        return self.cache.get(
            train,
            self.tools,
            config=self.config,
            parents={"policy": start, "trajectories": self.trajectories_file},
            values={
                "phase": phase.name,
                "algorithm": dict(phase.algorithm),
                "demonstrations": self._part(phase.demonstrations),
                "tasks": self._tasks(phase.tasks),
                "curve_tasks": self._curve_tasks,
                "flops_budget": flops_budget,
            },
        )

    def _evaluate(self, name: str, checkpoint: Files, split: str) -> list[Outcome]:
        values = {"split": split, "tasks": self.evaluated(split)}
        stage = self.cache.get(evaluate, self.tools, config=self.config, parents={"policy": checkpoint}, values=values)
        return [
            Outcome(name, split, str(e.task_id), str(e.task_type), e.success, e.score, len(e.steps))
            for e in load_trajectories(stage.path / EPISODES)
        ]

    def _collect(self, selection: str, tasks: Sequence[str]) -> Files:
        """Return the file of the expert's successful episodes of the tasks of a selection."""
        values = {"tasks": list(tasks), "keep_admissible": self.prompt.needs_admissible}
        stage = self.cache.get(collect, self.tools, config=self.config, values=values)
        solved = count_trajectories(stage.path / TRAJECTORIES)
        self.selections[selection] = replace(self.selections[selection], solved=solved)
        if not solved:
            expert = self.settings.env.expert
            raise InputError(f"the expert {expert!r} solved none of {len(tasks)} tasks; choose another one")
        return stage.files(TRAJECTORIES)

    def _flops_to_spend(self) -> float | None:
        """Return the rest of ``budget.flops`` after routing; None without a budget."""
        budget = self.settings.budget.flops
        return None if budget is None else budget - self._routing_flops()

    def _routing_flops(self) -> int:
        if self.router is not None:
            assert self.allocation
        return sum(row.flops for row in self._routing_rows())

    def _routing_rows(self) -> list[LedgerRow]:
        return [row for row in self.ledger.rows if row.phase == "route"]

    # Selections

    @property
    def eval_splits(self) -> list[str]:
        env = self.settings.env
        return list(dict.fromkeys([env.validation_split, *env.test_splits]))

    @cached_property
    def demonstration_tasks(self) -> list[str]:
        """The tasks of the demonstrations, as far as they are known."""
        split = self.settings.env.train_split
        if self.own is not None:
            tasks = self.own.tasks
        else:
            assert self.settings.trajectories is not None
            tasks = demonstration_tasks(self._environment(split), self.settings.trajectories)
        return self._selected("demonstrations", split, tasks) if tasks else tasks

    def evaluated(self, split: str) -> list[str]:
        """Return the tasks of a split that every stage is evaluated on."""
        return self._selected(f"eval {split}", split, evaluation_tasks(self._environment(split), self.eval.tasks))

    @cached_property
    def _curve_tasks(self) -> list[str]:
        split = self.settings.env.validation_split
        tasks = curve_tasks(self._environment(split), self.evaluated(split), self.eval.curve_tasks)
        return self._selected("learning curves", split, tasks)

    def _selected(self, name: str, split: str, tasks: list[str]) -> list[str]:
        """Enter a selection into the result, and return its tasks."""
        self.selections[name] = describe_selection(self._environment(split), split, tasks)
        return tasks

    def _part(self, part: Part | None) -> list[int]:
        """Return the numbers of the demonstrations in a part of the data."""
        if part is None:
            return []
        return list(range(len(self.demonstrations))) if part == "all" else self.allocation.indices(part)

    def _tasks(self, part: Part | None) -> list[str]:
        """Return the tasks in a part of the data, each once."""
        return list(dict.fromkeys(tasks_of([self.demonstrations[number] for number in self._part(part)])))

    # The result

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """Settings that have to be equal before two results may be compared."""
        env = self.settings.env
        environment = self._make(env.train_split)
        base: TextEnvironment = environment.unwrapped  # type: ignore[assignment]
        return {
            "environment": env.make["id"],
            **base.protocol(),
            "demonstrations": self.own.name if self.own else f"expert {env.expert}",
            "settings chosen on": env.validation_split,
            "tested on": ", ".join(env.test_splits) or "nothing else",
            "eval tasks": ", ".join(
                f"{drawn.tasks} of {drawn.of} of {split}"
                for split in self.eval_splits
                for drawn in [describe_selection(self._environment(split), split, self.evaluated(split))]
            ),
            "steps": environment.spec.max_episode_steps if environment.spec is not None else None,
            "decoding": "greedy" if self.eval.temperature == 0 else f"temperature {self.eval.temperature}",
            "prompt": repr(self.prompt),
            "context": self.model.max_length,
            "generation": self.engine.name,
            "checkpoint": "last",
        }

    def _result(
        self, checkpoints: Mapping[str, Files], records: Sequence[Mapping[str, Any]], outcomes: Sequence[Outcome]
    ) -> dict[str, Any]:
        split = self.settings.env.validation_split
        allocation = None if self.router is None else self.allocation
        spent = self._routing_flops()
        phases: list[dict[str, Any]] = []
        curves: list[dict[str, Any]] = []
        for phase, record in zip(self.phases, records, strict=False):
            algorithm = phase.algorithm["_target_"].rpartition(".")[2]
            data = {"demonstrations": len(self._part(phase.demonstrations)), "tasks": len(self._tasks(phase.tasks))}
            how = {key: record[key] for key in ("updates", "flops", "ended")}
            phases.append({"name": phase.name, "algorithm": algorithm, **data, **how})
            curves += [
                {"phase": phase.name, "split": split, **point, "flops": spent + point["flops"]}
                for point in record["curve"]
            ]
            spent += record["flops"]
        return build_result(
            strategy=self.settings.strategy.name,
            router=None if self.router is None else type(self.router).__name__,
            config=self.config,
            protocol=self.protocol,
            seeds={"seed": self.settings.seed, "env.seed": self.config["env"].get("seed", 0)},
            selections=self.selections,
            allocation=None if allocation is None else {part: len(allocation.indices(part)) for part in ("sft", "rl")},
            phases=phases,
            curves=curves,
            outcomes=outcomes,
            ledger=sorted(self.ledger.rows, key=lambda row: row.phase == "eval"),  # stable; learning curves come early
            files={"metrics": "metrics.jsonl"}
            | ({"demonstrations": str(self.own.path)} if self.own else {})
            | {path.stem: path.name for path in self._left_by_router}
            | {f"checkpoint {name}": str(checkpoint.path) for name, checkpoint in checkpoints.items()},
        )

    # Shared objects

    @cached_property
    def logger(self) -> Logger:
        """The logger, made with the first values, so that a refused run leaves nothing on a dashboard."""
        return self._make_logger(self.folder, self.config)

    @cached_property
    def tools(self) -> Tools:
        def log(values: Mapping[str, float], update: int | None) -> None:
            self.logger.log(values, update)

        return Tools(self.ledger, self.console, self.folder, log, self.settings.env.workers, self.settings.env)

    def _make(self, split: str) -> Environment:
        if split not in self._environments:
            made = self._make_environment(split)()
            if not isinstance(made.unwrapped, TextEnvironment):
                raise InputError("env.make does not make a text environment; name another id")
            self._environments[split] = made
        return self._environments[split]

    @property
    def environment(self) -> Environment:
        """The environment of the train tasks."""
        return self._make(self.settings.env.train_split)

    def task_ids(self, split: str) -> Sequence[str]:
        """Return all tasks of a split."""
        return self._environment(split).task_ids

    def _environment(self, split: str) -> TextEnvironment:
        environment: TextEnvironment = self._make(split).unwrapped  # type: ignore[assignment]
        if not environment.task_ids:
            raise InputError(f"the split {split} has no tasks; name other splits in env")
        return environment

    def _forced(self) -> list[str]:
        """Return the stages and phases that are to be made again."""
        force = self.settings.force
        names = [force] if isinstance(force, str) else list(force)
        functions = (collect, pretrain, measure, route, train, evaluate)
        known = dict.fromkeys([*(function.name for function in functions), *(phase.name for phase in self.phases)])
        if unknown := [name for name in names if name not in known]:
            raise InputError(f"force={unknown[0]} is no stage of this run; choose from {', '.join(known)}")
        return names
