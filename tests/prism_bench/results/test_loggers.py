import json
from pathlib import Path

import numpy as np
import pytest
import torch
from example_runs import run as example

from prism_bench.results.loggers import FileLogger, Labels
from prism_bench.results.result import result_metrics


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_number_goes_to_the_file(tmp_path):
    logger = FileLogger(tmp_path / "run")
    logger.log({"sft/loss": 0.5, "sft/tokens": np.int64(7)}, step=3)
    logger.log({"rl/reward": torch.tensor(0.25), "rl/kl": float("nan")})
    logger.result(example())
    logger.finish()
    first, second, last = lines(tmp_path / "run")
    assert (first["step"], first["sft/loss"], first["sft/tokens"]) == (3, 0.5, 7)
    assert (second["step"], second["rl/reward"], second["rl/kl"]) == (None, 0.25, None)
    assert last["summary"] == result_metrics(example())
    assert logger.location == str(tmp_path / "run" / "metrics.jsonl")


def test_a_second_logger_continues_the_file(tmp_path):
    FileLogger(tmp_path).log({"sft/loss": 1.0}, step=0)
    FileLogger(tmp_path).log({"sft/loss": 0.5}, step=1)
    assert [line["sft/loss"] for line in lines(tmp_path)] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("router", "environment", "name", "tags"),
    [
        ("PrismRouter", "envs.maze:lab/Maze-v0", "prism-split-s3", ["Maze-v0", "split", "prism", "sft", "grpo"]),
        ("Gini", "Maze-v0", "gini-split-s3", ["Maze-v0", "split", "gini", "sft", "grpo"]),
        ("Router", "Maze-v0", "router-split-s3", ["Maze-v0", "split", "router", "sft", "grpo"]),
        (None, "Maze-v0", "split-s3", ["Maze-v0", "split", "sft", "grpo"]),
    ],
)
def test_a_run_is_called_by_what_it_is(router, environment, name, tags):
    labels = Labels(environment, "split", router, {"sft": "SFT", "rl": "GRPO"}, seed=3)
    assert (labels.name, labels.tags) == (name, tags)
    assert Labels("Maze-v0", "sft", None, {"sft": "SFT"}, seed=3).tags == ["Maze-v0", "sft"]
