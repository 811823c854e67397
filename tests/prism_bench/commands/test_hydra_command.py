"""The command line of both programs: what Hydra refuses is one sentence, and help comes without the large libraries."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prism_bench.commands.hydra_command import CONF

ROOT = CONF.parent
PROGRAMS = {"run": ["run.py"], "collect": ["-m", "prism_bench.collect"]}


def start(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *PROGRAMS[program], *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
    )


def files(group: str) -> set[str]:
    return {path.stem for path in (CONF / group).glob("*.yaml")}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["prompt=recat"], "there is no prompt 'recat'; choose from react, action"),
        (["sead=1"], "the configuration has no setting 'sead'; choose from seed, "),
        (["foo.bar=1"], "the configuration has no setting 'foo'; choose from "),
        (
            ["model.bas.episodes=1"],
            "model has no setting 'bas'; choose from base, ",
        ),
        (["env.make.engine=x"], ", or add it with +env.make.engine=VALUE"),
        (["env"], "'env' is no setting, it has no '='; write KEY=VALUE, "),
        (["seed=[1"], "'seed=[1' is no setting, it cannot be read; "),
        (["seed=1,2"], "seed=1,2 are several values; add -m for a run of each, or write seed=[1,2] for one list"),
        (["+seed=1"], "An item is already at 'seed'."),
        (["=1"], "must be a string"),
        (["--multirun", "prompt=action,recat"], "there is no prompt 'recat'; choose from react, action"),
        (["--help", "prompt=recat"], "there is no prompt 'recat'; choose from react, action"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_hydra_refuses_is_one_sentence(program: str, arguments: list[str], sentence: str) -> None:
    finished = start(program, *arguments)
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert finished.stderr.startswith("error: ") and finished.stderr.count("\n") == 1
    assert sentence in finished.stderr


@pytest.mark.parametrize(("group", "misspelt", "meant"), [("router", "prsm", "prism"), ("model", "tniy", "tiny")])
def test_all_choices_are_named_the_nearest_first(group: str, misspelt: str, meant: str) -> None:
    _, _, listed = start("run", f"{group}={misspelt}").stderr.strip().partition("choose from ")
    assert listed.split(", ")[0] == meant
    assert set(listed.split(", ")) == files(group)


def test_a_setting_without_a_value_is_refused(tmp_path: Path) -> None:
    finished = start("collect", "seed=", f"out={tmp_path / 'episodes.parquet'}")
    assert finished.returncode == 1 and not list(tmp_path.iterdir())
    assert finished.stderr == "error: seed= has no value; write seed=VALUE, or \"seed=''\" for an empty text\n"


def test_a_traceback_is_shown_to_those_who_ask_for_it() -> None:
    finished = start("run", "router=prsm", HYDRA_FULL_ERROR="1")
    assert finished.returncode == 1
    assert "Traceback (most recent call last)" in finished.stderr and "MissingConfigException" in finished.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_does_not_wait_for_the_large_libraries(program: str) -> None:
    how = "run_path" if program == "run" else "run_module"
    code = (
        f"import atexit, runpy, sys; sys.argv = [{program!r}, '--help']\n"
        "atexit.register(lambda: print({'torch', 'transformers', 'datasets'} & set(sys.modules), file=sys.stderr))\n"
        f"runpy.{how}({PROGRAMS[program][-1]!r}, run_name='__main__')"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0 and "key=value" in finished.stdout
    assert finished.stderr == "set()\n"
