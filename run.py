"""The main job: collect, route, train, evaluate, report. ``python run.py --help`` lists what can be chosen."""

import os
import re
import sys
from pathlib import Path

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is experimental, and needed
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hydra
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).resolve().parent / "conf"


def choices(group: str) -> str:
    """Return a line for each file of a configuration group, its name and its first sentence; ``--help`` prints them."""
    lines = []
    for file in sorted((CONF / group).glob("*.yaml")):
        comment = re.match(r"(?:#.*\n)*", file.read_text(encoding="utf-8"))
        text = " ".join(line.lstrip("# ") for line in comment[0].splitlines()) if comment else ""
        sentence = re.split(r"(?<=[^.][.]) ", text)[0].removesuffix(".")
        lines.append(f"    {file.stem:<22} {sentence}")
    return "\n".join(lines)


OmegaConf.register_new_resolver("choices", choices, replace=True)


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
