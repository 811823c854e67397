"""The job of ``prism-bench collect``: episodes of an expert or of a policy, written to a file, with success rates.

Rollouts are made with the code of a run (:mod:`prism_bench.rollouts.episodes`), so a run would measure the same pass
rates.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prism_bench.accounting.ledger import Ledger, LedgerRow, Meter
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import Trajectory, save_trajectories
from prism_bench.environments.contract import TextEnvironment
from prism_bench.errors import InputError
from prism_bench.files import writing
from prism_bench.models.checkpoints import CheckpointError
from prism_bench.models.policy import load_policy, weights_digest
from prism_bench.results.progress import PhaseProgress
from prism_bench.results.statistics import Estimate, summarise
from prism_bench.results.tables import lost_words
from prism_bench.results.units import count, duration
from prism_bench.rollouts.answers import Environment
from prism_bench.rollouts.backend import Engine, Sampling
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.rollouts.expert import run_expert
from prism_bench.rollouts.faults import fault_rules
from prism_bench.rollouts.workers import uses_workers

Progress = Callable[[int], None]


def collect(config: DictConfig, console: Console) -> list[Trajectory]:
    """Roll out, print success rates, and return the episodes that were written to ``config.out``.

    Args:
        config: ``conf/collect.yaml``, composed.
        console: where progress and results are shown.

    Raises:
        InputError: a setting is invalid, there is nothing to write, or environment, checkpoint or prompt refuse their
            input.
    """
    out, name = _destination(config.out), str(config.policy)
    if not isinstance(config.temperature, int | float) or config.temperature < 0:
        raise InputError(f"temperature={config.temperature} is not possible; give a number from 0 on")
    make: Callable[[], Environment] = instantiate(config.env.make, split=config.split, _partial_=True)
    environment = make()
    base = environment.unwrapped
    assert isinstance(base, TextEnvironment)
    chosen = base.task_ids[: None if config.tasks is None else _at_least_one("tasks", config.tasks)]
    task_ids = [task_id for task_id in chosen for _ in range(_at_least_one("episodes", config.episodes))]
    refusal = _no_expert(base, name)
    ledger = Ledger([config.model.device])
    with ledger.phase("collect") as meter, PhaseProgress(console, "collect", len(task_ids), "episodes") as progress:
        if refusal is None:
            admissible = instantiate(config.prompt).needs_admissible
            episodes = run_expert(
                environment,
                name,
                task_ids,
                meter,
                admissible,
                progress.update,
                rules=fault_rules(config.env),
                make=make,
            )
        else:
            episodes = _roll_out_checkpoint(config, make, task_ids, refusal, meter, progress.update)
    only_successes = refusal is None if config.only_successes is None else config.only_successes
    kept = [episode for episode in episodes if episode.success or not only_successes]
    console.print(_rates(episodes, f"{name} on {config.split}"))
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


def _destination(out: Any) -> Path:
    if out is None:
        raise InputError("say where to write the episodes: out=FILE.parquet")
    path = Path(str(out)).expanduser().absolute()
    if path.is_dir():
        raise InputError(f"out={out} is a folder; name a file in it, such as out={out}/episodes.parquet")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _at_least_one(name: str, value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise InputError(f"{name}={value} is not possible; give a whole number from 1 on")
    return value


def _no_expert(environment: TextEnvironment, name: str) -> str | None:
    """Return the reason why the environment has no expert of this name, None if it has one."""
    try:
        environment.expert(name)
    except InputError as refusal:
        return str(refusal)
    return None


def _roll_out_checkpoint(
    config: DictConfig,
    make: Callable[[], Environment],
    task_ids: Sequence[str],
    no_expert: str,
    meter: Meter,
    progress: Progress,
) -> list[Trajectory]:
    model, name = config.model, str(config.policy)
    try:
        policy = load_policy(name, dtype=model.dtype, device=model.device)
    except CheckpointError as error:
        if Path(name).expanduser().is_dir():
            raise
        raise InputError(f"{error} (nor is it an expert: {no_expert})") from None
    renderer = Renderer(policy.tokenizer, instantiate(config.prompt), model.max_length)
    sampling = Sampling(float(config.temperature), model.max_completion_tokens, config.seed)
    source = f"policy:{weights_digest(policy.model)}"
    engine: Engine = instantiate(config.generation, _convert_="object")
    with (
        RolloutRunner(make, renderer, model.batch_size, uses_workers(config.env), fault_rules(config.env)) as runner,
        engine.start(policy, name, renderer.end_token_id) as backend,
    ):
        return [episode.trajectory for episode in runner.run(backend, task_ids, sampling, source, meter, progress)]


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
