"""Files, Python and commands of the README work as written, in a copy of the project."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from prism_bench.data.trajectory import load_trajectories
from prism_bench.results.result import read_result

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FILES = {name: content for _, name, content in BLOCKS if name}
PYTHON = [content for language, name, content in BLOCKS if language == "python" and not name]
COMMANDS = [line for language, _, content in BLOCKS if language == "bash" for line in content.splitlines()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project after following the README: nothing changed, some files added."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "run.py", folder)
    for part in ("conf", "prism_bench", "envs", "baselines"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    assert FILES.keys() == {
        "baselines/algorithms/leave_one_out.py",
        "baselines/routers/length.py",
        "conf/algorithm/leave_one_out.yaml",
        "conf/router/length.yaml",
        "conf/strategy/warm_up_then_rl.yaml",
        "envs/treasure.py",
        "conf/env/treasure.yaml",
    }
    for name, content in FILES.items():
        assert f"\n`{name}`\n" in README and not (folder / name).exists()
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def python(project: Path, *arguments: str) -> str:
    """Run Python in the project and return what it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def command(start: str) -> list[str]:
    """Return the arguments that make Python run the one command that starts so."""
    found = [line for line in COMMANDS if line.startswith(start)]
    assert len(found) == 1, found
    program, *arguments = shlex.split(found[0], comments=True)
    return ["-m", "prism_bench", *arguments] if program == "prism-bench" else arguments


@pytest.fixture(scope="module")
def run(project: Path) -> Path:
    """The folder of a run with all added files and some smaller settings."""
    smaller = [
        "algorithm.max_steps=1",
        "eval.tasks=10",
        "eval.curve_points=1",
        "logger=none",
        "cache=cache",
        "hydra.run.dir=run",
    ]
    python(project, *command("python run.py env=treasure"), *smaller)
    return project / "run"


def test_the_environment_keeps_the_contract(project):
    checks = [code for code in PYTHON if "check_environment" in code]
    assert len(checks) == 1
    python(project, "-c", checks[0])


@pytest.mark.slow
def test_environment_router_strategy_and_algorithm_do_the_main_job(run):
    result = read_result(run / "result.json")
    assert result["router"] == "LengthRouter" and result["allocation"] == {"sft": 50, "rl": 50}
    assert result["protocol"]["environment"] == "envs.treasure:Treasure-v0"
    phases = [(phase["name"], phase["algorithm"], phase["demonstrations"]) for phase in result["phases"]]
    assert phases == [("warm_up", "SFT", 100), ("rl", "LeaveOneOut", 0)]
    assert result["success"]["rl"]["valid"]["all"]["n"] == 10


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("python run.py")])
def test_the_settings_of_every_run_exist(project, line):
    overrides = [word for word in shlex.split(line, comments=True)[2:] if word != "-m"]
    values = [[f"{key}={value}" for value in text.split(",")] for key, _, text in (o.partition("=") for o in overrides)]
    with initialize_config_dir(str(project / "conf"), version_base="1.3"):
        for chosen in itertools.product(*values):  # a sweep is over every combination
            assert compose("config", overrides=list(chosen))


def test_both_explain_themselves_in_the_help(project):
    shown = python(project, "run.py", "--help")
    assert "treasure               A treasure hunt in a row of rooms\n" in shown
    assert "length                 Steps of the expert: long episodes go to RL\n" in shown


@pytest.mark.slow
def test_parts_can_be_used_alone(project, run):
    python(project, *command("prism-bench collect"), "tasks=4")
    python(project, *command("prism-bench export"))
    python(project, *command("prism-bench import"))
    original, imported = (load_trajectories(project / f"{name}.parquet") for name in ("episodes", "imported"))
    assert len(original) == 4
    assert [len(trajectory.steps) for trajectory in imported] == [len(trajectory.steps) for trajectory in original]

    alone = [code for code in PYTHON if "check_environment" not in code]
    assert len(alone) == 2
    (project / "CHECKPOINT").symlink_to(read_result(run / "result.json")["files"]["checkpoint base"])
    python(project, *command("prism-bench probe"))
    assert (project / "norms.png").is_file()
    python(project, "-c", "".join(alone) + "import numpy\nnumpy.save('scores.npy', scores)\n")
    scores = np.load(project / "scores.npy")
    assert scores.shape == (4,) and len(set(scores)) == 4


def test_commands_and_files_that_are_named_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= {*targets, "needs"}
    for name in re.findall(r"`((?:conf|prism_bench|envs|tests|docs|baselines)/[\w./-]*)`", README):
        assert (ROOT / name).exists() or name in FILES, name
