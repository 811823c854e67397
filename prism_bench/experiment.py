"""One run from tasks to result: collect, base, route, the phases of the strategy, evaluation.

Every stage is a function of declared inputs (:mod:`prism_bench.stages`), and its files are found again by these inputs
(:mod:`prism_bench.stage_cache`): another router reuses the expert's episodes and the base model, and an interrupted run
resumes at the last finished stage, or within a phase of training. The cost of a stage is on the ledger whether it was
made now or before.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig
from rich.console import Console

from prism_bench import processes
from prism_bench.accounting.ledger import Ledger
from prism_bench.accounting.meter import QUANTITIES, LedgerRow
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Trajectory, count_trajectories, load_trajectories, tasks_of
from prism_bench.digests import content_digest, digest
from prism_bench.environments.contract import TextEnvironment
from prism_bench.errors import InputError
from prism_bench.marks import before_measuring
from prism_bench.models.policy import PretrainedModel, checkpoint_folders
from prism_bench.models.scratch import ScratchModel
from prism_bench.outline import Outline, outline
from prism_bench.results.loggers import METRICS_FILE, Labels, Logger
from prism_bench.results.outcomes import Outcome
from prism_bench.results.result import RESULT, build_result, write_result
from prism_bench.routing.allocation import ALLOCATION, Allocation, load_allocation, save_allocation
from prism_bench.routing.router import Measurement
from prism_bench.run_parts import make_parts
from prism_bench.run_tasks import RunTasks
from prism_bench.settings.making import make
from prism_bench.stage_cache.cache import Stage, StageCache
from prism_bench.stage_cache.declaration import Files, StageFunction
from prism_bench.stages.base import pretrain
from prism_bench.stages.collect import TRAJECTORIES, collect
from prism_bench.stages.evaluate import EPISODES, evaluate
from prism_bench.stages.own_episodes import import_episodes
from prism_bench.stages.route import measure, measure_with_rollouts, route
from prism_bench.stages.tools import Tools
from prism_bench.stages.train import CHECKPOINT, RECORD, train
from prism_bench.strategy import Part, Phase

STAGES = [value for value in globals().values() if isinstance(value, StageFunction)]
"""The stages that a run may need: all that are imported here."""


class Experiment:
    """A configured run; :meth:`run` does it.

    Raises:
        InputError: a setting is refused.
    """

    def __init__(self, config: DictConfig, console: Console) -> None:
        self.parts = parts = make_parts(config)
        self.config, self.settings = parts.config, parts.settings
        self.tasks = RunTasks(parts)
        self.console = console
        self.folder = Path(self.settings.folder).resolve()
        self.ledger = Ledger([parts.model.device], parts.engine.devices * processes.started())
        self.cache = StageCache(self.settings.cache, self.ledger, self.folder, self._forced())
        self._left_by_router: list[Path] = []

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
            self.close()

    def close(self) -> None:
        """Close the environments that this object made itself; they are made anew where they are needed again."""
        self.tasks.close()

    def _run(self) -> dict[str, Any]:
        result = self._result(*self.walk())
        write_result(self.folder / RESULT, result)
        self.logger.result(result)
        return result

    def walk(self) -> tuple[dict[str, Files], list[dict[str, Any]], dict[tuple[str, str], Path]]:
        """Find or make every stage; return the checkpoint of each, the records of the phases, and the episodes."""
        checkpoints = {"base": self.base}
        records: list[dict[str, Any]] = []
        left = self._flops_to_spend()
        for phase in self.parts.phases:
            if left is not None and left <= 0:
                self.console.print(f"budget.flops is spent: phase {phase.name} is left out", style="bold")
                break
            stage = self._train(phase, list(checkpoints.values())[-1], left)
            checkpoints[phase.name] = stage.files(CHECKPOINT)
            records.append(json.loads((stage.path / RECORD).read_text(encoding="utf-8")))
            left = None if left is None else left - records[-1]["flops"]
        episodes = {
            (name, split): self._evaluate(checkpoint, split)
            for name, checkpoint in checkpoints.items()
            for split in self.tasks.eval_splits
        }
        return checkpoints, records, episodes

    def check(self) -> Outline:
        """Check what takes more than the settings: environments, expert, model and engine; return the model's outline.

        Print warnings and the environment's restrictions.

        Raises:
            InputError: the run could not be finished.
        """
        model, router, warnings = self.parts.model, self.parts.router, self.tasks.check()
        if isinstance(model, ScratchModel):
            self.tasks.pretraining(model.base.episodes)
        for warning in warnings:
            self.console.print(warning, style="bold red", highlight=False, markup=False)
        found = outline(model, probed=router is not None and router.needs_projections)
        if found.tokenizer is not None:
            Renderer(found.tokenizer, self.parts.prompt, model.max_length)
        if any(algorithm.needs_tasks for algorithm in self.parts.algorithms):
            self.parts.engine.grpo_options()
        if restricted := self.protocol.get("restricted"):
            self.console.print(f"Restricted {restricted}", style="dim", highlight=False, markup=False)
        return found

    # Stages, in the order of the procedure

    @cached_property
    def trajectories_file(self) -> Files:
        """The demonstrations that the router divides and the phases train on: the expert's or the user's own."""
        if self.tasks.own is None:
            return self._collect("demonstrations", self.tasks.demonstrations)
        parents, values = {"file": self.tasks.own.file}, {"numbers": self.tasks.own.numbers}
        stage = self.cache.get(import_episodes, self.tools, config=self.config, parents=parents, values=values)
        return stage.files(TRAJECTORIES)

    @cached_property
    def demonstrations(self) -> list[Trajectory]:
        return load_trajectories(self.trajectories_file.path)

    @cached_property
    def base(self) -> Files:
        """The model before training: the base stage's for a model from scratch, else the checkpoint itself."""
        model = self.parts.model
        if isinstance(model, PretrainedModel):
            folders = checkpoint_folders(model.path)
            return Files(folders[0], digest([content_digest(folder) for folder in folders]))
        assert isinstance(model, ScratchModel)
        tasks = self.tasks.pretraining(model.base.episodes)
        taught = self._collect("pretraining", tasks, self.parts.taught)
        parents = {"trajectories": taught, "words": self.trajectories_file if self.settings.env.taught else taught}
        return self.cache.get(pretrain, self.tools, config=self.config, parents=parents).files()

    @cached_property
    def allocation(self) -> Allocation:
        """The router's decision on :attr:`demonstrations`; its files are copied into the run folder."""
        measured = self.measured(before_measuring(self.config["router"]))
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

    def measured(self, measurement: Mapping[str, Any]) -> Stage:
        """Return a measurement of the demonstrations."""
        made: Measurement = make(measurement, "router", Measurement)
        function = measure_with_rollouts if made.needs_tasks else measure
        parents = {"policy": self.base, "trajectories": self.trajectories_file}
        values = {"measurement": measurement, "seed": self._seed_of(made.draws)}
        return self.cache.get(function, self.tools, config=self.config, parents=parents, values=values)

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
                "curve_tasks": self.tasks.curve,
                "flops_budget": flops_budget,
            },
        )

    def _evaluate(self, checkpoint: Files, split: str) -> Path:
        """Return the file of the episodes of a checkpoint on a split."""
        seed = self._seed_of(self.parts.eval.temperature > 0)
        values = {"split": split, "tasks": self.tasks.evaluated(split), "seed": seed}
        stage = self.cache.get(evaluate, self.tools, config=self.config, parents={"policy": checkpoint}, values=values)
        return stage.path / EPISODES

    def _seed_of(self, draws: bool) -> int:
        """Return the seed of a stage's draws: 0 where it draws nothing, so that all seeds share it."""
        return self.settings.seed if draws else 0

    def _collect(self, selection: str, tasks: Sequence[str], make: Mapping[str, Any] | None = None) -> Files:
        """Return the file of the expert's successful episodes of the tasks of a selection.

        Args:
            make: the environment, in place of ``env.make``.
        """
        values = {"tasks": list(tasks), "keep_admissible": self.parts.prompt.needs_admissible}
        config = self.config if make is None else {**self.config, "env": {**self.config["env"], "make": dict(make)}}
        stage = self.cache.get(collect, self.tools, config=config, values=values)
        solved = count_trajectories(stage.path / TRAJECTORIES)
        self.tasks.note_solved(selection, solved)
        if not solved:
            expert = self.settings.env.expert
            raise InputError(f"the expert {expert!r} solved none of {len(tasks)} tasks; choose another one")
        return stage.files(TRAJECTORIES)

    def _flops_to_spend(self) -> float | None:
        """Return the rest of ``budget.flops`` after routing; None without a budget."""
        budget = self.settings.budget.flops
        return None if budget is None else budget - self._routing_flops()

    def _routing_flops(self) -> int:
        if self.parts.router is not None:
            assert self.allocation
        return sum(row.flops for row in self._routing_rows())

    def _routing_rows(self) -> list[LedgerRow]:
        return [row for row in self.ledger.rows if row.phase == "route"]

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
        environment = self.tasks.wrapped(env.train_split)
        base: TextEnvironment = environment.unwrapped  # type: ignore[assignment]
        limit = environment.spec.max_episode_steps if environment.spec is not None else None
        turns, strays = self.settings.rollout.max_turns, self.settings.rollout.max_inadmissible
        expert = "none" if env.expert is None else f"expert {env.expert}"
        return {
            "environment": env.make["id"],
            **base.protocol(),
            "demonstrations": self.tasks.own.name if self.tasks.own else expert,
            "settings chosen on": env.validation_split,
            "tested on": ", ".join(env.test_splits) or "nothing else",
            "eval tasks": ", ".join(
                f"{len(self.tasks.evaluated(split))} of {len(self.tasks.environment(split).task_ids)} of {split}"
                for split in self.tasks.eval_splits
            ),
            "steps": limit,
            "inadmissible actions in training": "any number" if strays is None else strays,
            "steps in training": limit if turns is None or (limit is not None and limit < turns) else turns,
            "decoding": "greedy" if self.parts.eval.temperature == 0 else f"temperature {self.parts.eval.temperature}",
            "prompt": repr(self.parts.prompt),
            "context": self.parts.model.max_length,
            "generation": self.parts.engine.name,
            "checkpoint": "last",
        }

    def _result(
        self,
        checkpoints: Mapping[str, Files],
        records: Sequence[Mapping[str, Any]],
        episodes: Mapping[tuple[str, str], Path],
    ) -> dict[str, Any]:
        split = self.settings.env.validation_split
        allocation = None if self.parts.router is None else self.allocation
        spent = self._routing_flops()
        phases: list[dict[str, Any]] = []
        curves: list[dict[str, Any]] = []
        for phase, record in zip(self.parts.phases, records, strict=False):
            algorithm = self.labels.phases[phase.name]
            data = {"demonstrations": len(self._part(phase.demonstrations)), "tasks": len(self._tasks(phase.tasks))}
            how = {key: record[key] for key in ("updates", "flops", "ended")}
            phases.append({"name": phase.name, "algorithm": algorithm, **data, **how})
            curves += [
                {"phase": phase.name, "split": split, **point, "flops": spent + point["flops"]}
                for point in record["curve"]
            ]
            spent += record["flops"]
        return build_result(
            strategy=self.labels.strategy,
            router=self.labels.router,
            config=self.config,
            protocol=self.protocol,
            seeds={"seed": self.settings.seed, "env.seed": self.config["env"].get("seed", 0)},
            selections=self.tasks.selections,
            allocation=None if allocation is None else {part: len(allocation.indices(part)) for part in ("sft", "rl")},
            phases=phases,
            curves=curves,
            outcomes=[
                Outcome(stage, split, str(e.task_id), str(e.task_type), e.success, e.score, len(e.steps))
                for (stage, split), path in episodes.items()
                for e in load_trajectories(path)
            ],
            ledger=sorted(self.ledger.rows, key=lambda row: row.phase == "eval"),  # stable; learning curves come early
            files={"metrics": METRICS_FILE}
            | ({"demonstrations": str(self.trajectories_file.path)} if self.parts.phases else {})
            | {path.stem: path.name for path in self._left_by_router}
            | {f"checkpoint {name}": str(checkpoint.path) for name, checkpoint in checkpoints.items()}
            | {f"episodes {stage} {split}": str(path) for (stage, split), path in episodes.items()},
        )

    # Shared objects

    @cached_property
    def logger(self) -> Logger:
        """The logger, made with the first values, so that a refused run leaves nothing on a dashboard."""
        return self.parts.make_logger(self.folder, self.config, self.labels)

    @cached_property
    def labels(self) -> Labels:
        router = self.parts.router
        return Labels(
            environment=self.settings.env.make["id"],
            strategy=self.settings.strategy.name,
            router=None if router is None else type(router).__name__,
            phases={phase.name: phase.algorithm["_target_"].rpartition(".")[2] for phase in self.parts.phases},
            seed=self.settings.seed,
        )

    @cached_property
    def tools(self) -> Tools:
        def log(values: Mapping[str, float], update: int | None) -> None:
            self.logger.log(values, update)

        return Tools(self.ledger, self.console, self.folder, log, self.settings.env.workers, self.settings.env)

    def _forced(self) -> list[str]:
        """Return the stages and phases that are to be made again."""
        force = self.settings.force
        names = [force] if isinstance(force, str) else list(force)
        known = dict.fromkeys([*(function.name for function in STAGES), *(phase.name for phase in self.parts.phases)])
        if unknown := [name for name in names if name not in known]:
            raise InputError(f"force={unknown[0]} is no stage of this run; choose from {', '.join(known)}")
        return names
