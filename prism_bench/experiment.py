"""One run from tasks to result: collect, base, route, the phases of the strategy, evaluation.

Every stage is a function of declared inputs (:mod:`prism_bench.stages`), and its files are found again by these inputs
(:mod:`prism_bench.stage_cache`): another router reuses the expert's episodes and the base model, and an interrupted run
resumes at the last finished stage, or within a phase of training. The cost of a stage is on the ledger whether it was
made now or before.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from prism_bench.accounting.ledger import Ledger
from prism_bench.data.prompts import Prompt
from prism_bench.data.trajectory import Trajectory, load_trajectories, tasks_of
from prism_bench.digests import content_digest, digest
from prism_bench.environments.contract import TextEnvironment
from prism_bench.errors import InputError
from prism_bench.models.policy import ModelSettings, PretrainedModel, check_device, checkpoint_folders
from prism_bench.models.scratch import ScratchModel
from prism_bench.results.evaluation import EvaluationSettings
from prism_bench.results.loggers import Logger
from prism_bench.results.outcomes import Outcome
from prism_bench.results.result import build_result, result_metrics, write_result
from prism_bench.results.schema import Selection
from prism_bench.rollouts.answers import Environment
from prism_bench.rollouts.backend import Engine
from prism_bench.rollouts.faults import fault_rules
from prism_bench.rollouts.workers import uses_workers
from prism_bench.routing.router import Allocation, Router, load_allocation
from prism_bench.selection import (
    curve_tasks,
    demonstration_tasks,
    describe_selection,
    evaluation_tasks,
    pretraining_tasks,
)
from prism_bench.stage_cache import Files, Stage, StageCache
from prism_bench.stages.base import pretrain
from prism_bench.stages.collect import TRAJECTORIES, collect
from prism_bench.stages.evaluate import EPISODES, evaluate
from prism_bench.stages.route import ALLOCATION, route
from prism_bench.stages.tools import Tools, environment_maker
from prism_bench.stages.train import CHECKPOINT, RECORD, train
from prism_bench.strategy import Part, Phase, make_algorithm, read_strategy


class Experiment:
    """A configured run; :meth:`run` does it.

    Raises:
        InputError: a setting is refused.
    """

    def __init__(self, config: DictConfig, console: Console) -> None:
        self.config: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
        self.console = console
        self.folder = Path(self.config["folder"]).resolve()
        self.seed = self._whole_number("seed", 0)
        self.trajectories = self._whole_number("trajectories", 2)
        self.model: ModelSettings = instantiate(config.model, _convert_="object")
        check_device(self.model.device, self.model.dtype)
        self.prompt: Prompt = instantiate(config.prompt)
        self.engine: Engine = instantiate(config.generation, _convert_="object")
        self.eval: EvaluationSettings = instantiate(config.eval)
        self.phases = read_strategy(self.config["strategy"]["phases"])
        self.algorithms = [make_algorithm(phase) for phase in self.phases]
        routed = any(phase.needs_router for phase in self.phases)
        self.router: Router | None = instantiate(config.router) if routed else None
        self.ledger = Ledger([self.model.device], self.engine.devices)
        self.cache = StageCache(self.config["cache"], self.ledger)
        self.selections: dict[str, Selection] = {}
        self._environments: dict[str, Environment] = {}  # by split, each made once
        self._make_logger: Callable[..., Logger] = instantiate(config.logger)
        self.fault_rules = fault_rules(self.config["env"])
        self.config["env"] |= asdict(self.fault_rules)  # stages have them in their keys

    def run(self) -> dict[str, Any]:
        """Run every stage and return the content of ``result.json``, which is written into the run folder.

        Raises:
            InputError: something that the run was given is refused, or another run uses its folder.
        """
        self._check()
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"another run writes to {self.folder}; wait for it, or choose another folder") from None
        try:
            return self._run()
        finally:
            if "logger" in self.__dict__:  # it was needed; what it holds is written, however the run ends
                self.logger.finish()
            lock.release()

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

    def _check(self) -> None:
        """Refuse settings now instead of after hours of training, and print the environment's restrictions."""
        for split in self.eval_splits:
            self._evaluated(split)
        if any(algorithm.needs_tasks for algorithm in self.algorithms):
            self.engine.grpo_options()
        if restricted := self.protocol.get("restricted"):
            self.console.print(f"Restricted {restricted}", style="dim", highlight=False, markup=False)

    # Stages, in the order of the procedure

    @cached_property
    def trajectories_file(self) -> Files:
        """The demonstrations: the expert's successful episodes that the router divides and the phases train on."""
        return self._collect("demonstrations", self._demonstration_tasks)

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
        split = self.config["env"]["train_split"]
        tasks = pretraining_tasks(self._environment(split), self._demonstration_tasks, self.model.base.episodes)
        parents = {"trajectories": self._collect("pretraining", self._selected("pretraining", split, tasks))}
        return self.cache.get(pretrain, self.tools, config=self.config, parents=parents).files()

    @cached_property
    def allocation(self) -> Allocation:
        """The router's decision on :attr:`demonstrations`."""
        return load_allocation(self.routing.path / ALLOCATION)

    @cached_property
    def routing(self) -> Stage:
        """The stage of the allocation and the router's other files, which are copied into the run folder."""
        parents = {"policy": self.base, "trajectories": self.trajectories_file}
        stage = self.cache.get(route, self.tools, config=self.config, parents=parents)
        for name in stage.manifest:
            shutil.copyfile(stage.path / name, self.folder / name)
        return stage

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
                "tasks": tasks_of([self.demonstrations[number] for number in self._part(phase.tasks)]),
                "curve_tasks": self._curve_tasks,
                "flops_budget": flops_budget,
            },
        )

    def _evaluate(self, name: str, checkpoint: Files, split: str) -> list[Outcome]:
        values = {"split": split, "tasks": self._evaluated(split)}
        stage = self.cache.get(evaluate, self.tools, config=self.config, parents={"policy": checkpoint}, values=values)
        return [
            Outcome(name, split, str(e.task_id), str(e.task_type), e.success, e.score, len(e.steps))
            for e in load_trajectories(stage.path / EPISODES)
        ]

    def _collect(self, selection: str, tasks: Sequence[str]) -> Files:
        """Return the file of the expert's successful episodes of the tasks of a selection."""
        values = {"tasks": list(tasks), "keep_admissible": self.prompt.needs_admissible}
        stage = self.cache.get(collect, self.tools, config=self.config, values=values)
        solved = len(load_trajectories(stage.path / TRAJECTORIES))
        self.selections[selection] = replace(self.selections[selection], solved=solved)
        if not solved:
            expert = self.config["env"]["expert"]
            raise InputError(f"the expert {expert!r} solved none of {len(tasks)} tasks; choose another one")
        return stage.files(TRAJECTORIES)

    def _flops_to_spend(self) -> float | None:
        """Return the rest of ``budget.flops`` after routing; None without a budget."""
        budget: float | None = self.config["budget"]["flops"]
        return None if budget is None else budget - self._routing_flops()

    def _routing_flops(self) -> int:
        if self.router is not None:
            assert self.routing
        return sum(row.flops for row in self.ledger.rows if row.phase == "route")

    # Selections

    @property
    def eval_splits(self) -> list[str]:
        env = self.config["env"]
        return list(dict.fromkeys([env["validation_split"], *env["test_splits"]]))

    @cached_property
    def _demonstration_tasks(self) -> list[str]:
        split = self.config["env"]["train_split"]
        tasks = demonstration_tasks(self._environment(split), self.trajectories)
        return self._selected("demonstrations", split, tasks)

    def _evaluated(self, split: str) -> list[str]:
        return self._selected(f"eval {split}", split, evaluation_tasks(self._environment(split), self.eval.tasks))

    @cached_property
    def _curve_tasks(self) -> list[str]:
        split = self.config["env"]["validation_split"]
        tasks = curve_tasks(self._environment(split), self._evaluated(split), self.eval.curve_tasks)
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

    # The result

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """Settings that have to be equal before two results may be compared."""
        env = self.config["env"]
        environment = self._make(env["train_split"])
        base: TextEnvironment = environment.unwrapped  # type: ignore[assignment]
        return {
            "environment": env["make"]["id"],
            **base.protocol(),
            "settings chosen on": env["validation_split"],
            "tested on": ", ".join(env["test_splits"]) or "nothing else",
            "eval tasks": ", ".join(
                f"{drawn.tasks} of {drawn.of} of {split}"
                for split in self.eval_splits
                for drawn in [describe_selection(self._environment(split), split, self._evaluated(split))]
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
        split = self.config["env"]["validation_split"]
        allocation = None if self.router is None else self.allocation
        spent = self._routing_flops()
        phases: list[dict[str, Any]] = []
        curves: list[dict[str, Any]] = []
        for phase, record in zip(self.phases, records, strict=False):
            algorithm = phase.algorithm["_target_"].rpartition(".")[2]
            data = {kind: len(self._part(getattr(phase, kind))) for kind in ("demonstrations", "tasks")}
            how = {key: record[key] for key in ("updates", "flops", "ended")}
            phases.append({"name": phase.name, "algorithm": algorithm, **data, **how})
            curves += [
                {"phase": phase.name, "split": split, **point, "flops": spent + point["flops"]}
                for point in record["curve"]
            ]
            spent += record["flops"]
        left_by_router = [] if allocation is None else [Path(name) for name in self.routing.manifest]
        return build_result(
            strategy=self.config["strategy"]["name"],
            router=None if self.router is None else type(self.router).__name__,
            config=self.config,
            protocol=self.protocol,
            seeds={"seed": self.seed, "env.seed": self.config["env"].get("seed", 0)},
            selections=self.selections,
            allocation=None if allocation is None else {part: len(allocation.indices(part)) for part in ("sft", "rl")},
            phases=phases,
            curves=curves,
            outcomes=outcomes,
            ledger=sorted(self.ledger.rows, key=lambda row: row.phase == "eval"),  # stable; learning curves come early
            files={"metrics": "metrics.jsonl"}
            | {path.stem: path.name for path in left_by_router}
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

        return Tools(self.ledger, self.console, self.folder, log, uses_workers(self.config["env"]), self.fault_rules)

    def _make(self, split: str) -> Environment:
        if split not in self._environments:
            self._environments[split] = environment_maker(self.config["env"]["make"], split)()
        return self._environments[split]

    def _environment(self, split: str) -> TextEnvironment:
        environment: TextEnvironment = self._make(split).unwrapped  # type: ignore[assignment]
        if not environment.task_ids:
            raise InputError(f"the split {split} has no tasks; name other splits in env")
        return environment

    def _whole_number(self, name: str, least: int) -> int:
        value = self.config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{name}={value} is not possible; give a whole number from {least} on")
        return value
