import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism_bench.accounting.ledger import Ledger
from prism_bench.errors import InputError
from prism_bench.stage_cache import StageCache, content_digest, inputs_digest

SLOW_STAGE = """
import sys, time
from pathlib import Path
from prism_bench.accounting.ledger import Ledger
from prism_bench.stage_cache import StageCache

root = Path(sys.argv[1])
ledger = Ledger()

def make(folder):
    with ledger.phase("base") as meter:
        meter.add(trained_tokens=5)
        (folder / "half").write_text("first half")
        (root / "started").touch()
        while not (root / "go").exists():
            time.sleep(0.01)
        (folder / "whole").write_text("both halves")

stage = StageCache(root, ledger).stage("base", {"seed": 0}, make)
print("cached" if stage.cached else "made", ledger.rows[0].trained_tokens, ledger.rows[0].cached)
"""


def slow_stage(root: Path) -> subprocess.Popen:
    """Start a process that makes a stage and does not finish it before there is a file ``go``."""
    return subprocess.Popen(
        [sys.executable, "-c", SLOW_STAGE, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def write_text(text: str):
    return lambda folder: (folder / "text").write_text(text)


def never(folder: Path) -> None:
    raise AssertionError("the stage should have been found")


def test_a_stage_is_made_once_and_found_with_its_cost(tmp_path):
    first = Ledger()

    def make(folder):
        with first.phase("base") as meter:
            meter.add(trained_tokens=100, flops=7)
            (folder / "text").write_text("weights")

    made = StageCache(tmp_path, first).stage("base", {"seed": 0, "data": ["a", "b"]}, make)
    second = Ledger()
    found = StageCache(tmp_path, second).stage("base", {"data": ["a", "b"], "seed": 0}, never)
    assert (made.cached, found.cached) == (False, True)
    assert made.path == found.path and made.digest == found.digest
    assert (found.path / "text").read_text() == "weights"
    assert [row.cached for row in first.rows] == [False]
    (row,) = second.rows
    assert (row.phase, row.trained_tokens, row.flops, row.cached) == ("base", 100, 7, True)
    assert row.seconds == first.rows[0].seconds
    assert json.loads((found.path.parent / "inputs.json").read_text()) == {"seed": 0, "data": ["a", "b"]}


def test_only_the_costs_of_the_stage_are_stored(tmp_path):
    ledger = Ledger()
    with ledger.phase("collect"):
        pass
    cache = StageCache(tmp_path, ledger)
    cache.stage("base", {}, write_text(""))
    cache.stage("base", {}, never)
    assert [row.phase for row in ledger.rows] == ["collect"]


@pytest.mark.parametrize("inputs", [{"seed": 1}, {"seed": "0"}, {"seed": 0, "more": None}, {}])
def test_other_inputs_make_another_stage(tmp_path, inputs):
    cache = StageCache(tmp_path, Ledger())
    cache.stage("base", {"seed": 0}, write_text("zero"))
    other = cache.stage("base", inputs, write_text("other"))
    assert not other.cached
    assert not cache.stage("sft", {"seed": 0}, write_text("sft")).cached
    assert (cache.stage("base", {"seed": 0}, never).path / "text").read_text() == "zero"


def test_a_stage_that_fails_leaves_nothing_and_can_be_made_again(tmp_path):
    cache = StageCache(tmp_path, Ledger())

    def fail(folder):
        (folder / "half").touch()
        raise RuntimeError("loss is not a number")

    with pytest.raises(RuntimeError, match="loss is not a number"):
        cache.stage("base", {}, fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    stage = cache.stage("base", {}, write_text("whole"))
    assert [path.name for path in stage.path.iterdir()] == ["text"]


def test_of_two_processes_one_makes_the_stage(tmp_path):
    first = slow_stage(tmp_path)
    wait_for(tmp_path / "started")
    second = slow_stage(tmp_path)
    assert "waiting for it" in second.stderr.readline()
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=120)[0].strip() for process in (first, second)]
    assert outputs == ["made 5 False", "cached 5 True"]


def test_a_killed_run_leaves_nothing_that_counts(tmp_path):
    killed = slow_stage(tmp_path)
    wait_for(tmp_path / "started")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert list(tmp_path.rglob("half")), "the run was killed before it had written anything"
    (tmp_path / "go").touch()
    output, errors = slow_stage(tmp_path).communicate(timeout=120)
    assert output.strip() == "made 5 False", errors
    (whole,) = tmp_path.rglob("whole")
    assert sorted(path.name for path in whole.parents[1].iterdir()) == ["files", "inputs.json", "ledger.json"]
    assert not list(tmp_path.rglob("*.making"))


def test_of_a_resumable_stage_the_next_run_finds_what_a_killed_one_left(tmp_path):
    def killed(folder: Path) -> None:
        (folder / "half").write_text("1 2 3")
        raise KeyboardInterrupt

    def failing(folder: Path) -> None:
        assert (folder / "half").read_text() == "1 2 3"
        raise ValueError("a mistake")

    cache = StageCache(tmp_path, Ledger())
    for make, error in ((killed, KeyboardInterrupt), (failing, ValueError)):
        with pytest.raises(error):
            cache.stage("route", {}, make, resumable=True)
    assert not list(tmp_path.rglob("half"))  # a mistake is no interruption
    with pytest.raises(KeyboardInterrupt):
        cache.stage("route", {}, killed, resumable=True)
    stage = cache.stage("route", {}, lambda folder: (folder / "half").rename(folder / "whole"), resumable=True)
    assert not stage.cached and [file.name for file in stage.path.iterdir()] == ["whole"]


def fill_the_disk(folder: Path) -> None:
    Path("/dev/full").write_text("every write to this device fails with ENOSPC")


def fill_the_disk_in_a_library(folder: Path) -> None:
    raise RuntimeError("Error while serializing: IoError: No space left on device (os error 28)")


@pytest.mark.parametrize("make", [fill_the_disk, fill_the_disk_in_a_library])
def test_a_full_disk_is_one_sentence(tmp_path, make):
    with pytest.raises(InputError, match=r"disk became full while making the stage 'base' .* cache=DIR"):
        StageCache(tmp_path, Ledger()).stage("base", {}, make)
    assert not list(tmp_path.rglob("*.making"))


def test_other_file_errors_of_a_stage_are_its_own(tmp_path):
    with pytest.raises(FileNotFoundError):
        StageCache(tmp_path, Ledger()).stage("base", {}, lambda folder: (folder / "missing").read_text())


def test_a_root_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"'base' cannot be written under .*file.* cache=DIR"):
        StageCache(tmp_path / "file", Ledger()).stage("base", {}, write_text(""))


