"""The base stage: interrupted in either half and started again, it ends with the weights of one that never was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from shrunken import MODEL

from prism_bench.accounting.ledger import Ledger
from prism_bench.algorithms import checkpoints
from prism_bench.commands.hydra_command import CONF
from prism_bench.data.trajectory import save_trajectories
from prism_bench.digests import folder_manifest
from prism_bench.results.progress import PhaseProgress
from prism_bench.stage_cache.declaration import Files, Inputs
from prism_bench.stages.base import pretrain
from prism_bench.stages.tools import Tools


@pytest.fixture
def inputs(tmp_path: Path, corridor_episodes) -> Inputs:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=["folder=run", "strategy.name=tried", *MODEL])
    values: dict[str, Any] = OmegaConf.to_container(config)["model"]
    for half in ("language", "sft"):
        values["base"][half]["per_device_train_batch_size"] = 2
    save_trajectories(corridor_episodes, tmp_path / "trajectories.parquet")
    parents = dict.fromkeys(("trajectories", "words"), Files(tmp_path / "trajectories.parquet", ""))
    prompt = OmegaConf.to_container(config)["prompt"]
    return Inputs({"seed": 0, "model": values, "prompt": prompt}, parents, {})


class Interrupted(BaseException):
    """Ctrl-C."""


@pytest.mark.slow
@pytest.mark.parametrize("calls", [4, 12])  # the fourth update of each half, which has eight
def test_an_interrupted_stage_continues(inputs, tmp_path, monkeypatch, calls):
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))
    seen: list[int] = []
    update = PhaseProgress.update

    def watched(self: PhaseProgress, done: int, planned: int | None = None) -> None:
        update(self, done, planned)
        seen.append(done)
        if len(seen) == calls:
            raise Interrupted

    def attempt(folder: Path) -> Any:
        ledger = Ledger()
        folder.mkdir(exist_ok=True)
        pretrain.function(inputs, folder, Tools(ledger, Console(quiet=True), tmp_path))
        (row,) = ledger.rows
        return replace(row, seconds=0, device_seconds=0, peak_memory_bytes=0)

    whole = attempt(tmp_path / "whole")
    monkeypatch.setattr(PhaseProgress, "update", watched)
    with pytest.raises(Interrupted):
        attempt(tmp_path / "again")
    assert list((tmp_path / "again").glob("unfinished/*/checkpoint-*"))
    assert attempt(tmp_path / "again") == whole
    assert seen[calls] == 4  # nothing before the last checkpoint was done again
    assert folder_manifest(tmp_path / "again") == folder_manifest(tmp_path / "whole")
