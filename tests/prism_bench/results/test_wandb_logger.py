import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
from example_runs import phase, point
from example_runs import run as example
from omegaconf import OmegaConf
from PIL import Image
from wandb_file import read_offline_run

from prism_bench.data.trajectory import save_trajectories
from prism_bench.results.dashboard import TEXT_LENGTH
from prism_bench.results.loggers import FileLogger, Labels, Logger
from prism_bench.results.wandb_logger import WandbLogger, logged_in
from prism_bench.settings.configuration import resolve
from prism_bench.settings.making import make

CONF = Path(__file__).parents[3] / "conf" / "logger"
LABELS = Labels("envs.maze:lab/Maze-v0", "split", "PrismRouter", {"sft": "SFT", "rl": "GRPO"}, seed=3)


@pytest.fixture(autouse=True)
def logged_out(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()  # its settings are read once per process


@pytest.fixture
def finished(tmp_path, corridor_episodes) -> dict:
    """The result of a run of two phases, with its files."""
    folder = tmp_path / "run"
    (folder / "checkpoint" / "adapter").mkdir(parents=True)
    (folder / "checkpoint" / "adapter" / "weights").write_bytes(bytes(2**20))
    Image.new("RGB", (8, 8)).save(folder / "norms.png")
    rows = [{"task_id": f"task-{number}", "task_type": None, "score": number / 7, "stage": "rl"} for number in range(3)]
    (folder / "allocation.json").write_text(json.dumps({"trajectories": rows}))
    save_trajectories(corridor_episodes, folder / "episodes.parquet")
    files = {f"episodes {stage} valid_seen": "episodes.parquet" for stage in ("base", "sft", "rl")}
    files |= {"allocation": "allocation.json", "norms": "norms.png", "checkpoint rl": str(folder / "checkpoint")}
    phases = [phase("sft", updates=20), phase("rl", updates=5, algorithm="GRPO")]
    curves = [point("sft", 10, 10**12, 0.2), point("sft", 20, 2 * 10**12, 0.4), point("rl", 5, 10**13, 0.3)]
    result = example(files=files, phases=phases, curves=curves)
    (folder / "result.json").write_text(json.dumps(result))
    return result


def test_numbers_are_written_and_can_be_read_back(tmp_path):
    logger = WandbLogger(tmp_path, {"seed": 0, "env": {"split": "train"}}, project="prism-bench")
    for step in range(3):
        logger.log({"sft/loss": 1.0 - step / 10}, step=step)
    logger.log({"rl/reward": 0.5}, step=0)
    location = Path(logger.location)
    logger.finish()
    read = read_offline_run(tmp_path)
    assert (read.run.project, read.config["env"]) == ("prism-bench", {"split": "train"})
    assert read.history[:3] == [{"sft/step": step, "sft/loss": 1.0 - step / 10} for step in range(3)]
    assert read.history[3].items() >= {"rl/step": 0, "rl/reward": 0.5}.items()
    assert (read.metrics["sft/*"].step_metric, read.metrics["rl/*"].step_metric) == ("sft/step", "rl/step")
    assert read.exit_code == 1  # it has no result
    assert location.is_dir() and location.parent == tmp_path / "wandb"
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["sft/loss"] for line in metrics[:3]] == [1.0, 0.9, 0.8]


def test_name_tags_and_job_type_say_what_the_run_is(tmp_path):
    WandbLogger(tmp_path, {}, LABELS, project="p", group="routers").finish()
    run = read_offline_run(tmp_path).run
    assert (run.display_name, run.run_group, run.job_type) == ("prism-split-s3", "routers", "sft+rl")
    assert list(run.tags) == ["Maze-v0", "split", "prism", "sft", "grpo"]


def test_what_the_user_chooses_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_NAME", "from the environment")
    monkeypatch.setenv("WANDB_JOB_TYPE", "tried")
    WandbLogger(tmp_path / "one", {}, LABELS, project="p", tags=["mine"]).finish()
    run = read_offline_run(tmp_path / "one").run
    assert (run.display_name, run.job_type, list(run.tags)) == ("from the environment", "tried", ["mine"])
    WandbLogger(tmp_path / "two", {}, LABELS, project="p", name="mine", tags=[]).finish()
    run = read_offline_run(tmp_path / "two").run
    assert (run.display_name, list(run.tags)) == ("mine", [])


