"""A program for torchrun: trains one policy with each of the algorithms in a file, and saves what becomes of it."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from corridor import Corridor
from peft import LoraConfig
from phase import Phase

from prism_bench import processes
from prism_bench.accounting.ledger import Ledger
from prism_bench.accounting.meter import Meter
from prism_bench.algorithms import checkpoints
from prism_bench.algorithms.contract import Algorithm
from prism_bench.data.trajectory import load_trajectories
from prism_bench.models.policy import load_policy, with_lora
from prism_bench.settings.making import make
from prism_bench.stages.unfinished import UnfinishedPhase

JOBS, POLICY, DEMONSTRATIONS = "jobs.json", "policy", "demonstrations.parquet"
COSTS = ("trained_tokens", "generated_tokens", "env_steps", "episodes", "demonstrations")


class Interrupted(Exception):
    """The phase was interrupted, in all processes at once."""


def train(folder: Path, out: Path, name: str) -> None:
    """Train the policy in ``folder``; the first process writes weights and costs to ``out``."""
    job = json.loads((folder / JOBS).read_text())[name]
    with TemporaryDirectory() as place:
        if job["stop"]:
            try:
                trained(job, folder, Path(place), job["stop"])
                raise AssertionError(f"{name} has ended before it was interrupted")
            except Interrupted:
                pass
        phase = trained(job, folder, Path(place))
    phase.meter.put_together()
    if processes.number() == 0:
        weights = {key: weight for key, weight in phase.policy.model.named_parameters() if weight.requires_grad}
        torch.save(weights, out / f"{name}.pt")
        found = {"processes": processes.count(), "loss": phase.values("loss"), "updates": phase.progress}
        costs = {key: getattr(phase.meter.spent, key) for key in COSTS}
        (out / f"{name}.json").write_text(json.dumps(found | costs))


def trained(job: dict[str, Any], folder: Path, place: Path, stop: int | None = None) -> Phase:
    """Return the phase, which goes on from the checkpoints that it finds in ``place``."""
    torch.manual_seed(0)
    policy = with_lora(load_policy(folder / POLICY), LoraConfig(**job["lora"]) if job["lora"] else None)
    meter = Meter("phase")
    unfinished = UnfinishedPhase(place / "unfinished", Ledger(), meter)
    phase = Phase(policy, place, Corridor, meter=meter, unfinished=unfinished, points=1)

    def progress(done: int, planned: int) -> None:
        phase.progress.append((done, planned))
        if done == stop:
            raise Interrupted

    phase.context = replace(phase.context, progress=progress)
    demonstrations = load_trajectories(folder / DEMONSTRATIONS)
    tasks = [demonstration.task_id for demonstration in demonstrations]
    return phase.train(make(job["algorithm"], "algorithm", Algorithm), demonstrations, tasks)


def main(folder: Path, out: Path) -> None:
    """Train with all algorithms, each in all processes."""
    checkpoints.SECONDS_BETWEEN, checkpoints.SHARE = 0.0, float("inf")
    with processes.joined() as beside:
        if beside:
            processes.take_part()
            return
        for name in json.loads((folder / JOBS).read_text()):
            with processes.together(train, folder, out, name):
                train(folder, out, name)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(Path, sys.argv[1:]))
