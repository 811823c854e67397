"""Speed of SFT, rollouts and GRPO updates with a model of SmolLM2-135M's sizes, against its matrix products alone.

    python benchmarks/smollm2.py [--model SMOLLM2] [--episodes 16] [--repeats 3] [--device cuda --autocast bfloat16]

The episodes are those of the expert on generated ALFWorld games of all task types. With ``--model`` weights and
tokenizer are those of a folder (``prism-bench download smollm2 SMOLLM2``); without it the weights are random, which
changes no time, and a tokenizer that knows every word makes the episodes three times shorter. The *limit* of each case
takes the same matrix products, of the same shapes and in the same order: the linear layers of every block, and the LM
head where it is evaluated, but no attention, norms, masks or tokenizer.

* SFT: updates of four demonstrations, all weights or LoRA of rank 16.
* Rollouts: the episodes at once, turn by turn, with the expert's observations and the model's own completions of up to
  eight tokens. The limit is that of one token at a time, also for drafts.
* GRPO update: the loss and gradient of 16 episodes whose advantage is not zero.

On a CPU each case is measured in one process of two threads, and in two processes of one thread at the same time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import gymnasium
import torch
from peft import LoraConfig
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM
from trl.trainer.utils import add_fused_lm_head

from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.contract import TrainingContext
from prism_bench.algorithms.sft import SFT
from prism_bench.algorithms.target_head import add_target_head, remove_target_head
from prism_bench.commands.hydra_command import quieten
from prism_bench.data.batching import groups_of_similar_length, groups_within_budget
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import IGNORED, Rendered, Renderer
from prism_bench.models.policy import Policy, load_policy, with_lora
from prism_bench.models.precision import to_device
from prism_bench.models.tokenizer import build_tokenizer
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.rollouts.expert import run_expert
from prism_bench.rollouts.transformers_backend import TransformersBackend, TransformersEngine

SIZES = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49_152,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}
LORA = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
COMPLETION = 8
"""Tokens of a completion, the last of which gets no forward pass of its own."""

Timed = tuple[float, float, int]
"""Seconds, seconds of the limit, tokens."""


class Bench:
    """Episodes of the expert as tokens, and a model."""

    def __init__(self, model: str | None, episodes: int, device: str, autocast: str | None) -> None:
        quieten()
        environment = gymnasium.make("envs.alfworld:prism_bench/ALFWorld-v0", preset="full", split="train")
        self.make = lambda: environment
        tasks = environment.unwrapped.task_ids[: 8 * episodes : 8]  # type: ignore[attr-defined]
        self.trajectories = run_expert(environment, "search", tasks, Meter("collect"))
        self.autocast = torch.autocast(device, getattr(torch, autocast or "float32"), enabled=autocast is not None)
        if model is not None:
            policy = load_policy(model, device=device, autocast=autocast)
            self.model, self.tokenizer = policy.model, policy.tokenizer
        else:
            texts = [text for t in self.trajectories for step in t.steps for text in (step.observation, step.action)]
            self.tokenizer = build_tokenizer(texts)
            torch.manual_seed(0)
            ids = {"eos_token_id": self.tokenizer.eos_token_id, "pad_token_id": self.tokenizer.pad_token_id}
            self.model = LlamaForCausalLM(LlamaConfig(**SIZES, **ids, bos_token_id=None))
            to_device(self.model, device, autocast)
        self.renderer = Renderer(self.tokenizer, ActionPrompt(), 2048)
        self.rendered = [self.renderer.render(trajectory) for trajectory in self.trajectories]

    def products(self, tokens: int, logits: int, backward: str = "") -> None:
        """Compute the matrix products of a forward pass.

        Args:
            tokens: that the layers read.
            logits: positions at which the LM head is evaluated.
            backward: also those of the backward pass, ``all`` of them or only those of the ``activations``.
        """
        layer = self.model.model.layers[0]
        parts = [
            *[(module, tokens) for module in layer.modules() if isinstance(module, torch.nn.Linear)] * 30,
            (self.model.lm_head, logits),
        ]
        inputs: dict[tuple[int, int], torch.Tensor] = {}
        with torch.set_grad_enabled(bool(backward)), self.autocast:
            for module, rows in parts:
                weight = module.weight.detach().requires_grad_(backward == "all")
                shape = rows, weight.shape[1]
                given = inputs.setdefault(shape, torch.randn(shape, device=self.model.device)).requires_grad_(
                    bool(backward)
                )
                output = torch.nn.functional.linear(given, weight)
                if backward:
                    output.backward(output.detach())


def sft(bench: Bench, lora: bool) -> Timed:
    """Train on the episodes once, four at a time."""
    policy = with_lora(Policy(bench.model, bench.tokenizer), LORA if lora else None)
    algorithm = SFT(learning_rate=1e-6, per_device_train_batch_size=4, num_train_epochs=1, gradient_checkpointing=False)
    with tempfile.TemporaryDirectory() as folder:
        context = TrainingContext(
            phase="sft",
            renderer=bench.renderer,
            runner=RolloutRunner(bench.make, bench.renderer, 1),
            engine=TransformersEngine(),
            max_completion_tokens=COMPLETION,
            meter=Meter("sft"),
            seed=0,
            folder=Path(folder),
            log=lambda values, update: None,
        )
        seconds = _time(lambda: algorithm.fit(policy, bench.rendered, context))

    def limit() -> None:
        for first in range(0, len(bench.rendered), 4):
            update = bench.rendered[first : first + 4]
            for part in groups_within_budget([len(one.input_ids) for one in update], algorithm.tokens_per_forward):
                chosen = [update[number] for number in part]
                bench.products(*_size(chosen), "activations" if lora else "all")

    return seconds, _time(limit), sum(len(one.input_ids) for one in bench.rendered)


def rollouts(bench: Bench, draft: int) -> Timed:
    """Play the episodes at once; the tokens are those that the model is given or writes."""
    turns = [list(_contexts(one)) for one in bench.rendered]
    backend = TransformersBackend(bench.model, end_token_id=bench.tokenizer.eos_token_id, draft=draft)
    sampling = Sampling(0.0, COMPLETION)
    written: list[list[int]] = []  # lengths of the completions, turn by turn

    def play() -> None:
        for number in range(max(map(len, turns))):
            new = {row: own[number] for row, own in enumerate(turns) if number < len(own)}
            written.append([len(completion.ids) for completion in backend.complete(new, sampling).values()])
            backend.close([row for row, own in enumerate(turns) if len(own) == number + 1])

    def limit() -> None:
        for number, lengths in enumerate(written):
            given = [len(own[number]) + (number > 0) for own in turns if number < len(own)]
            bench.products(sum(given), len(given))
            for place in range(1, max(lengths)):
                rows = sum(length > place for length in lengths)
                bench.products(rows, rows)

    seconds = _time(play)
    return seconds, _time(limit), sum(len(context) for own in turns for context in own) + sum(map(sum, written))


def grpo_update(bench: Bench) -> Timed:
    """Compute the gradient of a GRPO loss over the episodes, in groups of similar length as its trainer does."""
    add_fused_lm_head(bench.model, outputs=("log_probs", "entropy"))
    add_target_head(bench.model, Meter("rl"))
    lengths = [len(one.input_ids) for one in bench.rendered]
    groups = list(groups_of_similar_length(range(len(lengths)), lengths.__getitem__, factor=1.25, slack=8))

    def update() -> None:
        for group in groups:
            tensor = partial(torch.tensor, device=bench.model.device)
            rows = [tensor(bench.rendered[number].input_ids) for number in group]
            targets = [tensor(bench.rendered[number].labels) for number in group]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            labels = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=IGNORED)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            output = bench.model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
            ratio = (output.log_probs - output.log_probs.detach()).exp()
            (ratio * output.label_mask).mean().backward()

    def limit() -> None:
        for group in groups:
            bench.products(*_size([bench.rendered[number] for number in group]), "all")

    try:
        return _time(update), _time(limit), sum(lengths)
    finally:
        remove_target_head(bench.model)


CASES: dict[str, Callable[[Bench], Timed]] = {
    "SFT, all weights": lambda bench: sft(bench, lora=False),
    "SFT, LoRA": lambda bench: sft(bench, lora=True),
    "rollouts": lambda bench: rollouts(bench, draft=0),
    "rollouts, drafts of 4": lambda bench: rollouts(bench, draft=4),
    "GRPO update": grpo_update,
}


def _time(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _size(rendered: Sequence[Rendered]) -> tuple[int, int]:
    """Return the number of tokens and of targets."""
    return sum(len(one.input_ids) for one in rendered), sum(one.agent_tokens for one in rendered)


def _contexts(rendered: Rendered) -> Iterator[list[int]]:
    """Yield the tokens before each completion."""
    context: list[int] = []
    for token, label in zip(rendered.input_ids, rendered.labels, strict=True):
        if label == IGNORED:
            context.append(token)
        elif context:
            yield context
            context = []


def measure(case: str, threads: int, processes: int, options: Sequence[str]) -> list[Timed]:
    """Run a case in processes at the same time, and return what each measured."""
    command = [sys.executable, __file__, "--case", case, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    answers = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit(f"{case}: a process failed")
    return [tuple(json.loads(answer.splitlines()[-1])) for answer in answers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=16, help="in each process")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--autocast", choices=["bfloat16", "float16"])
    parser.add_argument("--model", help="folder of a checkpoint")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        bench = Bench(arguments.model, arguments.episodes, arguments.device, arguments.autocast)
        bench.products(64, 64)
        print(json.dumps(CASES[arguments.case](bench)))
        return
    table = Table("", "processes x threads", title=f"{arguments.episodes} episodes in each process")
    for header in ("tokens a second", "share of the limit"):
        table.add_column(header, justify="right")
    options = ["--episodes", str(arguments.episodes), "--device", arguments.device]
    for name in ("autocast", "model"):
        options += [f"--{name}", getattr(arguments, name)] if getattr(arguments, name) else []
    for case in CASES:
        for processes, threads in ((1, 2), (2, 1)) if arguments.device == "cpu" else ((1, 1),):
            speeds, shares = [], []
            for _ in range(arguments.repeats):
                found = measure(case, threads, processes, options)
                speeds.append(sum(tokens / seconds for seconds, _, tokens in found))
                shares.append(statistics.mean(limit / seconds for seconds, limit, _ in found))
            row = f"{statistics.median(speeds):,.0f}", f"{statistics.median(shares):.2f}"
            table.add_row(case, f"{processes} x {threads}", *row)
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    main()
