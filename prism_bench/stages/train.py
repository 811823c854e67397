"""The stage of training: one phase of a strategy, from one checkpoint to the next, with its learning curve."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prism_bench import processes
from prism_bench.accounting.meter import Meter
from prism_bench.algorithms.contract import Algorithm, TrainingContext
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import load_trajectories
from prism_bench.files import write_atomically
from prism_bench.models.policy import Policy, PretrainedModel, check_weights, save_policy, with_lora
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.transformers_backend import TransformersEngine
from prism_bench.settings.making import make
from prism_bench.stage_cache.declaration import Inputs, stage
from prism_bench.stages.tools import FAULT_SETTINGS, Tools, in_all_processes
from prism_bench.stages.unfinished import UNFINISHED, UnfinishedPhase
from prism_bench.stages.workbench import POLICY_SETTINGS, Workbench

CHECKPOINT = "checkpoint"
RECORD = "phase.json"


@stage(
    "train",
    settings=(
        "seed",
        *POLICY_SETTINGS,
        "generation",
        "env.make",
        "env.train_split",
        "env.validation_split",
        *FAULT_SETTINGS,
        "eval.curve_points",
        "budget.hours_per_phase",
    ),
    parents=("policy", "trajectories"),
    values=("phase", "algorithm", "demonstrations", "tasks", "curve_tasks", "flops_budget"),
    resumable=True,
)
def train(inputs: Inputs, folder: Path, tools: Tools) -> None:
    """Write the checkpoint that the phase ends with, and its record: updates, FLOPs, how it ended, learning curve.

    An interrupted run leaves checkpoints of the phase, from which the next one continues.
    """
    in_all_processes(_train, inputs, folder, tools)


def _train(inputs: Inputs, folder: Path, tools: Tools) -> None:
    bench = Workbench(inputs, tools)
    values = inputs.values
    name: str = values["phase"]
    trajectories = load_trajectories(inputs.parents["trajectories"].path)
    algorithm: Algorithm = make(values["algorithm"], f"the algorithm of phase {name!r}", Algorithm)
    updates = [0, 0]  # done and planned
    with (
        tools.ledger.phase(name) as meter,
        tools.progress(name, None, "updates") as progress,
        tools.trainer_folder() as trainer_folder,
    ):
        unfinished = UnfinishedPhase(folder / UNFINISHED, tools.ledger, meter)
        policy = _trainable(bench)
        renderer = bench.renderer(policy)

        limits = values["flops_budget"], inputs.settings["budget.hours_per_phase"]

        def over_budget() -> bool:
            meter.put_together()
            spent = meter.spent.flops, unfinished.seconds / 3600
            return processes.agree(
                any(limit is not None and so_far > limit for limit, so_far in zip(limits, spent, strict=True))
            )

        def show(done: int, planned: int) -> None:
            updates[:] = done, planned
            progress.update(done, planned)

        with bench.runner(inputs.settings["env.train_split"], renderer) as runner:
            context = TrainingContext(
                phase=name,
                renderer=renderer,
                runner=runner,
                engine=bench.engine(),
                max_completion_tokens=bench.model.max_completion_tokens,
                meter=meter,
                seed=bench.seed,
                folder=trainer_folder,
                log=tools.log,
                progress=show,
                evaluate=_evaluation(bench, renderer, meter, unfinished.curve),
                unfinished=unfinished,
                points=inputs.settings["eval.curve_points"],
                over_budget=over_budget,
            )
            algorithm.train(policy, [trajectories[i] for i in values["demonstrations"]], values["tasks"], context)
        check_weights(policy.model, f"{name}, after update {updates[0]}")
        early = "budget" if over_budget() else "plateau"
        flops = meter.spent.flops
        if processes.number() == 0:
            save_policy(policy, folder / CHECKPOINT)
        shutil.rmtree(unfinished.folder, ignore_errors=True)  # there is none if the phase was short
    record = {
        "updates": updates[0],
        "flops": flops,
        "ended": "completed" if updates[0] >= updates[1] else early,
        "curve": unfinished.curve,
    }
    write_atomically(folder / RECORD, json.dumps(record, indent=1) + "\n")


def _trainable(bench: Workbench) -> Policy:
    """Return the policy to start from, with a new LoRA adapter if one is configured and it has none."""
    torch.manual_seed(bench.seed)
    return with_lora(bench.load(), bench.model.lora if isinstance(bench.model, PretrainedModel) else None)


def _evaluation(
    bench: Workbench, renderer: Renderer, meter: Meter, curve: list[dict[str, Any]]
) -> Callable[[Policy, int], None]:
    """Return a function that adds a point to ``curve``.

    The policy's own model generates, whatever engine the run has: it is in memory, and the sample is small. The cost is
    on the row ``eval`` of the ledger.
    """
    tasks = bench.inputs.values["curve_tasks"]
    split = bench.inputs.settings["env.validation_split"]
    configured = bench.engine()
    engine = configured if isinstance(configured, TransformersEngine) else TransformersEngine()

    def evaluate(policy: Policy, update: int) -> None:
        flops = meter.spent.flops
        sampling = Sampling(0.0, bench.model.max_completion_tokens, bench.seed)
        backend = engine.backend(policy.model, renderer.end_token_id)
        with bench.tools.ledger.phase("eval") as eval_meter, bench.runner(split, renderer) as runner:
            episodes = runner.run(backend, tasks, sampling, f"policy:update {update}", eval_meter)
        success = float(np.mean([episode.trajectory.success for episode in episodes]))
        score = float(np.mean([episode.trajectory.score for episode in episodes]))
        curve.append({"update": update, "flops": flops, "success": success, "score": score, "tasks": len(tasks)})
        name = bench.inputs.values["phase"]
        bench.tools.log({f"{name}/curve/success": success, f"{name}/curve/score": score}, update)

    return evaluate
