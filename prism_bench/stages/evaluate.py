"""The stage of evaluation: every task of a selection rolled out once by a checkpoint."""

from pathlib import Path

from prism_bench.data.trajectory import save_trajectories
from prism_bench.models.policy import weights_digest
from prism_bench.rollouts.backend import Sampling
from prism_bench.stage_cache.declaration import Inputs, stage
from prism_bench.stages.tools import FAULT_SETTINGS, Tools, in_all_processes
from prism_bench.stages.workbench import POLICY_SETTINGS, Workbench

EPISODES = "episodes.parquet"


@stage(
    "eval",
    settings=(*POLICY_SETTINGS, "generation", "env.make", "eval.temperature", *FAULT_SETTINGS),
    parents=("policy",),
    values=("split", "tasks", "seed"),
)
def evaluate(inputs: Inputs, folder: Path, tools: Tools) -> None:
    """Write the episodes, in the order of the tasks.

    The value ``seed`` is that of the draws. Greedy decoding has none, and every run has the value 0, so that a
    pretrained model is evaluated once for all seeds.
    """
    in_all_processes(_evaluate, inputs, folder, tools)


def _evaluate(inputs: Inputs, folder: Path, tools: Tools) -> None:
    bench = Workbench(inputs, tools)
    tasks = inputs.values["tasks"]
    with tools.ledger.phase("eval") as meter, tools.progress("eval", len(tasks), "episodes") as progress:
        policy = bench.load()
        renderer = bench.renderer(policy)
        temperature, seed = inputs.settings["eval.temperature"], inputs.values["seed"]
        sampling = Sampling(temperature, bench.model.max_completion_tokens, seed)
        with (
            bench.runner(inputs.values["split"], renderer) as runner,
            bench.engine().start(policy, inputs.parents["policy"].path, renderer.end_token_id) as backend,
        ):
            source = f"policy:{weights_digest(policy.model)}"
            episodes = runner.run(backend, tasks, sampling, source, meter, progress.update)
        save_trajectories([episode.trajectory for episode in episodes], folder / EPISODES)
