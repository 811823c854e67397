"""The main job: collect, route, train, evaluate, report. ``python run.py --help`` lists what can be chosen."""

import os
import sys
from pathlib import Path

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is experimental, and needed
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hydra
from omegaconf import DictConfig

CONF = Path(__file__).resolve().parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(config: DictConfig) -> None:
    """Run one experiment; a mistake in the configuration or the data ends it with one sentence."""
    from prism_bench.command import reporting_mistakes

    with reporting_mistakes() as console:
        from prism_bench.experiment import Experiment
        from prism_bench.report import print_result

        experiment = Experiment(config, console)
        result = experiment.run()
        print_result(result, console, experiment.folder)


if __name__ == "__main__":
    sys.exit(main())