@pytest.mark.parametrize("damage", ["files", "ledger.json"])
def test_a_damaged_stage_is_refused_by_name(tmp_path, damage):
    cache = StageCache(tmp_path, Ledger())
    folder = cache.stage("base", {}, lambda folder: None).path.parent
    (folder / damage).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"{folder.name}.* and run again"):
        cache.stage("base", {}, never)


@pytest.mark.parametrize(
    ("inputs", "place"),
    [
        ({"data": {"folder": Path("x")}}, r"inputs.data.folder: PosixPath\('x'\) is no plain JSON value"),
        ({"rates": [0.1, float("nan")]}, r"inputs.rates\[1\]: nan"),
        ({"splits": {3: "train"}}, "inputs.splits: the key 3 is not a string"),
    ],
)
def test_inputs_that_are_not_json_are_refused(tmp_path, inputs, place):
    with pytest.raises(InputError, match=place):
        StageCache(tmp_path, Ledger()).stage("base", inputs, never)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_a_digest_depends_on_values_and_not_on_order(inputs):
    digest = inputs_digest(inputs)
    assert digest == inputs_digest(dict(reversed(inputs.items())))
    assert digest == inputs_digest(json.loads(json.dumps(inputs)))
    assert digest != inputs_digest(inputs | {"one more key": 0})


def test_digest_of_files_and_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "weights").write_bytes(b"1234")
    before = content_digest(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_digest(tmp_path / "b") == before
    (tmp_path / "b" / "weights").rename(tmp_path / "b" / "model")
    renamed = content_digest(tmp_path / "b")
    (tmp_path / "b" / "model").write_bytes(b"1235")
    assert len({before, renamed, content_digest(tmp_path / "b")}) == 3
    with pytest.raises(FileNotFoundError):
        content_digest(tmp_path / "nothing")
