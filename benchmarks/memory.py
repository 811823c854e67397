"""Memory of rollouts and of SFT updates, with a model of SmolLM2-135M's sizes on a CPU: where it goes, what bounds it.

    python benchmarks/memory.py [--episodes 16] [--context 2048]

Every row is a process of its own, which makes a model with random weights (30 layers, 135 M parameters, float32) and
notes the peak of its resident memory beyond that with the model alone.

* Rollouts fill ``--episodes`` contexts of ``--context`` tokens to the end. *expected* is the memory of all their keys
  and values; ``generation.cache_gib`` bounds it by the number of episodes that run at once.
* An update of SFT takes 8 demonstrations of 512 tokens, 64 of which are targets. *expected* is that of gradients and of
  AdamW's two moments; the rest are the activations of one part, bounded by ``sft.tokens_per_forward`` and
  ``sft.gradient_checkpointing``.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.contract import TrainingContext
from prism_bench.algorithms.sft import SFT
from prism_bench.commands.hydra_command import quieten
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import IGNORED, Rendered, Renderer
from prism_bench.models.policy import Policy
from prism_bench.models.tokenizer import build_tokenizer
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import RolloutRunner
from prism_bench.rollouts.transformers_backend import TransformersBackend, TransformersEngine

SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49_152,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}
GIB = 2**30


def peak() -> float:
    """Return the largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB


def roll_out(model: PreTrainedModel, episodes: int, context: int, cache_gib: float) -> float:
    """Fill contexts, as many at once as the cache may hold; return the GiB of all keys and values."""
    backend = TransformersBackend(model, end_token_id=0, cache_gib=cache_gib)
    at_once = min(episodes, backend.most_sessions(context))
    sampling = Sampling(0.0, max_completion_tokens=8)
    for first in range(0, episodes, at_once):
        sessions = list(range(first, min(first + at_once, episodes)))
        used = 0
        while used + 256 + 8 <= context:
            backend.complete({session: [5] * 256 for session in sessions}, sampling)
            used += 256 + 8
        backend.close(sessions)
    return 2 * 30 * 3 * 64 * 4 * episodes * context / GIB


def update(model: PreTrainedModel, **settings: Any) -> float:
    """Do two updates of SFT; return the GiB of gradients and moments."""
    tokenizer = build_tokenizer(["You are in a room."] * 30)
    renderer = Renderer(tokenizer, ActionPrompt(), 512)
    labels = [IGNORED if token % 8 else 5 for token in range(512)]
    rendered = [Rendered([5] * 512, labels, 64)] * 16
    algorithm = SFT(per_device_train_batch_size=8, num_train_epochs=1, learning_rate=1e-5, **settings)
    with tempfile.TemporaryDirectory() as folder:
        context = TrainingContext(
            phase="sft",
            renderer=renderer,
            runner=RolloutRunner(lambda: None, renderer, 1),  # type: ignore[arg-type, return-value]  # never called
            engine=TransformersEngine(),
            max_completion_tokens=8,
            meter=Meter("sft"),
            seed=0,
            folder=Path(folder),
        )
        algorithm.fit(Policy(model, tokenizer, None), rendered, context)
    return 3 * sum(parameter.nbytes for parameter in model.parameters()) / GIB


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "rollouts, cache_gib=8": ("rollouts", {"cache_gib": 8.0}),
    "rollouts, cache_gib=0.5": ("rollouts", {"cache_gib": 0.5}),
    "SFT, tokens_per_forward=4096": ("sft", {"tokens_per_forward": 4096, "gradient_checkpointing": False}),
    "SFT, tokens_per_forward=1024": ("sft", {"tokens_per_forward": 1024, "gradient_checkpointing": False}),
    "SFT, 4096, gradient_checkpointing": ("sft", {"tokens_per_forward": 4096, "gradient_checkpointing": True}),
    "SFT, 1024, gradient_checkpointing": ("sft", {"tokens_per_forward": 1024, "gradient_checkpointing": True}),
}


def measure(name: str, episodes: int, context: int) -> None:
    """Print the memory of one case: with the model alone, at the peak, and as expected."""
    quieten()
    kind, settings = CASES[name]
    model = LlamaForCausalLM(LlamaConfig(**SMOLLM2))
    alone = peak()
    expected = roll_out(model, episodes, context, **settings) if kind == "rollouts" else update(model, **settings)
    print(alone, peak(), expected)


def main() -> None:
    """Measure every case in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        measure(arguments.case, arguments.episodes, arguments.context)
        return
    table = Table(title=f"{arguments.episodes} episodes of {arguments.context:,} tokens; updates of 4,096 tokens")
    for header in ("", "model alone GiB", "added at the peak GiB", "expected GiB"):
        table.add_column(header, justify="right" if header else "left")
    for name in CASES:
        command = [sys.executable, __file__, *sys.argv[1:], "--case", name]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
        alone, most, expected = map(float, finished.stdout.split()[-3:])
        table.add_row(name, f"{alone:.2f}", f"{most - alone:.2f}", f"{expected:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
