"""``prism-bench run`` with a part that fails: a bug keeps its place, and bad input is one sentence."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from shrunken import ALWAYS, SMALL

from prism_bench.commands.run import ending, main, new_folder

OURS = ("hydra.run.dir=run", "modules=[failing_parts]")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so that the base model is made once."""
    return tmp_path_factory.mktemp("cache")


def log(folder: Path) -> str:
    return (folder / "run" / "run.log").read_text(encoding="utf-8")


class Offline:
    """A logger that was not online."""

    location, upload = "runs/one/wandb/offline-run-7", "wandb sync runs/one/wandb/offline-run-7"


def test_the_end_of_a_run_names_its_result_its_metrics_and_the_next_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = "\n".join(ending(tmp_path / "runs" / "a run", Offline()))
    assert f"result: {tmp_path}/runs/a run/result.json" in told
    assert "to upload them: wandb sync runs/one/wandb/offline-run-7" in told
    assert "prism-bench report 'runs/a run' " in told and "prism-bench report 'runs/a run' OTHER" in told


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("env.make._target_=failing_parts.make_environment", "phase collect, 2/"),
        ("router._target_=failing_parts.FailingRouter", "phase route, 5/8"),
        ("sft._target_=failing_parts.FailingAlgorithm", "phase sft, 3/8"),
    ],
)
def test_a_bug_in_a_part_keeps_its_place(end, tmp_path, cache, setting, place):
    status, _, error = end(main, *SMALL, *ALWAYS, f"cache={cache}", *OURS, setting)
    assert status == 1
    for text in (error, log(tmp_path)):
        *before, running = text.splitlines()
        assert "Traceback (most recent call last):" in text and "failing_parts.py" in text and "in deep_inside" in text
        assert "ValueError: matrices do not fit" in before
        assert running.startswith(f"while running: {place}")
    assert not (tmp_path / "run" / "result.json").exists() and not list(cache.rglob("*.making"))


@pytest.mark.parametrize(
    ("router", "message"),
    [
        ("RefusingRouter", "these trajectories have no such score; choose another router"),
        ("SilentRouter", "a router that needs rollouts has to say so: needs_tasks: ClassVar[bool] = True"),
    ],
)
def test_what_a_part_refuses_is_one_sentence(end, tmp_path, cache, router, message):
    status, _, error = end(main, *SMALL, *ALWAYS, f"cache={cache}", *OURS, f"router._target_=failing_parts.{router}")
    assert (status, error) == (1, f"error: {message}\n")
    assert "Traceback" not in log(tmp_path) and message in log(tmp_path)


def test_runs_that_start_in_the_same_second_get_a_folder_each(tmp_path):
    wanted = str(tmp_path / "runs" / "2026-11-26")
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(new_folder, [wanted] * 40))
    assert len(set(folders)) == 40 and all(Path(folder).is_dir() for folder in folders)
    assert sorted(folders, key=len)[0] == wanted


def test_a_folder_that_another_run_writes_to_is_refused(end, tmp_path, cache):
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        status, _, error = end(main, *SMALL, *ALWAYS, f"cache={cache}", "hydra.run.dir=run", "strategy=none")
    assert status == 1 and error.startswith("error: another run writes to ")
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("setting", "stage", "place"),
    [
        (
            "model.base.episodes=48 model.base.language.learning_rate=1e30",
            "base",
            r"base(: (loss|grad_norm) is (nan|inf) at|, after) update \d",
        ),
        ("sft.learning_rate=1e30", "train", r"sft: (loss|grad_norm) is (nan|inf) at update \d"),
        (
            "modules=[failing_parts] sft._target_=failing_parts.BreakingAlgorithm",
            "train",
            "sft, after update 3: the weight .* not finite",
        ),
    ],
)
def test_a_policy_that_is_lost_is_no_result(end, tmp_path, cache, setting, stage, place):
    before = set(cache.glob(f"{stage}/*"))
    status, _, error = end(
        main, *SMALL, *ALWAYS, f"cache={cache}", "hydra.run.dir=run", "router=random", *setting.split()
    )
    assert status == 1 and re.match(f"error: {place}", error) and error.count("\n") == 1
    new = {path.name for path in set(cache.glob(f"{stage}/*")) - before if not path.name.startswith(".")}
    assert not new
    assert not (tmp_path / "run" / "result.json").exists()
