"""``compare.py`` as its users run it, shrunk to seconds: plan, runs, a failure, and going on after it was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shrunken import ALWAYS, SMALL

from prism_bench.commands.compare import main
from prism_bench.comparison.record import read_comparison

ROOT = Path(__file__).resolve().parents[1]


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start a comparison whose runs and stages lie in ``folder``."""
    command = [sys.executable, str(ROOT / "compare.py"), *arguments, *SMALL, *ALWAYS, f"cache={folder / 'stages'}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, "--out", str(folder / "out"), "--processes", "2"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def compare(folder: Path, *arguments: str, status: int = 0) -> str:
    process = start(folder, *arguments)
    text, _ = process.communicate(timeout=600)
    assert process.returncode == status, text
    return text


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A comparison of two routers and of a setting with which runs fail, killed once on its way."""
    folder = tmp_path_factory.mktemp("compared")
    grid = ("router=[random,loss]", "strategy=split")
    process = start(folder, *grid)
    while not list(folder.glob("out/runs/*/.hydra")):
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return folder, compare(folder, *grid)


def test_a_comparison_that_was_killed_ends_with_the_table_of_all_runs(finished):
    folder, text = finished
    comparison, tables = read_comparison(folder / "out" / "comparison.json")
    assert [(run.configuration, run.seed) for run in comparison.runs] == [("random-split", 0), ("loss-split", 0)]
    assert {row["verdict"] for row in tables["differences"]} == {"one seed"}
    assert "2 of 2 runs have ended" in text and "loss-split" in text
    assert "| loss-split" in (folder / "out" / "comparison.md").read_text()
    assert all((folder / "out" / run.folder / "result.json").is_file() for run in comparison.runs)


def test_the_same_command_again_runs_nothing_and_gives_the_same_table(finished):
    folder, _ = finished
    before = (folder / "out" / "comparison.json").read_bytes()
    text = compare(folder, "router=[random,loss]", "strategy=split")
    assert "2 runs, of which 2 have a result" in text
    assert (folder / "out" / "comparison.json").read_bytes() == before


def test_a_plan_says_what_is_there_and_what_the_rest_costs(finished):
    folder, _ = finished
    text = compare(folder, "router=[random,loss]", "strategy=[split,sft]", "seed=range(2)", "--plan")
    lines = {line.split(":")[0]: line for line in text.splitlines() if ": " in line}
    assert "has a result" in lines["random-split-s0"] and "has a result" in lines["loss-split-s0"]
    assert lines["sft-s0"].endswith("to make: sft, eval")  # what it shares with the runs of the seed is cached
    assert lines["sft-s1"].endswith("to make: base, sft, eval")
    assert "2 seeds show differences from" in text
    assert not (folder / "out" / "runs" / "sft-s0").exists()


def test_a_run_that_fails_is_named_with_its_reason_and_stops_no_other(finished, tmp_path):
    folder, _ = finished
    text = compare(folder, "router=random", "strategy=split", "router.quantile=[0.5,0.01]", status=1)
    assert "failed: the split leaves no trajectory for sft" in text
    comparison, _ = read_comparison(folder / "out" / "comparison.json")
    assert len(comparison.runs) == len(comparison.failed) == 1
    assert all(failed.reason.startswith("the split leaves no trajectory") for failed in comparison.failed)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the sentence with which the command refuses its arguments."""
    with pytest.raises(SystemExit) as refusal:
        main(arguments)
    text = capsys.readouterr().err
    assert refusal.value.code == 1 and text.startswith("error: ") and text.count("\n") == 1, text
    return text


def test_tables_are_verified_from_outcomes(finished, capsys):
    folder, _ = finished
    path = folder / "out" / "comparison.json"
    assert main(["--verify", str(path)]) == 0
    assert "every table follows" in capsys.readouterr().out
    content = json.loads(path.read_text())
    content["tables"]["rates"][0]["mean"] += 0.01
    changed = folder / "changed.json"
    changed.write_text(json.dumps(content))
    assert "the table 'rates' does not follow" in refused(capsys, "--verify", str(changed))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name settings to compare"),
        (["router=[prism,nothing]"], "there is no router 'nothing'"),
        (["router=prism", "--launcher", "nothing"], "there is no launcher 'nothing'"),
        (["router=prism", "--reach", "3"], "reach"),
        (["--baseline", "random", "router=prism"], "write KEY=VALUE"),
        (["--baseline", "router=loss", "router=[prism,random]"], "choose those of one of prism-split, random-split"),
        (["router=prism", "--processes", "0", "seed=1"], "launcher.processes=0"),
        (["--verify", "none.json"], "not readable as a comparison"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    assert reason in refused(capsys, *arguments)
    assert not list(tmp_path.iterdir())


def test_the_results_in_the_repository_hold(capsys):
    for path in sorted((ROOT / "results").glob("*.json")):
        assert main(["--verify", str(path)]) == 0
