"""One run from tasks to result: collect, base, route, SFT, RL, evaluation.

Every stage is a folder of files, made once and found again by the hash of what it was made from (see
``prism_bench.stage_cache``): a second router reuses the expert episodes and the base model, and an interrupted run
continues at the last finished stage. What a stage costs is on the ledger whether it was made now or before.

    train tasks  [0, trajectories)   expert episodes that the router divides: SFT imitates, RL plays their tasks
                 [trajectories, ..)  expert episodes of the base stage (models made from scratch only)
    eval splits                      played by the base model, after SFT and at the end
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from prism_bench.accounting.ledger import QUANTITIES, Ledger, Meter
from prism_bench.algorithms.callbacks import ReportingCallback
from prism_bench.algorithms.settings import RLSettings, SFTSettings
from prism_bench.code_digest import source_digest
from prism_bench.data.prompts import Prompt
from prism_bench.data.rendering import Rendered, Renderer
from prism_bench.data.trajectory import Trajectory, load_trajectories, save_trajectories, tasks_of
from prism_bench.errors import InputError
from prism_bench.models.policy import (
    ModelSettings,
    Policy,
    PretrainedModel,
    ScratchModel,
    checkpoint_identity,
    create_policy,
    load_policy,
    save_policy,
    weights_digest,
    with_lora,
)
from prism_bench.results.evaluation import EvaluationSettings, evaluate
from prism_bench.results.loggers import Logger
from prism_bench.results.progress import PhaseProgress
from prism_bench.results.result import Outcome, build_result, result_metrics, write_result
from prism_bench.rollouts.backend import Engine, Sampling
from prism_bench.rollouts.episodes import EpisodePlayer
from prism_bench.rollouts.expert import play_expert
from prism_bench.rollouts.pool import Environment
from prism_bench.rollouts.workers import uses_workers
from prism_bench.routing.router import Allocation, Router, RoutingContext, load_allocation, save_allocation
from prism_bench.stage_cache import Stage, StageCache, inputs_digest


class Experiment:
    """A configured run; :meth:`run` does it. Stages are attributes, made when they are first asked for."""

    def __init__(self, config: DictConfig, console: Console) -> None:
        self.config: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
        self.console = console
        self.folder = Path(self.config["folder"]).resolve()
        self.seed = self._whole_number("seed", 0)
        self.trajectories = self._whole_number("trajectories", 2)
        self.workers = uses_workers(self.config["env"])
        self.model: ModelSettings = instantiate(config.model, _convert_="object")
        self.prompt: Prompt = instantiate(config.prompt)
        self.engine: Engine = instantiate(config.generation, _convert_="object")
        self.router: Router = instantiate(config.router)
        self.sft: SFTSettings | None = instantiate(config.sft, _convert_="object") if config.sft else None
        self.rl: RLSettings | None = instantiate(config.rl, _convert_="object") if config.rl else None
        self.eval: EvaluationSettings = instantiate(config.eval)
        self.ledger = Ledger([self.model.device])
        self.cache = StageCache(self.config["cache"], self.ledger)
        self._make_logger: Callable[..., Logger] = instantiate(config.logger)
        self._code = source_digest("prism_bench") + source_digest(self.config["env"]["make"]["id"].partition(":")[0])

    def run(self) -> dict[str, Any]:
        """Do every stage and return the content of ``result.json``, which is written into the run folder."""
        self._announce()
        for split in self.config["env"]["eval_splits"]:
            self._eval_tasks(split)  # a misspelt split is better refused now than after hours of training
        if self.rl is not None:
            self.engine.grpo_options()  # and so is an engine that cannot take part in it
        stages = {"base": self.base}
        if self.sft is not None:
            stages["sft"] = self.after_sft
        if self.rl is not None:
            stages["final"] = self.after_rl
        elif self.sft is not None:
            stages["final"] = self.after_sft
        outcomes = [
            outcome
            for name, stage in stages.items()
            for split in self.config["env"]["eval_splits"]
            for outcome in self._evaluate(name, stage, split)
        ]
        left_by_router = sorted(file for file in self.allocation_stage.path.iterdir() if file.is_file())
        for file in left_by_router:
            shutil.copyfile(file, self.folder / file.name)
        result = build_result(
            router=self.config["router"]["_target_"].rpartition(".")[2],
            config=self.config,
            protocol=self.protocol,
            seeds={"seed": self.seed, "env.seed": self.config["env"].get("seed", 0)},
            allocation={name: len(self.allocation.indices(name)) for name in ("sft", "rl")},
            outcomes=outcomes,
            ledger=self.ledger.rows,
            files={"metrics": "metrics.jsonl"}
            | {file.stem: file.name for file in left_by_router}
            | {f"checkpoint {name}": str(stage.path) for name, stage in stages.items()},
        )
        write_result(self.folder / "result.json", result)
        self.logger.summary(result_metrics(result))
        self.logger.finish()
        return result

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """What has to be equal before two results may be compared."""
        env, environment = self.config["env"], self._make(self.config["env"]["train_split"])
        spec = environment.spec
        return {
            "environment": env["make"]["id"],
            **environment.unwrapped.protocol(),  # type: ignore[attr-defined]
            "eval splits": ", ".join(env["eval_splits"]),
            "eval tasks": self.eval.tasks or "all",
            "steps": spec.max_episode_steps if spec is not None else None,
            "decoding": "greedy" if self.eval.temperature == 0 else f"temperature {self.eval.temperature}",
            "prompt": repr(self.prompt),
            "context": self.model.max_length,
            "generation": self.engine.name,
            "checkpoint": "last",
        }

    @cached_property
    def logger(self) -> Logger:
        """Where numbers go; made with the first of them, so that a refused run leaves nothing on a dashboard."""
        return self._make_logger(self.folder, self.config)

    # Stages, in the order of the procedure

    @cached_property
    def routed(self) -> list[Trajectory]:
        """Expert episodes that the router divides, failures left out."""
        return self._collect(self._train_tasks()[: self.trajectories])

    @cached_property
    def base(self) -> Stage:
        """The model before routing: a base stage for a model made from scratch, else the checkpoint itself."""
        if isinstance(self.model, PretrainedModel):
            return Stage(Path(self.model.path), cached=False, digest=checkpoint_identity(self.model.path))
        assert isinstance(self.model, ScratchModel)
        model, first = self.model, self.trajectories
        tasks = self._train_tasks()[first : first + model.base.episodes]
        if not tasks:
            raise InputError(
                f"all {first} train tasks are routed, none is left to teach the base model; lower trajectories"
            )

        def make(folder: Path) -> None:
            episodes = self._collect(tasks)
            with self.ledger.phase("base") as meter:
                policy = create_policy(model, self._texts(episodes), self.seed)
                cast(torch.nn.Module, policy.model).to(model.device)
                renderer = self._renderer(policy)
                rendered = [renderer.render(episode) for episode in episodes]
                half = len(rendered) // 2
                language = [_all_tokens(episode) for episode in rendered[:half]]
                self._imitate("base", policy, language, model.base.language, meter)
                self._imitate("base", policy, rendered[half:], model.base.sft, meter)
                save_policy(policy, folder)

        inputs = {
            "code": self._code,
            "tasks": self._tasks_digest(tasks),
            "model": self.config["model"],
            **self._shared(),
        }
        return self.cache.stage("base", inputs, make)

    @cached_property
    def allocation(self) -> Allocation:
        """The router's decision on :attr:`routed`."""
        return load_allocation(self.allocation_stage.path / "allocation.json")

    @cached_property
    def allocation_stage(self) -> Stage:
        """The folder with the allocation and whatever else the router left."""
        trajectories = self.routed

        def make(folder: Path) -> None:
            with self.ledger.phase("route") as meter:
                policy = self._load(self.base.path)
                with self._progress("route", len(trajectories)) as progress:
                    context = RoutingContext(
                        policy=policy,
                        renderer=self._renderer(policy),
                        play=self._play_function(policy, meter, progress.update),
                        meter=meter,
                        seed=self.seed,
                        folder=folder,
                        progress=progress.update,
                    )
                    allocation = self.router.route(trajectories, context)
            cost = {name: getattr(self.ledger.rows[-1], name) for name in QUANTITIES}
            save_allocation(folder / "allocation.json", replace(allocation, cost=cost), trajectories)

        router = self.config["router"]
        inputs = {
            "code": self._code + source_digest(get_class(router["_target_"]).__module__),
            "base": self.base.digest,
            "tasks": self._tasks_digest([trajectory.task_id for trajectory in trajectories]),
            "router": router,
            "generation": self.config["generation"],
            **self._shared(),
        }
        return self.cache.stage("route", inputs, make, resumable=True)

    @cached_property
    def after_sft(self) -> Stage:
        """The base model after imitating its half."""
        settings = self.sft
        if settings is None:
            return self.base
        chosen = self._half("sft")

        def make(folder: Path) -> None:
            with self.ledger.phase("sft") as meter:
                policy = self._trainable(self.base.path)
                renderer = self._renderer(policy)
                self._imitate("sft", policy, [renderer.render(episode) for episode in chosen], settings, meter)
                save_policy(policy, folder)

        inputs = {
            "code": self._code,
            "start": self.base.digest,
            "tasks": self._tasks_digest(tasks_of(chosen)),
            "sft": self.config["sft"],
            **self._shared(),
        }
        return self.cache.stage("sft", inputs, make)

    @cached_property
    def after_rl(self) -> Stage:
        """The model after SFT and exploration of the other half's tasks."""
        settings, start = self.rl, self.after_sft
        assert settings is not None
        tasks = tasks_of(self._half("rl"))

        def make(folder: Path) -> None:
            from prism_bench.algorithms.grpo import explore

            with (
                self.ledger.phase("rl") as meter,
                self._progress("rl", settings.steps) as progress,
                self._trainer_folder() as trainer_folder,
            ):
                policy = self._trainable(start.path)
                renderer = self._renderer(policy)
                with self._player(self.config["env"]["train_split"], renderer) as player:
                    explore(
                        policy,
                        tasks,
                        settings,
                        player=player,
                        engine=self.engine,
                        max_reply_tokens=self.model.max_reply_tokens,
                        source="policy:rl",
                        seed=self.seed,
                        folder=trainer_folder,
                        meter=meter,
                        report=ReportingCallback("rl", self.logger.log, progress.update),
                    )
                save_policy(policy, folder)

        inputs = {
            "code": self._code,
            "start": start.digest,
            "tasks": self._tasks_digest(tasks),
            "rl": self.config["rl"],
            "generation": self.config["generation"],
            "env": self.config["env"]["make"],
            **self._shared(),
        }
        return self.cache.stage("rl", inputs, make)

    def _evaluate(self, name: str, stage: Stage, split: str) -> list[Outcome]:
        tasks = self._eval_tasks(split)

        def make(folder: Path) -> None:
            with self.ledger.phase("eval") as meter, self._progress(f"eval {name}", len(tasks)) as progress:
                policy = self._load(stage.path)
                renderer = self._renderer(policy)
                with (
                    self._player(split, renderer) as player,
                    self.engine.start(policy, stage.path, renderer.end_token_id) as backend,
                ):
                    episodes = evaluate(
                        backend,
                        player,
                        tasks,
                        self.eval,
                        max_reply_tokens=self.model.max_reply_tokens,
                        seed=self.seed,
                        source=f"policy:{weights_digest(policy.model)}",
                        meter=meter,
                        progress=progress.update,
                    )
                save_trajectories(episodes, folder / "episodes.parquet")

        inputs = {
            "code": self._code,
            "checkpoint": stage.digest,
            "tasks": self._tasks_digest(tasks),
            "eval": self.config["eval"],
            "generation": self.config["generation"],
            "env": self.config["env"]["make"] | {"split": split},
            **self._shared(),
        }
        episodes = load_trajectories(self.cache.stage("eval", inputs, make).path / "episodes.parquet")
        return [
            Outcome(name, split, task, str(e.task_type), e.success, e.score, len(e.steps))
            for task, e in zip(tasks, episodes, strict=True)
        ]

    def _collect(self, tasks: Sequence[str]) -> list[Trajectory]:
        """Return the expert's successful episodes of ``tasks``."""
        env = self.config["env"]

        def make(folder: Path) -> None:
            with self.ledger.phase("collect") as meter, self._progress("collect", len(tasks)) as progress:
                environment = self._make(env["train_split"])
                played = play_expert(
                    environment, env["expert"], tasks, meter, self.prompt.needs_admissible, progress.update
                )
                save_trajectories((episode for episode in played if episode.success), folder / "trajectories.parquet")

        inputs = {
            "code": self._code,
            "env": env["make"] | {"split": env["train_split"]},
            "expert": env["expert"],
            "tasks": self._tasks_digest(tasks),
            "admissible": self.prompt.needs_admissible,
        }
        episodes = load_trajectories(self.cache.stage("collect", inputs, make).path / "trajectories.parquet")
        if not episodes:
            raise InputError(f"the expert {env['expert']!r} solved none of {len(tasks)} tasks; choose another one")
        return episodes

    # What the stages share

    def _whole_number(self, name: str, least: int) -> int:
        value = self.config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{name}={value} is not possible; give a whole number from {least} on")
        return value

    def _imitate(
        self, phase: str, policy: Policy, episodes: Sequence[Rendered], settings: SFTSettings, meter: Meter
    ) -> None:
        from prism_bench.algorithms.sft import imitate

        with self._progress(phase, 1) as progress, self._trainer_folder() as folder:
            report = ReportingCallback(phase, self.logger.log, progress.update)
            imitate(policy, episodes, settings, seed=self.seed, folder=folder, meter=meter, report=report)

    @contextmanager
    def _trainer_folder(self) -> Iterator[Path]:
        """Yield a folder for a trainer's own files, which goes afterwards if nothing was written there."""
        folder = self.folder / "trainer"
        try:
            yield folder
        finally:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _texts(self, episodes: Sequence[Trajectory]) -> Iterator[str]:
        """Yield what a policy reads and writes, turn by turn."""
        for episode in episodes:
            previous = None
            for step in episode.steps:
                shown = step.observation, step.admissible_actions
                yield self.prompt.turn(*shown, previous)
                yield self.prompt.reply(step.action, *shown)
                previous = step.observation

    def _half(self, stage: Any) -> list[Trajectory]:
        return [self.routed[number] for number in self.allocation.indices(stage)]

    def _play_function(
        self, policy: Policy, meter: Meter, progress: Callable[[int], None]
    ) -> Callable[[Sequence[str], int], list[list[Trajectory]]]:
        renderer = self._renderer(policy)

        def play(task_ids: Sequence[str], k: int) -> list[list[Trajectory]]:
            temperature = self.rl.temperature if self.rl is not None else 1.0
            sampling = Sampling(temperature, self.model.max_reply_tokens, self.seed)
            repeated = [task for task in task_ids for _ in range(k)]
            with (
                self._player(self.config["env"]["train_split"], renderer) as player,
                self.engine.start(policy, self.base.path, renderer.end_token_id) as backend,
            ):
                episodes = player.play(
                    backend, repeated, sampling, "policy:base", meter, lambda done: progress(done // k)
                )
            return [[e.trajectory for e in episodes[first : first + k]] for first in range(0, len(episodes), k)]

        return play

    def _make(self, split: str) -> Environment:
        return instantiate(self.config["env"]["make"], split=split)  # type: ignore[no-any-return]

    def _player(self, split: str, renderer: Renderer) -> EpisodePlayer:
        make = instantiate(self.config["env"]["make"], split=split, _partial_=True)
        return EpisodePlayer(make, renderer, self.model.batch_size, self.workers)

    def _eval_tasks(self, split: str) -> list[str]:
        tasks = list(self._make(split).unwrapped.task_ids[: self.eval.tasks])  # type: ignore[attr-defined]
        if not tasks:
            raise InputError(f"the split {split} has no task to evaluate on; check env.eval_splits and eval.tasks")
        return tasks

    def _train_tasks(self) -> Sequence[str]:
        tasks: Sequence[str] = self._make(self.config["env"]["train_split"]).unwrapped.task_ids  # type: ignore[attr-defined]
        if not tasks:
            raise InputError(f"the split {self.config['env']['train_split']} has no tasks")
        return tasks

    def _load(self, path: Path) -> Policy:
        return load_policy(path, dtype=self.model.dtype, device=self.model.device, projections=self.model.projections)

    def _trainable(self, path: Path) -> Policy:
        torch.manual_seed(self.seed)
        lora = self.model.lora if isinstance(self.model, PretrainedModel) else None
        return with_lora(self._load(path), lora)

    def _renderer(self, policy: Policy) -> Renderer:
        return Renderer(policy.tokenizer, self.prompt, self.model.max_length)

    def _shared(self) -> dict[str, Any]:
        model = self.config["model"]
        return {
            "seed": self.seed,
            "prompt": self.config["prompt"],
            "runtime": {key: model[key] for key in ("max_length", "max_reply_tokens", "device", "dtype")},
        }

    def _tasks_digest(self, tasks: Sequence[str | None]) -> str:
        env = self.config["env"]
        return inputs_digest({"tasks": list(tasks), "env": env["make"], "split": env["train_split"]})

    def _progress(self, phase: str, total: int) -> PhaseProgress:
        return PhaseProgress(self.console, phase, total)

    def _announce(self) -> None:
        """Say up front what an environment leaves out; the whole protocol is printed with the result."""
        if restricted := self.protocol.get("restricted"):
            self.console.print(f"Restricted {restricted}", style="dim", highlight=False, markup=False)


def _all_tokens(episode: Rendered) -> Rendered:
    """Make every token a target, as in pretraining."""
    return Rendered(episode.input_ids, [*episode.input_ids], episode.steps)
