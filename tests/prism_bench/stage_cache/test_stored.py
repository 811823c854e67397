"""Stages on disk: what made them, who uses them, and what may be removed."""

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from prism_bench.accounting.ledger import Ledger
from prism_bench.errors import InputError
from prism_bench.stage_cache.cache import Stage, StageCache, lock_file, making_folder
from prism_bench.stage_cache.declaration import Inputs, stage
from prism_bench.stage_cache.stored import find_stage, origins, removable, remove, stored_stages


@stage("learn", settings=("seed", "router"), values=("phase", "tasks"))
def learn(inputs: Inputs, folder: Path, ledger: Ledger) -> None:
    with ledger.phase("learn") as meter:
        meter.add(flops=7)
        (folder / "weights").write_text("w" * 100)


@stage("grade", parents=("policy",))
def grade(inputs: Inputs, folder: Path, ledger: Ledger) -> None:
    (folder / "mark").write_text("good")


class Router:
    """A class for settings to name."""


@pytest.fixture
def made(tmp_path):
    """Two stages, of which a run uses the first, and the other another run."""
    root, ledger = tmp_path / "cache", Ledger()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    config = {"seed": 3, "router": {"_target_": f"{__name__}.Router", "quantile": 0.5}}
    values = {"phase": "sft", "tasks": ["a", "b", "c", "d"]}
    first = StageCache(root, ledger, tmp_path / "one").get(learn, ledger, config=config, values=values)
    parents = {"policy": first.files("weights")}
    return root, first, StageCache(root, ledger, tmp_path / "two").get(grade, ledger, config={}, parents=parents)


def names(things) -> set[str]:
    return {thing.path.parent.name if thing.path.name[0] != "." else thing.path.suffix for thing in things}


def folder(made: Stage) -> Path:
    return made.path.parent


def test_a_stage_says_what_made_it_at_what_cost_and_for_whom(made):
    root, first, second = made
    learned = find_stage(root, f"learn/{first.key[:6]}")
    assert learned.description == "phase sft, 4 tasks, Router, seed 3"
    assert (learned.name, learned.key, learned.runs) == ("learn", first.key, (root.parent / "one",))
    assert [row.flops for row in learned.rows] == [7] and learned.size > 100
    assert {stage.name for stage in stored_stages(root)} == {"learn", "grade"}
    assert [stage.name for stage in stored_stages(root, ["grade"])] == ["grade"]
    parent = find_stage(root, second.key).inputs["parents"]["policy"]
    assert origins(root)[first.files().content].key == origins(root)[parent].key == first.key


@pytest.mark.parametrize(("key", "problem"), [("x", "no stage"), ("", "2 stages")])
def test_a_key_that_names_no_single_stage_is_refused(made, key, problem):
    with pytest.raises(InputError, match=f"{key!r} names {problem} under"):
        find_stage(made[0], key)


@pytest.mark.parametrize("file", ["manifest.json", "inputs.json", "ledger.json", "runs"])
def test_damaged_records_stop_nobody(made, file):
    root, first, _ = made
    (folder(first) / file).write_bytes(b"\xff{")
    assert len(stored_stages(root)) == 2
    damaged = find_stage(root, first.key)
    assert (damaged.description == "damaged") == (file != "runs")


def test_a_stage_is_free_when_its_runs_are_gone(made):
    root, first, second = made
    assert removable(root) == []
    assert names(removable(root, used_too=True)) == {"learn", "grade"}
    (root.parent / "one").rmdir()
    assert names(removable(root)) == {"learn"} and removable(root, names=["grade"]) == []
    assert names(remove(removable(root))) == {"learn"}
    assert not folder(first).exists() and not lock_file(folder(first)).exists() and second.path.exists()


def test_only_what_was_not_used_for_long(made):
    root, first, _ = made
    assert removable(root, older_than=1, used_too=True) == []
    old = time.time() - 3 * 24 * 3600
    os.utime(folder(first) / "runs", (old, old))
    assert names(removable(root, older_than=1, used_too=True)) == {"learn"}
    assert removable(root, older_than=4, used_too=True) == []


def test_leftovers_and_stale_locks_go_but_never_what_is_locked(made):
    root, first, _ = made
    killed, gone = folder(first).with_name("killed"), folder(first).with_name("gone")
    making_folder(killed).mkdir()
    (making_folder(killed) / "part").write_text("xx")
    for place in (killed, gone):
        lock_file(place).touch()
    held = FileLock(lock_file(killed))
    with held:
        assert [thing.reason for thing in removable(root)] == ["stale lock"]
    found = removable(root)
    assert sorted(thing.reason for thing in found) == ["stale lock", "stale lock", "unfinished"]
    with held:
        assert [thing.path for thing in remove(found)] == [lock_file(gone)]
    assert sorted(thing.reason for thing in remove(removable(root))) == ["stale lock", "unfinished"]
    assert removable(root) == [] and first.path.exists()
