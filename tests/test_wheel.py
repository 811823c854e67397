"""The wheel, installed into an empty environment, does the main job in any folder."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from shrunken import ALWAYS, SMALL

from prism_bench.data.trajectory import load_trajectories
from prism_bench.results.result import read_result

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path, silent: bool = True) -> str:
    """Run a command in ``folder`` and return what it prints; it must succeed, and report nothing if ``silent``."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0 and not (silent and finished.stderr), finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the command in an empty environment that has the wheel.

    The wheel's requirements are not downloaded: links lead to the packages in the environment of the tests.
    """
    folder = tmp_path_factory.mktemp("environment")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, folder=folder, silent=False)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, folder=folder, silent=False)
    (site,) = folder.glob("venv/lib/python*/site-packages")
    assert {path.name.partition("-")[0] for path in site.iterdir()} == {"prism_bench", "envs", "baselines"}
    for library in Path(sysconfig.get_path("purelib")).iterdir():
        if "prism_bench" not in library.name and library.suffix != ".pth":
            (site / library.name).symlink_to(library)
    return python.with_name("prism-bench")


def test_it_is_the_wheel_that_runs(command, tmp_path):
    code = "import prism_bench, envs, baselines; print(prism_bench.__file__, envs.__file__, baselines.__file__)"
    files = run(command.with_name("python"), "-c", code, folder=tmp_path).split()
    assert len(files) == 3 and all(Path(file).is_relative_to(command.parents[1]) for file in files)


def test_the_main_job_runs_in_another_folder(command, tmp_path):
    run(command, "run", *SMALL, *ALWAYS, folder=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".cache", "runs"}
    (folder,) = (tmp_path / "runs").iterdir()
    result = read_result(folder / "result.json")
    assert all(Path(result["files"][name]).is_relative_to(tmp_path) for name in result["files"] if "checkpoint" in name)
    assert "Cost per phase" in run(command, "report", folder, folder=tmp_path)


def test_trajectories_are_collected_exported_and_imported(command, tmp_path):
    run(command, "collect", "tasks=2", "out=episodes.parquet", folder=tmp_path)
    run(command, "export", "episodes.parquet", "episodes.json", folder=tmp_path)
    run(command, "import", "episodes.json", "imported.parquet", folder=tmp_path)
    original, imported = (load_trajectories(tmp_path / f"{name}.parquet") for name in ("episodes", "imported"))
    assert [episode.task_id for episode in imported] == [episode.task_id for episode in original]


def test_every_command_explains_itself(command, tmp_path):
    listed = run(command, "--help", folder=tmp_path)
    for name in ("run", "collect", "probe", "report", "import", "export", "download"):
        assert f"\n  {name} " in listed
        assert run(command, name, "--help", folder=tmp_path)
