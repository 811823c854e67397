"""The main job on a real pretrained model, shrunk to minutes; the model is never downloaded here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shrunken import RL, SFT

from prism_bench.results.result import read_result

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("PRISM_BENCH_SMOLLM2", ROOT.parent / "smollm2"))


@pytest.mark.slow
def test_the_main_job_runs_on_smollm2(tmp_path):
    if not (FOLDER / "config.json").is_file():
        pytest.skip(f"{FOLDER} has no SmolLM2; make it with prism-bench download smollm2 {FOLDER}")
    settings = [
        *("model=smollm2-135m", f"model.path={FOLDER}", "model.max_completion_tokens=12", *SFT, *RL),
        *("trajectories=4", "eval.tasks=2", "eval.curve_points=0", "env.test_splits=[]", "logger=none"),
        *(
            "+env.make.max_episode_steps=6",
            "rollout.max_turns=3",
            f"folder={tmp_path / 'run'}",
            f"cache={tmp_path}/cache",
        ),
    ]
    command = [sys.executable, str(ROOT / "run.py"), *settings]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    result = read_result(tmp_path / "run" / "result.json")
    assert list(result["success"]) == ["base", "sft", "rl"]
    assert result["protocol"]["prompt"].startswith("ActPrompt(") and "go to X" in result["protocol"]["prompt"]
    assert {path.name for path in Path(result["files"]["checkpoint rl"]).iterdir()} >= {"adapter_model.safetensors"}
