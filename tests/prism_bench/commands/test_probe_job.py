"""``prism-bench probe``: its files, its plot, and the continuation of a killed probe."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from prism_bench.accounting.meter import Meter
from prism_bench.commands.probe import main
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.data.trajectory import save_trajectories
from prism_bench.models.policy import load_policy, save_policy
from prism_bench.probe.norms import load_probe
from prism_bench.probe.record import probe_trajectories

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[3])}


@pytest.fixture
def folder(tmp_path, corridor_policy, corridor_episodes) -> Path:
    """A checkpoint and 600 trajectories."""
    save_policy(corridor_policy(), tmp_path / "it's a model")
    save_trajectories(corridor_episodes * 20, tmp_path / "episodes.parquet")
    return tmp_path


GIVEN = ("model=it's a model", "trajectories=episodes.parquet")


@pytest.mark.slow
def test_a_killed_command_continues_and_writes_what_an_unbroken_one_would(folder, corridor_episodes):
    settings = (*GIVEN, "out=norms.parquet", "tokens_per_batch=1", "model.max_length=256")
    given = [sys.executable, "-m", "prism_bench", "probe", *settings]
    partial = folder / ".norms.parquet.partial"
    with subprocess.Popen(given, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        while not (partial.exists() and partial.read_text().count("\n") > 5):
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    done = partial.read_text().count("\n") - 1
    assert 5 <= done < 600 and not (folder / "norms.parquet").exists()
    finished = subprocess.run(given, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "600 trajectories, 2 layers of 7 matrices" in finished.stdout
    assert "300 trajectories to SFT, 300 to RL" in finished.stdout
    assert sorted(file.name for file in folder.iterdir() if file.is_file()) == [
        "episodes.parquet",
        "norms.parquet",
        "norms.png",
    ]
    policy = load_policy(folder / "it's a model")
    renderer = Renderer(policy.tokenizer, ActionPrompt(), 256)
    unbroken = probe_trajectories(
        policy, renderer, corridor_episodes * 20, folder / "again.parquet", tokens_per_batch=1, meter=Meter("probe")
    )
    np.testing.assert_allclose(load_probe(folder / "norms.parquet").norms, unbroken.norms, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["out=norms.txt"], "out=norms.txt is not possible; name a file that ends in .parquet: out=FILE.parquet"),
        ([], "out=None is not possible"),
        (["out=norms.parquet", "trajectories=absent.parquet"], "there is no such file of trajectories"),
        (["out=norms.parquet", "model=nowhere/at all"], "nowhere/at all"),
        (["out=norms.parquet", "model.projections=[wq]"], "does not have the projections wq in every layer"),
        (
            ["out=norms.parquet", "concentration=entropy"],
            "concentration=entropy is not possible; it should be 'gini', ",
        ),
        (["out=norms.parquet", "quantile=1"], "quantile=1 is not possible; it should be less than 1"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(folder, end, settings, sentence):
    status, _, error = end(main, *GIVEN, *settings, HF_HUB_OFFLINE="1")
    assert status == 1 and sentence in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (folder / "norms.png").exists()
