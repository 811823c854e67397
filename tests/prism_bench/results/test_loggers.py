import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
from omegaconf import OmegaConf
from wandb.proto.wandb_internal_pb2 import Record

from prism_bench.results.loggers import FileLogger, Logger, WandbLogger, logged_in
from prism_bench.settings.configuration import resolve
from prism_bench.settings.making import make

CONF = Path(__file__).parents[3] / "conf" / "logger"


@pytest.fixture(autouse=True)
def logged_out(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()  # its settings are read once per process


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def wandb_records(folder: Path) -> list[Record]:
    """Read a ``.wandb`` file: a 7-byte header, then LevelDB's log format (blocks of 32 KiB that split records)."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content, position, records, parts = path.read_bytes(), 7, [], b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(Record.FromString(parts))
            parts = b""
    return records


def test_every_number_goes_to_the_file(tmp_path):
    logger = FileLogger(tmp_path / "run")
    logger.log({"sft/loss": 0.5, "sft/tokens": np.int64(7)}, step=3)
    logger.log({"rl/reward": torch.tensor(0.25)})
    logger.summary({"ledger/route/flops": 10**22, "success/final/valid_seen": float("nan")})
    logger.finish()
    first, second, last = lines(tmp_path / "run")
    assert (first["step"], first["sft/loss"], first["sft/tokens"]) == (3, 0.5, 7)
    assert (second["step"], second["rl/reward"]) == (None, 0.25)
    assert last["summary"] == {"ledger/route/flops": 10**22, "success/final/valid_seen": None}
    assert logger.location == str(tmp_path / "run" / "metrics.jsonl")


def test_a_second_logger_continues_the_file(tmp_path):
    FileLogger(tmp_path).log({"sft/loss": 1.0}, step=0)
    FileLogger(tmp_path).log({"sft/loss": 0.5}, step=1)
    assert [line["sft/loss"] for line in lines(tmp_path)] == [1.0, 0.5]


def test_an_offline_run_is_written_and_can_be_read_back(tmp_path):
    logger = WandbLogger(tmp_path, {"seed": 0, "env": {"split": "train"}}, project="prism-bench")
    for step in range(3):
        logger.log({"sft/loss": 1.0 - step / 10}, step=step)
    logger.log({"rl/reward": 0.5}, step=0)
    logger.summary({"ledger/route/flops": 10**20, "success/final/valid_seen": 0.4})
    location = Path(logger.location)
    logger.finish()

    records = wandb_records(tmp_path)
    (run,) = [record.run for record in records if record.HasField("run")]
    assert run.project == "prism-bench"
    assert {item.key: json.loads(item.value_json) for item in run.config.update}["env"] == {"split": "train"}
    history = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [(row["sft/step"], row["sft/loss"]) for row in history[:3]] == [(0, 1.0), (1, 0.9), (2, 0.8)]
    assert (history[3]["rl/step"], history[3]["rl/reward"]) == (0, 0.5)
    summary = {
        "/".join(item.nested_key) or item.key: json.loads(item.value_json)
        for record in records
        if record.HasField("summary")
        for item in record.summary.update
    }
    assert (summary["ledger/route/flops"], summary["success/final/valid_seen"]) == (1e20, 0.4)
    axes = {record.metric.glob_name: record.metric.step_metric for record in records if record.HasField("metric")}
    assert (axes["sft/*"], axes["rl/*"]) == ("sft/step", "rl/step")

    assert location.is_dir() and location.parent == tmp_path / "wandb"
    assert [line["sft/loss"] for line in lines(tmp_path)[:3]] == [1.0, 0.9, 0.8]


def test_an_offline_run_prints_nothing(tmp_path):
    program = (
        "import sys; from prism_bench.results.loggers import WandbLogger\n"
        "logger = WandbLogger(sys.argv[1], project='quiet')\n"
        "logger.log({'sft/loss': 1.0}, step=0); logger.location; logger.finish()"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(wandb_records(tmp_path)) > 3


def test_an_unreachable_server_means_an_offline_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("prism_bench.results.loggers.ONLINE_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    logger = WandbLogger(tmp_path, project="prism-bench")
    logger.log({"sft/loss": 1.0}, step=0)
    logger.finish()
    assert "cannot be reached" in caplog.text
    assert any(record.HasField("history") for record in wandb_records(tmp_path))


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
    logger = start(tmp_path, {"logger": name})
    assert isinstance(logger, kind)
    logger.log({"sft/loss": 1.0}, step=0)
    logger.finish()
    assert lines(tmp_path)[0]["sft/loss"] == 1.0
