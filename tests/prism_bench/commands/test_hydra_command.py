"""The command line: bad input is one sentence, a bug keeps its traceback, help needs no large library."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import failing_job
import pytest
from omegaconf import DictConfig
from rich.console import Console

from prism_bench.commands.hydra_command import CONF, hydra_command

ROOT = CONF.parent
PROGRAMS = {"run": [str(ROOT / "run.py")], "collect": ["-m", "prism_bench", "collect"]}
FAILING_JOB = [str(Path(failing_job.__file__))]


def start(program: list[str], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
    )


def files(group: str) -> set[str]:
    return {path.stem for path in (CONF / group).glob("*.yaml")}


def never(config: DictConfig, console: Console) -> None:
    """A job that is never reached."""
    raise AssertionError


REFUSALS = [
    (["prompt=recat"], "there is no prompt 'recat'; choose from react, act, action"),
    (["sead=1"], "the configuration has no setting 'sead'; choose from seed, "),
    (["foo.bar=1"], "the configuration has no setting 'foo'; choose from "),
    (["model.bas.episodes=1"], "model has no setting 'bas'; choose from base, "),
    (["env.make.engine=x"], ", or add it with +env.make.engine=VALUE"),
    (["env"], "'env' is no setting, it has no '='; write KEY=VALUE, "),
    (["seed=[1"], "'seed=[1' is no setting, it cannot be read; "),
    (["seed=1,2"], "seed=1,2 are several values; add -m for a run of each, or write seed=[1,2] for one list"),
    (["+seed=1"], "An item is already at 'seed'."),
    (["=1"], "must be a string"),
    (["seed="], "seed= has no value; write seed=VALUE, or \"seed=''\" for an empty text"),
    (["--multirun", "prompt=action,recat"], "there is no prompt 'recat'; choose from react, act, action"),
    (["hydra.run.dir=/dev/null/run"], "Not a directory: '/dev/null/run'"),
    (["--config-dir=broken", "+broken=broken"], '/broken/broken.yaml", line 1, column 5'),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSALS, ids=[" ".join(words) for words, _ in REFUSALS])
def test_what_hydra_refuses_is_one_sentence(end, tmp_path, arguments, sentence):
    (tmp_path / "broken" / "broken").mkdir(parents=True)
    (tmp_path / "broken" / "broken" / "broken.yaml").write_text("a: b: c")
    status, out, error = end(hydra_command("config")(never), *arguments)
    assert (status, out) == (1, "")
    assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_refuse_in_one_sentence_even_with_help(program):
    finished = start(PROGRAMS[program], "--help", "prompt=recat")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == "error: there is no prompt 'recat'; choose from react, act, action, indexed\n"


@pytest.mark.parametrize(("group", "misspelt", "meant"), [("router", "prsm", "prism"), ("model", "tniy", "tiny")])
def test_all_choices_are_named_the_nearest_first(end, group, misspelt, meant):
    _, _, error = end(hydra_command("config")(never), f"{group}={misspelt}")
    listed = error.strip().partition("choose from ")[2].split(", ")
    assert listed[0] == meant
    assert set(listed) == files(group)


@pytest.mark.parametrize(
    ("failure", "error", "place"),
    [
        ("bug", "ValueError: matrices do not fit", "phase sft, 120/160 updates"),
        ("system", "OSError: [Errno 5] Input/output error", "phase sft, 120/160 updates"),
        ("wrapped", "RuntimeError: the stage was not made", "phase sft, 120/160 updates"),
        ("outside", "ValueError: matrices do not fit", "prism-bench failing_job, outside of its phases"),
    ],
)
def test_a_bug_keeps_its_traceback_and_says_what_was_running(end, tmp_path, failure, error, place):
    status, out, shown = end(failing_job.main, "hydra.run.dir=run", FAILURE=failure)
    assert (status, out) == (1, "")
    for text in (shown, (tmp_path / "run" / "failing_job.log").read_text()):
        lines = text.splitlines()
        assert "Traceback (most recent call last):" in lines
        assert any(", in deep_inside" in line for line in lines)
        assert lines[-2:] == [error, f"while running: {place}"]
    assert "site-packages/hydra" not in shown


def test_a_bug_ends_the_program_itself_alike(tmp_path):
    finished = start(FAILING_JOB, f"hydra.run.dir={tmp_path}", FAILURE="bug", PYTHONPATH=str(ROOT))
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith("Traceback (most recent call last):\n")
    assert finished.stderr.endswith("ValueError: matrices do not fit\nwhile running: phase sft, 120/160 updates\n")


def test_bad_input_is_one_sentence_in_the_terminal_and_in_the_log(end, tmp_path):
    sentence = "data=shop is no folder; name one that is"
    assert end(failing_job.main, "hydra.run.dir=run", FAILURE="input") == (1, "", f"error: {sentence}\n")
    (line,) = (tmp_path / "run" / "failing_job.log").read_text().splitlines()
    assert line.endswith(f"[ERROR] - {sentence}")


def test_a_traceback_is_shown_to_those_who_ask_for_it(end, monkeypatch):
    finished = start(PROGRAMS["run"], "prompt=recat", HYDRA_FULL_ERROR="1")
    assert finished.returncode == 1
    assert "Traceback (most recent call last)" in finished.stderr and "MissingConfigException" in finished.stderr
    monkeypatch.setattr("prism_bench.commands.hydra_command._TRACEBACKS", True)
    status, _, error = end(failing_job.main, FAILURE="input")
    assert status == 1
    assert "Traceback (most recent call last)" in error and "InputError: data=shop is no folder" in error


@pytest.mark.parametrize(("failure", "status"), [("interrupt", 130), ("terminate", 143)])
def test_signals_end_a_command_with_one_line(end, failure, status):
    before = signal.getsignal(signal.SIGTERM)
    said = "error: interrupted in phase sft, 120/160 updates; start the same command again to go on\n"
    assert end(failing_job.main, FAILURE=failure) == (status, "", said)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_ends_a_sweep(end):
    status, out, error = end(failing_job.main, "-m", "seed=0,1", FAILURE="terminate")
    assert status == 143 and error.count("interrupted") == 1 and "is done" not in out


def test_a_job_that_fails_does_not_stop_a_sweep(end, tmp_path):
    sweep = ("-m", "seed=0,1", "hydra.sweep.dir=runs", "hydra.sweep.subdir=${seed}")
    status, out, error = end(failing_job.main, *sweep, FAILURE="first job")
    assert status == 1
    assert "seed 1 is done" in out and "seed 0 is done" not in out
    assert "RuntimeError: seed 0 fails" in error
    assert out.endswith(
        "1 of 2 jobs failed:\n"
        "  runs/0: RuntimeError: seed 0 fails in two lines\n"
        "The finished runs beside each other: prism-bench report runs/1\n"
    )
    assert "seed 0 fails" in (tmp_path / "runs" / "0" / "failing_job.log").read_text()
    assert (tmp_path / "runs" / "1" / "failing_job.log").read_text() == ""


def test_a_sweep_ends_with_the_command_that_compares_its_runs(end):
    sweep = ("-m", "seed=0,1", "hydra.sweep.dir=my runs", "hydra.sweep.subdir=${seed}")
    status, out, _ = end(failing_job.main, *sweep, FAILURE="none")
    assert status == 0
    assert out.endswith("\nThe finished runs beside each other: prism-bench report 'my runs'/*/\n")


def test_a_value_may_refer_to_another_setting(end):
    status, out, error = end(failing_job.main, "seed=${trajectories}", "trajectories=7", FAILURE="none")
    assert (status, error) == (0, "") and "seed 7 is done" in out


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_does_not_wait_for_the_large_libraries(program):
    finished = start(["-X", "importtime", *PROGRAMS[program]], "--help")
    assert finished.returncode == 0 and "key=value" in finished.stdout
    modules = {line.rpartition("|")[2].strip() for line in finished.stderr.splitlines()}
    assert "hydra" in modules
    assert not modules & {"torch", "transformers", "datasets"}
