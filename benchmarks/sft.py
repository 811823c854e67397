"""Cost of an SFT update, by the batching of its demonstrations and by the positions of the LM head.

    python benchmarks/sft.py [--updates 40] [--repeats 3] [--layers 30]

The first table batches the demonstrations of an update in four ways, with the default model: (a) 32 random ones, padded
to the longest; (b) 32 of similar length (``train_sampling_strategy: group_by_length``), in parts of at most 16,384
tokens; (c) 32 random ones in parts of at most 1,024 tokens, sorted by length, as in the configuration; (d) 32 random
ones end to end in one row: TRL's padding-free batches, the same as with its packing.

The second table takes (c) and evaluates the LM head at every token, as TRL does without Triton, or at the targets only.
The models are the default one and a Llama with the sizes of SmolLM2-135M and its vocabulary of 49,152 words. The latter
has ``--layers`` of its 30 layers and four demonstrations per update.

Demonstrations are expert episodes of generated ALFWorld games; the models have random weights. The ways take turns,
times are medians, and ratios medians of the ratios within each turn.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM

from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.contract import TrainingContext
from prism_bench.algorithms.sft import SFT
from prism_bench.commands.hydra_command import CONF, quieten
from prism_bench.data.rendering import Rendered, Renderer
from prism_bench.data.trajectory import Trajectory
from prism_bench.models.policy import Policy
from prism_bench.models.scratch import create_policy
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.rollouts.expert import run_expert
from prism_bench.rollouts.transformers_backend import TransformersEngine

BATCHES: dict[str, dict[str, Any]] = {
    "(a) random, padded": {"tokens_per_forward": 10**9},
    "(b) of similar length": {"tokens_per_forward": 16_384, "train_sampling_strategy": "group_by_length"},
    "(c) random, in parts of 1,024 tokens": {},
    "(d) random, end to end": {"tokens_per_forward": 10**9, "padding_free": True},
}
HEADS = {"every token (TRL)": False, "targets only": True}
SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49_152,
    "tie_word_embeddings": True,
}


class Bench:
    """Demonstrations, and training runs on them."""

    def __init__(self) -> None:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            self.config = compose("config")
        self.environment = instantiate(self.config.env.make, split="train")
        tasks = self.environment.unwrapped.task_ids[:2048]
        self.episodes: list[Trajectory] = run_expert(self.environment, self.config.env.expert, tasks, Meter("collect"))

    def small(self) -> Policy:
        """Return the default model, untrained."""
        steps = [step for episode in self.episodes for step in episode.steps]
        texts = [text for step in steps for text in (step.observation, step.action)]
        return create_policy(instantiate(self.config.model, _convert_="object"), texts, seed=0)

    def large(self, layers: int) -> Policy:
        """Return a model with a large vocabulary that begins with the tokens of the default model's tokenizer."""
        torch.manual_seed(0)
        tokenizer = self.small().tokenizer
        special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
        return Policy(LlamaForCausalLM(LlamaConfig(num_hidden_layers=layers, **SMOLLM2, **special)), tokenizer)

    def train(self, make: Callable[[], Policy], updates: int, **options: Any) -> dict[str, float]:
        """Train a new policy; return milliseconds an update, the last loss, and the shares of padding and targets."""
        policy = make()
        renderer = Renderer(policy.tokenizer, instantiate(self.config.prompt), self.config.model.max_length)
        rendered: list[Rendered] = [renderer.render(episode) for episode in self.episodes]
        read, losses = [0, 0], [float("nan")]  # tokens and places

        def count(module: Any, args: Any, kwargs: Any) -> None:
            mask = kwargs.get("attention_mask")
            read[0] += kwargs["input_ids"].numel() if mask is None else int(mask.sum())
            read[1] += kwargs["input_ids"].numel()

        policy.model.base_model.register_forward_pre_hook(count, with_kwargs=True)
        settings = {**self.config.sft, "max_steps": updates, **options}
        settings.pop("_target_")
        with tempfile.TemporaryDirectory() as folder:
            context = TrainingContext(
                phase="sft",
                renderer=renderer,
                runner=RolloutRunner(lambda: self.environment, renderer, 1),
                engine=TransformersEngine(),
                max_completion_tokens=8,
                meter=Meter("sft"),
                seed=0,
                folder=Path(folder),
                log=lambda values, update: losses.append(values.get("sft/loss", losses[-1])),
            )
            start = time.perf_counter()
            SFT(**settings).fit(policy, rendered, context)
            seconds = time.perf_counter() - start
        targets = sum(episode.agent_tokens for episode in rendered) / sum(len(e.input_ids) for e in rendered)
        return {
            "ms": 1000 * seconds / updates,
            "padding": 1 - read[0] / read[1],
            "loss": losses[-1],
            "targets": targets,
        }


@contextmanager
def head(targets_only: bool) -> Iterator[None]:
    """Let SFT evaluate the LM head at the targets only, or as TRL does."""
    if targets_only:
        yield
        return
    with mock.patch("prism_bench.algorithms.sft.add_target_head", lambda model, meter: None):
        yield


def compare(ways: dict[str, Callable[[], dict[str, float]]], repeats: int) -> list[tuple[str, dict[str, float]]]:
    """Return the medians of each way, with its ``ratio`` to the first way within each turn."""
    turns = [{name: way() for name, way in ways.items()} for _ in range(repeats)]
    first = next(iter(ways))
    rows = []
    for name in ways:
        values = {key: statistics.median(turn[name][key] for turn in turns) for key in turns[0][name]}
        rows.append(
            (name, values | {"ratio": statistics.median(turn[name]["ms"] / turn[first]["ms"] for turn in turns)})
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", type=int, default=30)
    arguments = parser.parse_args()
    quieten()
    bench, console = Bench(), Console(width=None if sys.stdout.isatty() else 120)
    for options in BATCHES.values():
        bench.train(bench.small, 5, **options)

    table = Table("batches", title=f"{arguments.updates} updates of 32 demonstrations", title_justify="left")
    for column in ("ms an update", "x (a)", "padding", "loss"):
        table.add_column(column, justify="right")
    ways = {name: partial(bench.train, bench.small, arguments.updates, **options) for name, options in BATCHES.items()}
    for name, row in compare(ways, arguments.repeats):
        table.add_row(name, f"{row['ms']:,.0f}", f"{row['ratio']:.2f}", f"{row['padding']:.1%}", f"{row['loss']:.3f}")
    console.print(table)

    table = Table("model", "LM head at", title="Where the LM head is evaluated", title_justify="left")
    for column in ("ms an update", "x", "targets", "loss"):
        table.add_column(column, justify="right")
    models: dict[str, tuple[Callable[[], Policy], int, dict[str, int]]] = {
        "default": (bench.small, arguments.updates, {}),
        f"49,152 words, {arguments.layers} layers": (
            partial(bench.large, arguments.layers),
            1,
            {"per_device_train_batch_size": 4},
        ),
    }
    for name, (make, updates, options) in models.items():

        def way(
            targets_only: bool, make: Any = make, updates: int = updates, options: Any = options
        ) -> dict[str, float]:
            with head(targets_only):
                return bench.train(make, updates, **options)

        for where, row in compare({where: partial(way, only) for where, only in HEADS.items()}, arguments.repeats):
            numbers = f"{row['ms']:,.0f}", f"{row['ratio']:.2f}", f"{row['targets']:.1%}", f"{row['loss']:.4f}"
            table.add_row(name, where, *numbers)
    console.print(table)


if __name__ == "__main__":
    main()
