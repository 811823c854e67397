"""The job of ``prism-bench probe``: gradient norms of a file of trajectories under any checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from prism_bench.accounting.ledger import Ledger
from prism_bench.data.prompts import Prompt, check_thoughts
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import load_trajectories
from prism_bench.errors import InputError
from prism_bench.models.policy import PretrainedModel
from prism_bench.probe.concentration import Concentration, concentration
from prism_bench.probe.plot import plot_probe
from prism_bench.probe.record import probe_trajectories
from prism_bench.results.progress import PhaseProgress
from prism_bench.results.units import count, duration
from prism_bench.routing.router import split
from prism_bench.run_settings import read
from prism_bench.settings.configuration import resolve
from prism_bench.settings.making import make
from prism_bench.settings.types import Count, Fraction, Group, Text


@dataclass(frozen=True)
class ProbeSettings:
    """Settings of the command, see ``conf/probe.yaml``."""

    trajectories: Text | None
    out: Text | None
    concentration: Concentration
    quantile: Fraction
    tokens_per_batch: Count
    checkpointing: bool
    model: Group
    prompt: Group
    modules: Sequence[Text] = ()


def probe(config: DictConfig, console: Console) -> None:
    """Write ``config.out`` and the plot beside it, and print the cost.

    Args:
        config: ``conf/probe.yaml``, composed.
        console: where progress and results are shown.

    Raises:
        InputError: a setting is missing or invalid, the model cannot be probed, or checkpoint, trajectories or prompt
            refuse their input.
    """
    configuration = resolve(config)
    settings = read(ProbeSettings, configuration)
    place = configuration.place
    model: PretrainedModel = make(settings.model, place.below("model"), PretrainedModel)
    prompt: Prompt = make(settings.prompt, place.below("prompt"), Prompt)
    out = _file("out", settings.out, ".parquet")
    trajectories = load_trajectories(_file("trajectories", settings.trajectories, ".parquet"))
    check_thoughts(prompt, trajectories, f"trajectories={settings.trajectories}")
    split(range(len(trajectories)), quantile=settings.quantile)  # refuses too few of them before the probe, not after
    policy = model.load(model.path)
    renderer = Renderer(policy.tokenizer, prompt, model.max_length)
    ledger = Ledger([model.device])
    with ledger.phase("probe") as meter, PhaseProgress(console, "probe", len(trajectories), "trajectories") as progress:
        probed = probe_trajectories(
            policy,
            renderer,
            trajectories,
            out,
            tokens_per_batch=settings.tokens_per_batch,
            meter=meter,
            checkpointing=settings.checkpointing,
            progress=progress.update,
        )
    row = ledger.rows[-1]
    layers, columns = probed.norms.shape[1:]
    console.print(
        f"{len(trajectories):,} trajectories, {layers} layers of {columns} matrices: "
        f"{count(row.prefill_tokens)} tokens, {count(row.flops)} FLOPs in {duration(row.seconds)}",
        highlight=False,
    )
    scores = concentration(probed.norms, settings.concentration)
    allocation = split(scores, quantile=settings.quantile)
    plot = out.with_suffix(".png")
    groups = {name: allocation.indices(name) for name in ("sft", "rl")}
    plot_probe(probed, scores, groups, allocation.threshold, settings.concentration, plot)
    console.print(
        f"{settings.concentration} {scores.min():.4g} to {scores.max():.4g}; at most {allocation.threshold:.4g}: "
        f"{len(allocation.indices('sft')):,} trajectories to SFT, {len(allocation.indices('rl')):,} to RL",
        highlight=False,
    )
    console.print(f"norms: {out}\nplot: {plot}", markup=False, highlight=False, soft_wrap=True)


def _file(name: str, value: str | None, suffix: str) -> Path:
    path = Path(value or "").expanduser().absolute()
    if value is None or path.suffix != suffix:
        raise InputError(f"{name}={value} is not possible; name a file that ends in {suffix}: {name}=FILE{suffix}")
    return path
