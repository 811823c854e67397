"""The stage of the expert's episodes."""

from contextlib import closing
from pathlib import Path

from prism_bench.data.trajectory import save_trajectories
from prism_bench.rollouts.expert import run_expert
from prism_bench.stage_cache.declaration import Inputs, stage
from prism_bench.stages.tools import FAULT_SETTINGS, Tools, environment_maker

TRAJECTORIES = "trajectories.parquet"


@stage(
    "collect",
    settings=("env.make", "env.train_split", "env.expert", *FAULT_SETTINGS),
    values=("tasks", "keep_admissible"),
)
def collect(inputs: Inputs, folder: Path, tools: Tools) -> None:
    """Write the expert's successful episodes of the tasks."""
    tasks, settings = inputs.values["tasks"], inputs.settings
    with tools.ledger.phase("collect") as meter, tools.progress("collect", len(tasks), "episodes") as progress:
        make = environment_maker(settings["env.make"], settings["env.train_split"])
        with closing(make()) as environment:
            episodes = run_expert(
                environment,
                settings["env.expert"],
                tasks,
                meter,
                inputs.values["keep_admissible"],
                progress.update,
                rules=tools.rules,
                make=make,
            )
        save_trajectories((episode for episode in episodes if episode.success), folder / TRAJECTORIES)
