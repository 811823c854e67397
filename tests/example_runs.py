"""Results of runs that never took place, for tests of what reads them."""

import io
import re
from collections.abc import Callable
from typing import Any

from rich.console import Console

from prism_bench.accounting.meter import LedgerRow
from prism_bench.results.outcomes import Outcome
from prism_bench.results.result import build_result
from prism_bench.results.schema import Selection

LEDGER = [
    LedgerRow("base", trained_tokens=1_200_000, flops=6 * 10**12, seconds=200, device_seconds=200, cached=True),
    LedgerRow("route", prefill_tokens=30_000, flops=2 * 10**12, seconds=50, device_seconds=50),
    LedgerRow("eval", env_steps=700, episodes=80, seconds=0, peak_memory_bytes=3 * 2**29),
]
SELECTIONS = {
    "demonstrations": Selection("train", 20_000, 3008, {"type 0": 1504, "type 1": 1504}, solved=3001),
    "eval valid_seen": Selection("valid_seen", 500, 40, {"type 0": 20, "type 1": 20}),
    "eval valid_unseen": Selection("valid_unseen", 134, 40, None),
}
PROTOCOL = {"decoding": "greedy", "steps": 50}


def phase(name: str, **changes: Any) -> dict[str, Any]:
    facts = {"algorithm": "SFT", "demonstrations": 1500, "tasks": 0, "updates": 24, "flops": 10**12}
    return {"name": name, **facts, "ended": "completed"} | changes


def point(phase: str, update: int, flops: int, success: float, **changes: Any) -> dict[str, Any]:
    facts = {"phase": phase, "update": update, "flops": flops, "success": success, "score": success}
    return facts | {"tasks": 64, "split": "valid_seen"} | changes


def run(
    stages: tuple[str, ...] = ("base", "sft", "rl"),
    router: str | None = "prism",
    seed: int = 7,
    won: int = 20,
    score: float | None = None,
    config: dict[str, Any] | None = None,
    splits: tuple[str, ...] = ("valid_seen",),
    **parts: Any,
) -> dict[str, Any]:
    """Return a result in which every stage solves each fourth of 40 tasks, the last one the first ``won`` as well."""
    outcomes = [
        Outcome(
            stage,
            split,
            f"task-{number}",
            f"type {number % 2}",
            solved,
            float(solved) if score is None else score,
            5,
        )
        for stage in stages
        for split in splits
        for number in range(40)
        for solved in [number % 4 == 0 or (stage == stages[-1] and number < won)]
    ]
    built = {
        "strategy": "split",
        "router": router,
        "config": {"seed": seed, "folder": f"runs/{seed}"} | (config or {}),
        "protocol": PROTOCOL,
        "seeds": {"seed": seed},
        "selections": SELECTIONS,
        "allocation": None if router is None else {"sft": 1500, "rl": 1501},
        "phases": [phase(name) for name in stages[1:]],
        "curves": [],
        "outcomes": outcomes,
        "ledger": LEDGER,
        "files": {"scores": "route/scores.json"},
    }
    return build_result(**built | parts)


def printed(call: Callable[..., None], *arguments: Any, width: int = 180, **options: Any) -> str:
    """Return what a function prints on a console that it takes as its second argument."""
    stream = io.StringIO()
    call(arguments[0], Console(file=stream, width=width), *arguments[1:], **options)
    return stream.getvalue()


def cells(text: str, first: str) -> list[str]:
    """Return the cells of the one row of a table that starts with ``first``."""
    (line,) = [line for line in text.splitlines() if re.match(rf"[│┃] {re.escape(first)} ", line)]
    return [cell.strip() for cell in re.split("[│┃]", line.strip("│┃"))]
