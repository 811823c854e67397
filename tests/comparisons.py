"""Comparisons of runs that never took place, with their episodes, for tests of what shows them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prism_bench.accounting.meter import LedgerRow
from prism_bench.comparison.episodes import Demonstration, Episodes, EvaluatedTask, Policy
from prism_bench.comparison.record import Comparison, Configuration, Routing, Run, StageOutcomes, TaskList
from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.results.schema import CurvePoint, PhaseResult

SPLITS = ("valid_seen", "valid_unseen")
PROTOCOL = {"environment": "envs.corridor:prism_bench/Corridor-v0", "settings chosen on": "valid_seen", "steps": 50}
PHASES = {"split": ("sft", "rl"), "sft": ("sft",), "rl": ("rl",), "sft_then_rl": ("sft", "rl")}
MATRICES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass
class Shape:
    """How large a comparison is.

    Attributes:
        cells: router (or None) and strategy of every configuration.
        gains: what a configuration adds to the base rate, by its number.
        settings: further settings, by the number of the configuration.
    """

    cells: Sequence[tuple[str | None, str]] = (("prism", "split"), ("random", "split"), (None, "rl"))
    seeds: int = 3
    tasks: int = 40
    types: Sequence[str] = ("look_at_obj", "pick_and_place", "clean_and_place")
    demonstrations: int = 60
    layers: int = 6
    curve_points: int = 6
    baseline: bool = True
    gains: Mapping[int, float] = field(default_factory=lambda: {0: 0.45})
    settings: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    partial: bool = False
    steps: int = 12


def name_of(shape: Shape, number: int) -> str:
    router, strategy = shape.cells[number]
    words = [word for word in (router, strategy) if word]
    return "-".join([*words, *(f"{key}={value}" for key, value in shape.settings.get(number, {}).items())])


def comparison(shape: Shape) -> Comparison:
    """Return a comparison of this size; the same every time."""
    draw = random.Random(0)
    names = [name_of(shape, number) for number in range(len(shape.cells))]
    lists = {split: TaskList(*_tasks(shape, shape.tasks, split)) for split in SPLITS} | {
        "train": TaskList(*_tasks(shape, shape.demonstrations, "train"))
    }
    of_baseline = next((n for n, cell in enumerate(shape.cells) if cell[0] == "random"), 0)
    reference = next((n for n, cell in enumerate(shape.cells) if cell[1] == "rl"), None)
    oracle = next((n for n, cell in enumerate(shape.cells) if cell[0] == "label"), None)
    configurations = [
        Configuration(
            names[number],
            {"strategy": strategy} | ({"router": router} if router else {}) | dict(shape.settings.get(number, {})),
            strategy,
            router,
            names[of_baseline] if shape.baseline and number != of_baseline else None,
            names[reference] if reference not in (None, number) else None,
            names[oracle] if oracle not in (None, number) else None,
        )
        for number, (router, strategy) in enumerate(shape.cells)
    ]
    runs = [_run(shape, draw, number, seed) for number in range(len(shape.cells)) for seed in range(shape.seeds)]
    command = "prism-bench compare env=corridor 'router=[prism,random]' 'seed=range(3)'"
    return Comparison(command=command, reach=0.6, configurations=configurations, lists=lists, runs=runs, failed=[])


def _tasks(shape: Shape, count: int, split: str) -> tuple[list[str | None], list[str | None]]:
    kinds = [shape.types[number % len(shape.types)] for number in range(count)]
    return [f"{kind}/{split}-{number}" for number, kind in enumerate(kinds)], list(kinds)


def _run(shape: Shape, draw: random.Random, number: int, seed: int) -> Run:
    router, strategy = shape.cells[number]
    phases = PHASES[strategy]
    gain = shape.gains.get(number, 0.15) + draw.uniform(-0.03, 0.03)
    outcomes = {}
    for stage, rate in [
        ("base", 0.25),
        *((phase, 0.25 + gain * (n + 1) / len(phases)) for n, phase in enumerate(phases)),
    ]:
        outcomes[stage] = {split: _outcomes(shape, draw, split, rate) for split in SPLITS}
    spent = 10**12 if router == "prism" else 0
    curves = []
    for place, phase in enumerate(phases):
        for point in range(shape.curve_points):
            spent += int(10**12 * (1 if phase == "sft" else 4) * draw.uniform(0.8, 1.2))
            done = (place + (point + 1) / shape.curve_points) / len(phases)
            rate = min(1.0, max(0.0, 0.25 + gain * done + draw.uniform(-0.05, 0.05)))
            curves.append(CurvePoint(phase, point, spent, rate, rate, 64, SPLITS[0]))
    ledger = [
        LedgerRow("collect", env_steps=30_000, episodes=300, seconds=9.0, cached=True),
        LedgerRow("base", trained_tokens=400_000, flops=10**12, seconds=35.0, cached=True),
        *(
            [LedgerRow("route", prefill_tokens=170_000, flops=10**12 if router == "prism" else 0, seconds=11.0)]
            if router
            else []
        ),
        *(
            LedgerRow(
                phase,
                trained_tokens=10**6,
                generated_tokens=10**6,
                flops=curves[-1].flops // len(phases) if curves else 10**12,
                env_steps=10**5,
                seconds=500.0,
            )
            for phase in phases
        ),
        LedgerRow("eval", prefill_tokens=300_000, generated_tokens=250_000, flops=5 * 10**11, seconds=75.0),
    ]
    return Run(
        configuration=name_of(shape, number),
        seed=seed,
        folder=f"{number}-{seed}",
        command=f"python run.py strategy={strategy} router={router} seed={seed}",
        versions={"prism-bench": "0.1.0"},
        protocol=dict(PROTOCOL),
        outcomes=outcomes,
        phases=[PhaseResult(phase, phase.upper(), 30, 0, 20, 10**12, "completed") for phase in phases],
        curves=curves,
        ledger=ledger,
        routing=_routing(shape, random.Random(f"{router} {seed}"), router) if router else None,
    )


def _outcomes(shape: Shape, draw: random.Random, split: str, rate: float) -> StageOutcomes:
    wins = [draw.random() < rate for _ in range(shape.tasks)]
    score = [1.0 if won else round(draw.random() / 2, 3) for won in wins] if shape.partial else None
    return StageOutcomes(split, "".join("01"[won] for won in wins), score, [shape.steps] * shape.tasks)


def _routing(shape: Shape, draw: random.Random, router: str) -> Routing:
    scores = [round(draw.gauss(0, 1), 4) for _ in range(shape.demonstrations)]
    threshold = sorted(scores)[len(scores) // 2]
    norms = None
    if router == "prism":
        norms = {
            part: [[round(draw.uniform(0.5, 1.5), 3) for _ in MATRICES] for _ in range(shape.layers)]
            for part in ("sft", "rl")
        }
    flags = "".join("01"[score > threshold] for score in scores)
    return Routing("train", flags, scores, threshold, MATRICES if norms else [], norms)


def episodes(of: Comparison, shape: Shape, tasks: int = 8, hostile: str = "") -> Episodes:
    """Return made-up episodes of seed 0 for the first tasks of each split; ``hostile`` stands in every text."""
    runs = [run for run in of.runs if run.seed == 0]
    policies = [
        Policy("expert", "expert", []),
        Policy("base model", "base", [run.configuration for run in runs]),
        *(Policy(run.configuration, "final", [run.configuration]) for run in runs),
    ]
    draw = random.Random(1)

    def episode(task: str, kind: str, success: bool) -> Trajectory:
        steps = tuple(
            Step(
                f"You are in room {number}. {_shelves(draw)}{hostile}",
                f"go to room {number + 1}{hostile}",
                float(success and number == shape.steps - 1),
                f"think: the mug is elsewhere{hostile}\nact: go to room {number + 1}" if number % 2 else None,
            )
            for number in range(shape.steps)
        )
        return Trajectory(task, kind, "policy", steps, float(success), success)

    evaluated = []
    for split in SPLITS:
        for number, (task, kind) in enumerate(
            zip(of.lists[split].ids[:tasks], of.lists[split].types[:tasks], strict=True)
        ):
            flags = [True, runs[0].outcomes["base"][split].success[number] == "1"]
            flags += [list(run.outcomes.values())[-1][split].success[number] == "1" for run in runs]
            shown = {policy: episode(str(task), str(kind), flag) for policy, flag in enumerate(flags)}
            evaluated.append(EvaluatedTask(split, str(task), str(kind), shown))
    routed = [run for run in runs if run.routing]
    demonstrations = [
        Demonstration(
            episode(str(task), str(kind), True),
            {
                run.configuration: (run.routing.to_rl[number] == "1", run.routing.scores[number])
                for run in routed
                if run.routing
            },
        )
        for number, (task, kind) in enumerate(
            zip(of.lists["train"].ids[:tasks], of.lists["train"].types[:tasks], strict=True)
        )
        if routed
    ]
    return Episodes(0, policies, evaluated, demonstrations, [])


def _shelves(draw: random.Random) -> str:
    return " ".join(f"On the shelf {draw.randrange(99)} you see a mug {draw.randrange(9)}." for _ in range(3))
