"""A cell is an experiment with its own seed, folder and settings, whatever it would log to as a run."""

from contextlib import closing
from pathlib import Path

from rich.console import Console

import prism_bench.commands.run  # noqa: F401  registers what the configuration refers to
from prism_bench.comparison.grid import cells
from prism_bench.comparison.in_process import experiment_of
from prism_bench.results.loggers import FileLogger

CONF = Path(__file__).resolve().parents[3] / "conf"


def test_an_experiment_has_the_seed_of_its_cell_and_the_settings_of_the_logger_are_no_obstacle(tmp_path):
    settings = ["router=random", "rollout.max_turns=7", "logger.project=mine", "generation.draft=${seed}"]
    for cell in cells([*settings, "seed=[3,4]"], CONF):
        with closing(experiment_of(cell, tmp_path, Console(quiet=True))) as experiment:
            assert experiment.settings.seed == cell.seed == experiment.config["generation"]["draft"]
            assert experiment.folder == tmp_path.resolve() and experiment.settings.rollout.max_turns == 7
            assert isinstance(experiment.logger, FileLogger)
