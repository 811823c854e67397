"""Skeletons: what they write passes the project's own checks and its own test, and nothing is overwritten."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shrunken import ALWAYS, SMALL

from prism_bench.commands.skeleton import SKELETONS, write_skeleton
from prism_bench.errors import InputError
from prism_bench.results.result import read_result

ROOT = Path(__file__).resolve().parents[3]
KINDS = sorted(folder.name for folder in SKELETONS.iterdir())


def python(project: Path, *arguments: str, status: int = 0) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(project)}
    finished = subprocess.run(
        [sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == status, finished.stdout + finished.stderr
    return finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with an environment and a router made by the commands."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("run.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.gz")
    for part in ("conf", "prism_bench", "envs", "baselines", "tests", "docs"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    for kind in KINDS:
        printed = python(folder, "-m", "prism_bench", f"new-{kind}", f"{kind}_of_mine")
        assert f"python run.py {kind}={kind}_of_mine" in printed
    return folder


def test_their_own_tests_pass(project: Path) -> None:
    tests = [str(path) for path in project.glob("tests/**/test_*_of_mine.py")]
    assert len(tests) == len(KINDS)
    assert "passed" in python(project, "-m", "pytest", "-p", "no:cacheprovider", *tests)


def test_they_are_written_as_the_project_is(project: Path) -> None:
    made = [str(path) for path in project.rglob("*_of_mine*.py")]
    assert len(made) == 2 * len(KINDS)
    python(project, "-m", "ruff", "check", "--no-cache", *made)
    python(project, "-m", "ruff", "format", "--no-cache", "--check", *made)
    python(project, "-m", "mypy", "--follow-imports=skip", *(path for path in made if "test_" not in path))


@pytest.mark.slow
def test_they_do_the_main_job(project: Path) -> None:
    python(project, "run.py", "env=env_of_mine", "router=router_of_mine", "hydra.run.dir=run", *SMALL, *ALWAYS)
    result = read_result(project / "run" / "result.json")
    assert (result["router"], result["allocation"]) == ("RouterOfMineRouter", {"sft": 4, "rl": 4})
    assert result["success"]["rl"]["test"]["all"]["n"] == 8


def test_nothing_is_overwritten(project: Path) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*env_of_mine*") if path.is_file()}
    printed = python(project, "-m", "prism_bench", "new-env", "env_of_mine", status=1)
    assert printed == "error: conf/env/env_of_mine.yaml exists; choose another name, or remove it first\n"
    assert before == {path: path.read_bytes() for path in project.rglob("*env_of_mine*") if path.is_file()}


@pytest.mark.parametrize("name", ["", "MyWorld", "my-world", "1st", "class", "../up", "a b"])
def test_a_name_that_is_no_module_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no name for a module"):
        write_skeleton(SKELETONS / "env", tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .* here; change to a checkout of the project first"):
        write_skeleton(SKELETONS / "env", tmp_path, "world")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    for place in ("envs/world", "conf/env", "tests/envs"):
        (tmp_path / place).mkdir(parents=True)
    with pytest.raises(InputError, match="envs/world exists"):
        write_skeleton(SKELETONS / "env", tmp_path, "world")
