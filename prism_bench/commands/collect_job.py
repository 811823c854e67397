"""The job of ``prism-bench collect``: episodes of an expert or of a policy, written to a file, with success rates.

Rollouts are made with the code of a run (:mod:`prism_bench.rollouts.episodes`), so a run would measure the same pass
rates.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prism_bench.accounting.ledger import Ledger
from prism_bench.accounting.meter import LedgerRow
from prism_bench.data.prompts import Prompt
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Trajectory, save_trajectories
from prism_bench.environments.contract import TextEnvironment
from prism_bench.errors import InputError
from prism_bench.files import writing
from prism_bench.models.checkpoints import CheckpointError
from prism_bench.models.policy import ModelSettings, Policy, weights_digest
from prism_bench.results.progress import PhaseProgress
from prism_bench.results.statistics import Estimate, summarise
from prism_bench.results.tables import lost_words
from prism_bench.results.units import count, duration
from prism_bench.rollouts.backend import Engine, Sampling
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.rollouts.expert import run_expert
from prism_bench.run_settings import EnvironmentSettings, RunSettings, read
from prism_bench.run_tasks import NO_EXPERT
from prism_bench.settings.configuration import Configuration, group_of, resolve
from prism_bench.settings.making import make
from prism_bench.settings.types import Count, Group, NotNegative, Seed, Text
from prism_bench.stages.tools import environment_maker

Progress = Callable[[int], None]


@dataclass(frozen=True)
class CollectSettings:
    """Settings of the command, see ``conf/collect.yaml``."""

    policy: Text | None
    split: Text
    out: Text | None
    tasks: Count | None
    episodes: Count
    temperature: NotNegative
    seed: Seed
    only_successes: bool | None
    model: Group
    generation: Group
    prompt: Group
    env: EnvironmentSettings
    modules: Sequence[Text] = ()


def collect(config: DictConfig, console: Console, overrides: Sequence[str] = ()) -> list[Trajectory]:
    """Roll out, print success rates, and return the episodes that were written to ``config.out``.

    Args:
        config: ``conf/collect.yaml``, composed.
        console: where progress and results are shown.
        overrides: the settings that the user gave.

    Raises:
        InputError: a setting is invalid or has no effect here, there is nothing to write, or environment, checkpoint or
            prompt refuse their input.
    """
    configuration = _without_choices_for_runs(resolve(config), overrides)
    settings = read(CollectSettings, configuration)
    place, name = configuration.place, settings.policy
    if name is None:
        raise InputError(f"{NO_EXPERT}; name a checkpoint with policy=FOLDER")
    model: ModelSettings = make(settings.model, place.below("model"), ModelSettings)
    prompt: Prompt = make(settings.prompt, place.below("prompt"), Prompt)
    engine: Engine = make(settings.generation, place.below("generation"), Engine)
    out = _destination(settings.out)
    make_environment = environment_maker(settings.env.make, settings.split, place.below("env").below("make"))
    with closing(make_environment()) as environment:
        base = environment.unwrapped
        assert isinstance(base, TextEnvironment)
        base.check_ready()
        task_ids = [task_id for task_id in base.task_ids[: settings.tasks] for _ in range(settings.episodes)]
        refusal = _no_expert(base, name)
        ledger = Ledger([model.device])
        with ledger.phase("collect") as meter, PhaseProgress(console, "collect", len(task_ids), "episodes") as progress:
            if refusal is None:
                episodes = run_expert(
                    environment,
                    name,
                    task_ids,
                    meter,
                    prompt.needs_admissible,
                    progress.update,
                    rules=settings.env,
                    make=make_environment,
                )
            else:
                policy = _load(name, model, refusal)
                renderer = Renderer(policy.tokenizer, prompt, model.max_length)
                sampling = Sampling(float(settings.temperature), model.max_completion_tokens, settings.seed)
                source = f"policy:{weights_digest(policy.model)}"
                with (
                    RolloutRunner(
                        make_environment, renderer, model.batch_size, settings.env.workers, settings.env
                    ) as runner,
                    engine.start(policy, name, renderer.end_token_id) as backend,
                ):
                    rolled_out = runner.run(backend, task_ids, sampling, source, meter, progress.update)
                episodes = [episode.trajectory for episode in rolled_out]
    only_successes = refusal is None if settings.only_successes is None else settings.only_successes
    kept = [episode for episode in episodes if episode.success or not only_successes]
    console.print(_rates(episodes, f"{name} on {settings.split}"))
    console.print(_spent(ledger.rows[-1]), highlight=False)
    if not kept:
        raise InputError(
            f"none of {len(episodes)} episodes succeeded, so nothing was written; "
            "only_successes=false keeps failures too"
        )
    save_trajectories(kept, out)
    left_out = f"; {len(episodes) - len(kept):,} failures left out" if len(kept) < len(episodes) else ""
    console.print(f"{len(kept):,} episodes written to {out}{left_out}", markup=False, highlight=False, soft_wrap=True)
    return kept


def _without_choices_for_runs(configuration: Configuration, overrides: Sequence[str]) -> Configuration:
    """Return the configuration without settings of runs alone, which an environment may choose beside its own.

    Raises:
        InputError: the user chose one of them.
    """
    of_runs = {field.name for field in fields(RunSettings)} - {field.name for field in fields(CollectSettings)}
    for override in overrides:
        if group_of(override) in of_runs:
            raise InputError(f"{override} is a setting of runs and has no effect on what is collected; leave it out")
    return replace(configuration, values={k: value for k, value in configuration.values.items() if k not in of_runs})


def _destination(out: str | None) -> Path:
    if out is None:
        raise InputError("say where to write the episodes: out=FILE.parquet")
    path = Path(out).expanduser().absolute()
    if path.is_dir():
        raise InputError(f"out={out} is a folder; name a file in it, such as out={out}/episodes.parquet")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _no_expert(environment: TextEnvironment, name: str) -> str | None:
    """Return the reason why the environment has no expert of this name, None if it has one."""
    try:
        environment.expert(name)
    except InputError as refusal:
        return str(refusal)
    return None


def _load(checkpoint: str, model: ModelSettings, no_expert: str) -> Policy:
    """Load a policy; if there is none, say that there is no expert of this name, either."""
    try:
        return model.load(checkpoint)
    except CheckpointError as error:
        if Path(checkpoint).expanduser().is_dir():
            raise
        raise InputError(f"{error} (nor is it an expert: {no_expert})") from None


def _rates(episodes: Sequence[Trajectory], title: str) -> Table:
    types = [str(episode.task_type) for episode in episodes]
    columns = {"success": summarise([episode.success for episode in episodes], types)}
    if any(episode.score != episode.success for episode in episodes):
        columns["score"] = summarise([episode.score for episode in episodes], types)
    table = Table(title=f"{escape(title)}, % with 95 % interval", title_justify="left")
    table.add_column("task type")
    for header in ("episodes", *columns):
        table.add_column(header, justify="right")
    for group, success in columns["success"].items():
        cells = [_percent(estimates[group]) for estimates in columns.values()]
        table.add_row(escape(group), f"{success.n:,}", *cells, style="bold" if group == "all" else None)
    return table


def _percent(estimate: Estimate) -> str:
    return escape(f"{100 * estimate.mean:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]")


def _spent(row: LedgerRow) -> str:
    tokens = f", {count(row.generated_tokens)} tokens generated" if row.generated_tokens else ""
    lost = f"; {lost_words(row)}, since the environment failed" if row.lost_episodes else ""
    return f"{count(row.env_steps)} steps{tokens} in {duration(row.seconds)}{lost}"
