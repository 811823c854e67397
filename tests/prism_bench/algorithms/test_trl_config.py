"""Configurations of TRL's trainers."""

from pathlib import Path
from types import SimpleNamespace

import torch
from trl.trainer.sft_config import SFTConfig

from prism_bench.algorithms.trl_config import trainer_config


def test_one_process_trains_on_one_gpu_of_several(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    policy = SimpleNamespace(model=SimpleNamespace(device=torch.device("cuda")))
    config = trainer_config(
        SFTConfig, policy, seed=0, folder=tmp_path, values={"per_device_train_batch_size": 6}, ours={}
    )
    assert (config.n_gpu, config.train_batch_size) == (1, 6)
