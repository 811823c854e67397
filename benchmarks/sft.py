"""How should SFT batch its trajectories? The default base stage's updates, in four ways.

    python benchmarks/sft.py [--updates 60] [--repeats 3]

(a) TRL as it is: 32 random trajectories, padded to the longest; (b) 32 of similar length (``train_sampling_strategy:
group_by_length``), in parts of at most 16,384 tokens; (c) 32 random ones in parts of at most 1,024 tokens, sorted by
length, which is what the configuration chooses; (d) TRL's padding-free batches: 32 random ones end to end in one row,
which is what its packing makes of them too. All take the same number of updates on the expert's episodes of generated
ALFWorld games with the default model; they take turns, and ratios are medians of the ratios within each turn.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from prism_bench.accounting.ledger import Meter
from prism_bench.algorithms.callbacks import ReportingCallback
from prism_bench.algorithms.settings import SFTSettings
from prism_bench.algorithms.sft import imitate
from prism_bench.commands.hydra_command import CONF, quieten
from prism_bench.data.rendering import Rendered, Renderer
from prism_bench.models.policy import create_policy
from prism_bench.rollouts.expert import play_expert

WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "(a) random, padded": (10**9, {"train_sampling_strategy": "random"}),
    "(b) of similar length": (16_384, {"train_sampling_strategy": "group_by_length"}),
    "(c) random, in parts of 1,024 tokens": (1_024, {"train_sampling_strategy": "random"}),
    "(d) random, end to end": (10**9, {"train_sampling_strategy": "random", "padding_free": True, "max_length": None}),
}


Run = tuple[float, float, float]


def train(config: DictConfig, texts: list[str], episodes: list[Any], way: str, updates: int) -> Run:
    """Return seconds, the share of padding in what the model read, and the last logged loss."""
    policy = create_policy(instantiate(config.model, _convert_="object"), texts, seed=0)
    renderer = Renderer(policy.tokenizer, instantiate(config.prompt), config.model.max_length)
    rendered: list[Rendered] = [renderer.render(episode) for episode in episodes]
    read: list[int] = []
    real: list[int] = []
    losses: list[float] = []

    def count(module: Any, args: Any, kwargs: Any) -> None:
        mask = kwargs.get("attention_mask")
        read.append(kwargs["input_ids"].numel())
        real.append(read[-1] if mask is None else int(mask.sum()))

    policy.model.model.register_forward_pre_hook(count, with_kwargs=True)
    budget, options = WAYS[way]
    settings = SFTSettings(
        learning_rate=2e-3, batch_size=32, tokens_per_batch=budget, options=options | {"max_steps": updates}
    )
    report = ReportingCallback("sft", lambda values, step: losses.append(values.get("sft/loss", float("nan"))))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        imitate(policy, rendered, settings, seed=0, folder=Path(folder), meter=Meter("sft"), report=report)
        return time.perf_counter() - start, 1 - sum(real) / sum(read), losses[-2]  # the last line sums up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    quieten()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config")
    environment = instantiate(config.env.make, split="train")
    episodes = play_expert(environment, config.env.expert, environment.unwrapped.task_ids[:2048], Meter("collect"))
    texts = [text for episode in episodes for step in episode.steps for text in (step.observation, step.action)]
    for way in WAYS:
        train(config, texts, episodes, way, 10)
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    for _ in range(arguments.repeats):
        for way in WAYS:
            runs[way].append(train(config, texts, episodes, way, arguments.updates))
    table = Table(title=f"{arguments.updates} updates of 32 trajectories", title_justify="left")
    for column in ("batches", "ms an update", "x (a)", "padding", "loss"):
        table.add_column(column, justify="left" if column == "batches" else "right")
    first = [seconds for seconds, _, _ in next(iter(runs.values()))]
    for way, results in runs.items():
        seconds = [result[0] for result in results]
        ratio = statistics.median(mine / other for mine, other in zip(seconds, first, strict=True))
        _, padding, loss = results[-1]
        milliseconds = statistics.median(seconds) / arguments.updates * 1000
        table.add_row(way, f"{milliseconds:.0f}", f"{ratio:.2f}", f"{padding:.1%}", f"{loss:.3f}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
