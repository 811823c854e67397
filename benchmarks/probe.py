"""Cost of the probe, compared with the paper's loop and with one plain training pass over the same tokens.

    python benchmarks/probe.py [--models tiny 100m] [--tokens 2048] [--repeats 3]
    python benchmarks/probe.py --models tiny SMOLLM2 --tokens 1024 2048 8192 --methods c
    python benchmarks/probe.py --models 8b --device cuda

(a) the paper's loop: trajectory by trajectory a forward pass, a backward pass, and the norms of the parameters'
gradients; (b) a forward and a backward pass of the same batches, padded alike, which adds up the parameters' gradients
as an update of training would; (c) ours; (d) ours with recomputed layers. ``tiny`` is the default model, untrained, on
the expert's episodes of generated ALFWorld games; ``100m`` and ``8b`` (the sizes of Qwen3-8B, in bfloat16) have random
weights; any other name is a checkpoint's folder. All but ``tiny`` get random episodes of 120 to 480 tokens, a fifth of
them the agent's. ``--tokens`` are those of a batch, padding included; each number has a table.

The methods take turns in one process; times are medians, ratios medians of the ratios within each turn. Memory is the
peak above the memory of model and data, for each method in a process of its own (on a CPU as Linux counts it).
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from prism_bench.accounting.flops import training_flops
from prism_bench.accounting.meter import Meter
from prism_bench.commands.hydra_command import CONF, quieten
from prism_bench.data.batching import groups_within_budget
from prism_bench.data.rendering import IGNORED, Rendered, Renderer
from prism_bench.models.decoder import model_shape
from prism_bench.models.precision import to_device
from prism_bench.models.scratch import create_policy
from prism_bench.probe.gradients import gradient_norms
from prism_bench.probe.projections import find_matrices
from prism_bench.rollouts.expert import run_expert

METHODS = {"a": "paper's loop", "b": "plain batches", "c": "ours", "d": "ours, recomputing"}
SIZES = {
    "100m": {
        "model_type": "llama",
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "vocab_size": 32_000,
        "tie_word_embeddings": True,
    },
    "8b": {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "intermediate_size": 12_288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
    },
}
EPISODES = {"tiny": 512, "100m": 8, "8b": 64}
OF_A_FOLDER = 24


def load(name: str, device: str) -> tuple[PreTrainedModel, list[Rendered]]:
    """Return a model and its episodes."""
    if name == "tiny":
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config")
        environment = instantiate(config.env.make, split="train")
        tasks = environment.unwrapped.task_ids[: EPISODES[name]]
        episodes = run_expert(environment, config.env.expert, tasks, Meter("collect"))
        texts = [text for episode in episodes for step in episode.steps for text in (step.observation, step.action)]
        policy = create_policy(instantiate(config.model, _convert_="object"), texts, seed=0)
        renderer = Renderer(policy.tokenizer, instantiate(config.prompt), config.model.max_length)
        to_device(policy.model, device, None)
        return policy.model, [renderer.render(episode) for episode in episodes]
    torch.manual_seed(0)
    with torch.device(device):
        dtype = torch.bfloat16 if name == "8b" else torch.float32
        if name in SIZES:
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**SIZES[name]), dtype=dtype)
        else:
            model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
    to_device(model, device, None)
    rng = np.random.default_rng(0)
    rendered = []
    for length in rng.integers(120, 481, EPISODES.get(name, OF_A_FOLDER)):
        ids = rng.integers(0, model.config.vocab_size, length)
        rendered.append(Rendered(ids.tolist(), np.where(rng.random(length) < 0.2, ids, IGNORED).tolist(), 1))
    return model, rendered


def papers_loop(model: PreTrainedModel, episodes: list[Rendered], budget: int) -> None:
    weights = [matrix.module.weight for layer in find_matrices(model) for matrix in layer]
    for episode in episodes:
        ids, labels = (torch.tensor([row], device=model.device) for row in (episode.input_ids, episode.labels))
        model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        torch.stack([weight.grad.norm() for weight in weights]).tolist()
        model.zero_grad()


def plain_batches(model: PreTrainedModel, episodes: list[Rendered], budget: int) -> None:
    for batch in groups_within_budget([len(episode.input_ids) for episode in episodes], budget):
        width = max(len(episodes[number].input_ids) for number in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        labels = torch.full_like(ids, IGNORED)
        for row, number in enumerate(batch):
            ids[row, : len(episodes[number].input_ids)] = torch.tensor(episodes[number].input_ids)
            labels[row, : len(episodes[number].labels)] = torch.tensor(episodes[number].labels)
        model(input_ids=ids.to(model.device), labels=labels.to(model.device), use_cache=False).loss.backward()
    model.zero_grad()


def ours(model: PreTrainedModel, episodes: list[Rendered], budget: int, checkpointing: bool = False) -> None:
    gradient_norms(model, episodes, tokens_per_batch=budget, meter=Meter("route"), checkpointing=checkpointing)


def method(key: str) -> Callable[[PreTrainedModel, list[Rendered], int], None]:
    return {"a": papers_loop, "b": plain_batches, "c": ours, "d": lambda *given: ours(*given, checkpointing=True)}[key]


def seconds(key: str, model: PreTrainedModel, episodes: list[Rendered], budget: int) -> float:
    start = time.perf_counter()
    method(key)(model, episodes, budget)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(key: str, name: str, device: str, budget: int) -> float:
    """Return the peak in MiB above model and data, in a process that has done nothing else."""
    model, episodes = load(name, device)
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        method(key)(model, episodes, budget)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    method(key)(model, episodes, budget)
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 2**10 - before / 2**20


def measure(name: str, device: str, budget: int, keys: Sequence[str], repeats: int, console: Console) -> None:
    command = [sys.executable, __file__, "--device", device, "--models", name, "--tokens", str(budget), "--peak"]
    # First, while the device is empty.
    memory = {key: float(subprocess.check_output([*command, key], text=True)) for key in keys}
    model, episodes = load(name, device)
    tokens = sum(len(episode.input_ids) for episode in episodes)
    for key in keys:
        seconds(key, model, episodes[:1], budget)
    times: dict[str, list[float]] = {key: [] for key in keys}
    for _ in range(repeats):
        for key in keys:
            times[key].append(seconds(key, model, episodes, budget))
    size = sum(weight.numel() for weight in model.parameters())
    gradients = sum(weight.numel() * weight.element_size() for weight in model.parameters()) / 2**20
    lengths = [len(episode.input_ids) for episode in episodes]
    targets = [episode.agent_tokens for episode in episodes]
    table = Table(
        title=f"{name}: {size / 1e6:.1f} M parameters, {len(episodes)} episodes, {tokens:,} tokens, {device}; "
        f"parameter gradients {gradients:,.0f} MiB; batches of {budget:,} tokens",
        title_justify="left",
    )
    bases = [base for base in "ab" if base in keys]
    for column in ("method", "us a token", *(f"x ({base})" for base in bases), "peak MiB", "TFLOP/s"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for key in keys:
        ratios = [
            statistics.median(mine / other for mine, other in zip(times[key], times[base], strict=True))
            for base in bases
        ]
        flops = training_flops(
            model_shape(model),
            lengths,
            logits=lengths if key in "ab" else targets,
            weights="all" if key in "ab" else "norms",
            checkpointing=key == "d",
        )
        median = statistics.median(times[key])
        table.add_row(
            f"({key}) {METHODS[key]}",
            f"{median / tokens * 1e6:,.1f}",
            *(f"{ratio:.2f}" for ratio in ratios),
            f"{memory[key]:,.0f}",
            f"{flops / median / 1e12:.3f}",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "100m"], help="tiny, 100m, 8b, or folders")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", nargs="+", type=int, default=[2048], help="of a batch, padding included")
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=METHODS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", choices=METHODS, help="only print the peak memory of one method")
    arguments = parser.parse_args()
    quieten()
    if arguments.peak:
        print(peak(arguments.peak, arguments.models[0], arguments.device, arguments.tokens[0]))
        return
    console = Console(width=None if sys.stdout.isatty() else 140)
    for name in arguments.models:
        for budget in arguments.tokens:
            measure(name, arguments.device, budget, arguments.methods, arguments.repeats, console)


if __name__ == "__main__":
    main()
