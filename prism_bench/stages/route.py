"""The two stages of routing: the measurement of a router, and its allocation of trajectories to SFT and tasks to RL.

Both are on the row ``route`` of the ledger.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from prism_bench.accounting.meter import Meter
from prism_bench.data.trajectory import Trajectory, load_trajectories
from prism_bench.errors import InputError
from prism_bench.models.policy import Policy
from prism_bench.rollouts.backend import Sampling
from prism_bench.rollouts.episodes import Limits
from prism_bench.routing.allocation import ALLOCATION, save_allocation
from prism_bench.routing.router import Measurement, Router, RoutingContext
from prism_bench.settings.making import make
from prism_bench.stage_cache.declaration import Inputs, stage
from prism_bench.stages.tools import FAULT_SETTINGS, Tools, in_all_processes
from prism_bench.stages.workbench import POLICY_SETTINGS, Workbench


@stage(
    "measure",
    settings=POLICY_SETTINGS,
    parents=("policy", "trajectories"),
    values=("measurement", "seed"),
    resumable=True,
    phase="route",
)
def measure(inputs: Inputs, folder: Path, tools: Tools) -> None:
    """Write the files of a measurement, made of the settings in the value ``measurement``.

    The value ``seed`` is that of its draws. A measurement that draws nothing has the value 0 in every run, so that a
    pretrained model is probed once for all seeds. Only a measurement that needs tasks gets rollouts; it is made by
    :data:`measure_with_rollouts`.
    """
    in_all_processes(_measure, inputs, folder, tools)


def _measure(inputs: Inputs, folder: Path, tools: Tools) -> None:
    bench = Workbench(inputs, tools)
    trajectories = load_trajectories(inputs.parents["trajectories"].path)
    measurement: Measurement = make(inputs.values["measurement"], "router", Measurement)
    with tools.ledger.phase("route") as meter, tools.progress("route", len(trajectories), "trajectories") as progress:
        policy = bench.load()
        context = RoutingContext(
            policy=policy,
            renderer=bench.renderer(policy),
            rollouts=_rollouts(bench, policy, meter, progress.update) if measurement.needs_tasks else _no_rollouts,
            meter=meter,
            seed=inputs.values["seed"],
            folder=folder,
            progress=progress.update,
        )
        measurement.measure(trajectories, context)


measure_with_rollouts = replace(
    measure,
    settings=(*measure.settings, "rollout", "generation", "env.make", "env.train_split", *FAULT_SETTINGS),
)
"""The same stage with the settings of rollouts, on which other measurements do not depend."""


@stage("route", settings=("seed", "router"), parents=("measured", "trajectories"))
def route(inputs: Inputs, folder: Path, tools: Tools) -> None:
    """Write the router's allocation of the trajectories, and its other files."""
    trajectories = load_trajectories(inputs.parents["trajectories"].path)
    router: Router = make(inputs.settings["router"], "router", Router)
    with tools.ledger.phase("route"):
        allocation = router.route(trajectories, inputs.parents["measured"].path, folder, inputs.settings["seed"])
    save_allocation(folder / ALLOCATION, allocation, trajectories)


def _no_rollouts(task_ids: Sequence[str], k: int) -> list[list[Trajectory]]:
    """Refuse rollouts to a measurement whose key lacks their settings."""
    raise InputError("a router that needs rollouts has to say so: needs_tasks: ClassVar[bool] = True")


def _rollouts(
    bench: Workbench, policy: Policy, meter: Meter, progress: Callable[[int], None]
) -> Callable[[Sequence[str], int], list[list[Trajectory]]]:
    """Return a function that rolls out every task k times, under the limits of training."""
    rollout = bench.inputs.settings["rollout"]
    renderer = bench.renderer(policy)
    checkpoint = bench.inputs.parents["policy"].path

    def roll_out(task_ids: Sequence[str], k: int) -> list[list[Trajectory]]:
        sampling = Sampling(rollout["temperature"], bench.model.max_completion_tokens, bench.inputs.values["seed"])
        repeated = [task for task in task_ids for _ in range(k)]
        with (
            bench.runner(bench.inputs.settings["env.train_split"], renderer) as runner,
            bench.engine().start(policy, checkpoint, renderer.end_token_id) as backend,
        ):
            episodes = runner.run(
                backend,
                repeated,
                sampling,
                "policy:base",
                meter,
                lambda done: progress(done // k),
                Limits(rollout["max_turns"], rollout["max_inadmissible"]),
            )
        return [[e.trajectory for e in episodes[first : first + k]] for first in range(0, len(episodes), k)]

    return roll_out