def test_a_finished_run_is_stored_with_curves_tables_plots_and_artifacts(tmp_path, finished, corridor_episodes):
    logger = WandbLogger(tmp_path / "run", {}, LABELS, project="p", episodes=4)
    logger.result(finished)
    logger.finish()
    read = read_offline_run(tmp_path / "run")
    assert read.exit_code == 0

    assert read.column("flops") == [10**12, 2 * 10**12, 10**13] and read.column("updates") == [10, 20, 25]
    for axis in ("flops", "updates"):
        assert read.column(f"curve_over_{axis}/success") == [0.2, 0.4, 0.3]
        assert read.metrics[axis].options.hidden
        assert read.metrics[f"curve_over_{axis}/*"].step_metric == axis
        assert read.summary[f"curve_over_{axis}/success"] == {"max": 0.4}
    assert read.summary["success/final/valid_seen"] == finished["success"]["rl"]["valid_seen"]["all"]["mean"]
    assert read.metrics["success/*"].summary.max and read.metrics["score/*"].summary.max
    assert read.metrics["ledger/*"].summary.min

    episodes = read.table("tables/episodes")
    assert [(row["stage"], row["split"]) for row in episodes[::4]] == [(s, "valid_seen") for s in ("base", "sft", "rl")]
    assert [row["task"] for row in episodes] == 3 * [episode.task_id for episode in corridor_episodes[:4]]
    assert episodes[0]["text"] == "You are in room 1. Your task is to: go to room 2.\n> go east"
    assert [row["score"] for row in read.table("tables/allocation")] == [0, 1 / 7, 2 / 7]
    (image,) = read.column("plots/norms/path")
    assert (read.files / image).is_file()
    assert read.artifacts["result"] == {"result.json": tmp_path / "run" / "result.json"}
    assert read.artifacts["allocation"] == {"allocation.json": tmp_path / "run" / "allocation.json"}
    assert list(read.artifacts["model"]) == ["adapter/weights"]
    paths = [path for files in read.artifacts.values() for path in files.values()]
    assert all(path.is_file() and path.is_relative_to(tmp_path) for path in paths)  # none in the user's home


def test_tables_and_checkpoints_are_bounded(tmp_path, finished, monkeypatch):
    monkeypatch.setattr("prism_bench.results.dashboard.TEXT_LENGTH", 20)
    logger = WandbLogger(tmp_path / "run", project="p", episodes=1, largest_checkpoint=0.5)
    logger.result(finished)
    logger.finish()
    read = read_offline_run(tmp_path / "run")
    assert [len(row["text"]) for row in read.table("tables/episodes")] == [20, 20, 20]
    assert "model" not in read.artifacts and "result" in read.artifacts
    assert TEXT_LENGTH > 1000


def test_what_cannot_be_stored_is_a_warning(tmp_path, finished, caplog):
    for name in ("episodes.parquet", "allocation.json", "norms.png"):
        (tmp_path / "run" / name).unlink()
    logger = WandbLogger(tmp_path / "run", project="p")
    logger.result(finished)
    logger.finish()
    read = read_offline_run(tmp_path / "run")
    assert read.exit_code == 0 and {"result", "model"} <= read.artifacts.keys()
    for what in ("evaluated episodes (", "allocation (", "norms.png ("):
        assert f"W&B did not store: {what}" in caplog.text


def test_a_run_goes_on_when_wandb_s_own_process_is_gone(tmp_path, finished):
    program = (
        "import json, psutil, sys; from prism_bench.results.wandb_logger import WandbLogger\n"
        "logger = WandbLogger(sys.argv[1], project='p')\n"
        "for process in psutil.Process().children(): process.kill(); process.wait()\n"
        "for step in range(3): logger.log({'sft/loss': 1.0}, step)\n"
        "logger.result(json.load(open(sys.argv[1] + '/result.json'))); logger.finish()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.count("W&B did not store: values of training") == 1
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 4


def test_an_offline_run_prints_nothing(tmp_path):
    program = (
        "import sys; from prism_bench.results.wandb_logger import WandbLogger\n"
        "logger = WandbLogger(sys.argv[1], project='quiet')\n"
        "logger.log({'sft/loss': 1.0}, step=0); logger.location; logger.finish()"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read_offline_run(tmp_path).column("sft/loss") == [1.0]


def test_an_unreachable_server_means_an_offline_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("prism_bench.results.wandb_logger.ONLINE_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    logger = WandbLogger(tmp_path, project="prism-bench")
    logger.log({"sft/loss": 1.0}, step=0)
    logger.finish()
    assert "cannot be reached" in caplog.text
    assert read_offline_run(tmp_path).column("sft/loss") == [1.0]


def test_credentials_are_found_without_the_network(tmp_path, monkeypatch):
    assert not logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert logged_in()
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n login user\n password key\n")
    assert logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not logged_in()
    (tmp_path / "netrc").write_text("machine\n")
    assert not logged_in()


@pytest.mark.parametrize(("name", "kind"), [("none", FileLogger), ("wandb", WandbLogger)])
def test_the_configuration_makes_a_logger(tmp_path, name, kind):
    start = make(resolve(OmegaConf.load(CONF / f"{name}.yaml")).values, "logger", Logger)
    logger = start(tmp_path, {"logger": name}, LABELS)
    assert isinstance(logger, kind)
    logger.log({"sft/loss": 1.0}, step=0)
    logger.finish()
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["sft/loss"] == 1.0
