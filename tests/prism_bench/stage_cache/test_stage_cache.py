"""Stages are made once, found by everything that went into them, and never served damaged."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from prism_bench.accounting.ledger import Ledger
from prism_bench.digests import content_digest
from prism_bench.errors import InputError
from prism_bench.stage_cache.cache import StageCache
from prism_bench.stage_cache.declaration import Files, Inputs, stage
from prism_bench.stage_cache.key import modules_named, part_of

CONFIG: dict[str, Any] = {"seed": 0, "env": {"make": {"seed": 1, "data": None}, "workers": False}, "folder": "runs"}


@stage("copy", settings=("seed", "env.make"), parents=("text",), values=("words",))
def copy(inputs: Inputs, folder: Path, ledger: Ledger) -> None:
    """Write the parent's text, the seed and the words; fail where the words say so."""
    with ledger.phase("copy") as meter:
        meter.add(trained_tokens=5)
        (folder / "first").write_text(inputs.parents["text"].path.read_text())
        if inputs.values["words"] == ["fail"]:
            raise RuntimeError("the stage failed")
        (folder / "sub").mkdir()
        (folder / "sub" / "second").write_text(f"{inputs.settings['seed']} {inputs.values['words']}")


@stage("grow", values=("length",), resumable=True)
def grow(inputs: Inputs, folder: Path, killed_at: int | None) -> None:
    """Append a letter at a time; die at a length."""
    file = folder / "letters"
    for length in range(len(file.read_text()) if file.exists() else 0, inputs.values["length"]):
        if length == killed_at:
            raise KeyboardInterrupt
        with file.open("a") as text:
            text.write("x")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text"
    file.write_text("hello")
    return file


def make(root: Path, text: Path, config: dict[str, Any] = CONFIG, words: Any = ("a", "b")):
    ledger = Ledger()
    parents = {"text": Files(text, content_digest(text))}
    return StageCache(root, ledger).get(copy, ledger, config=config, parents=parents, values={"words": words}), ledger


def test_a_stage_is_made_once_and_found_with_its_cost(tmp_path, text):
    (made, first), (found, second) = make(tmp_path, text), make(tmp_path, text)
    assert (made.cached, found.cached) == (False, True)
    assert (made.path, made.key, made.manifest) == (found.path, found.key, found.manifest)
    assert (found.path / "sub" / "second").read_text() == "0 ('a', 'b')"
    (row,) = second.rows
    assert (row.phase, row.trained_tokens, row.cached) == ("copy", 5, True) and row.seconds == first.rows[0].seconds
    assert json.loads((found.path.parent / "inputs.json").read_text())["settings"]["seed"] == 0


def test_a_look_finds_what_is_there_and_changes_nothing(tmp_path, text):
    root = tmp_path / "cache"
    given = {"config": CONFIG, "parents": {"text": Files(text, content_digest(text))}, "values": {"words": ("a", "b")}}
    assert StageCache(root, Ledger()).find(copy, **given) is None and not root.exists()
    made, _ = make(root, text)
    assert StageCache(root, Ledger()).find(copy, **given).key == made.key
    (made.path / "first").write_text("damaged")
    assert StageCache(root, Ledger()).find(copy, **given) is None
    assert (made.path / "first").read_text() == "damaged"


def changed(path: str, value: Any) -> dict[str, Any]:
    config = json.loads(json.dumps(CONFIG))
    *parents, last = path.split(".")
    part_of(config, ".".join(parents))[last] = value if parents else None
    if not parents:
        config[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [("env.make.seed", 2, True), ("env.make.new", 0, True), ("env.workers", True, False)],
)
def test_only_declared_parts_of_the_configuration_count(tmp_path, text, path, value, read):
    first, _ = make(tmp_path, text)
    second, _ = make(tmp_path, text, changed(path, value))
    assert second.cached != read and (first.key != second.key) == read


def test_an_undeclared_input_is_out_of_reach(tmp_path):
    @stage("greedy", settings=("seed",))
    def greedy(inputs: Inputs, folder: Path, tools: None) -> None:
        (folder / "text").write_text(str(inputs.settings["folder"]))

    with pytest.raises(KeyError, match="folder"):
        StageCache(tmp_path, Ledger()).get(greedy, None, config=CONFIG)
    secret = "from outside"
    with pytest.raises(TypeError, match="'closed' must be a function of its arguments only"):

        @stage("closed")
        def closed(inputs: Inputs, folder: Path, tools: None) -> None:
            (folder / "text").write_text(secret)


def test_parents_count_by_content_and_not_by_place_or_time(tmp_path, text):
    first, _ = make(tmp_path / "cache", text)
    moved = tmp_path / "moved"
    moved.write_text("hello")
    os.utime(moved, (0, 0))
    assert make(tmp_path / "cache", moved)[0].cached
    moved.write_text("hallo")
    os.utime(moved, (0, 0))
    other, _ = make(tmp_path / "cache", moved)
    assert not other.cached and other.key != first.key


def test_a_setting_that_names_files_counts_by_their_content(tmp_path, text):
    data = tmp_path / "data"
    data.mkdir()
    (data / "game").write_text("1")
    config = changed("env.make.data", str(data))
    first, _ = make(tmp_path / "cache", text, config)
    data.rename(tmp_path / "elsewhere")
    moved = changed("env.make.data", str(tmp_path / "elsewhere"))
    assert make(tmp_path / "cache", text, moved)[0].key == first.key
    (tmp_path / "elsewhere" / "game").write_text("2")
    assert make(tmp_path / "cache", text, moved)[0].key != first.key


def test_a_word_that_happens_to_be_a_folder_is_a_word(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = changed("env.make.split", "train")
    make(tmp_path / "cache", text, config, words="train")
    (tmp_path / "train").mkdir()
    assert make(tmp_path / "cache", text, config, words="train")[0].cached
    named = changed("env.make.data", "train")  # but a bare word under this key is a folder
    second, _ = make(tmp_path / "cache", text, named)
    (tmp_path / "train" / "game").write_text("1")
    assert make(tmp_path / "cache", text, named)[0].key != second.key


def test_code_and_versions_count(tmp_path, text, monkeypatch):
    first, _ = make(tmp_path, text)
    monkeypatch.setattr("prism_bench.stage_cache.code_digest._version", lambda name: "0.0")
    assert make(tmp_path, text)[0].key != first.key


def test_classes_and_environments_that_settings_name_are_found():
    settings = {"_target_": "a.B", "options": [{"_target_": "c.d.E"}], "id": "envs.shop:Shop-v0", "lr": "1e-3: high"}
    assert sorted(modules_named(settings)) == ["a.B", "c.d.E", "envs.shop"]


def test_a_file_of_a_stage_is_a_parent_of_its_own(tmp_path, text):
    made, _ = make(tmp_path, text)
    part = made.files("sub")
    assert part.path == made.path / "sub" and part.content == content_digest(part.path)
    assert made.files().content == content_digest(made.path) != part.content
    with pytest.raises(KeyError, match="has no third"):
        made.files("third")


def test_a_stage_that_fails_leaves_nothing_and_can_be_made_again(tmp_path, text):
    with pytest.raises(RuntimeError, match="the stage failed"):
        make(tmp_path / "cache", text, words=["fail"])
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("file", ["files/first", "files/sub/second", "ledger.json", "manifest.json"])
@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: os.truncate(path, 1)], ids=["flip", "lose", "cut"])
def test_a_damaged_stage_is_named_and_made_again(tmp_path, text, caplog, file, damage):
    made, _ = make(tmp_path / "cache", text)
    whole = (made.path / "first").read_bytes()
    damage(made.path.parent / file)
    again, ledger = make(tmp_path / "cache", text)
    assert not again.cached and again.key == made.key and (again.path / "first").read_bytes() == whole
    assert [row.cached for row in ledger.rows] == [False]
    assert str(made.path.parent) in caplog.text and "is made again" in caplog.text
    assert make(tmp_path / "cache", text)[0].cached


def test_the_folder_of_another_stage_is_damage_too(tmp_path, text, caplog):
    made, _ = make(tmp_path / "cache", text)
    other, _ = make(tmp_path / "cache", text, words=["c"])
    whole = (made.path / "sub" / "second").read_text()
    shutil.rmtree(made.path.parent)
    shutil.copytree(other.path.parent, made.path.parent)
    again, _ = make(tmp_path / "cache", text)
    assert not again.cached and (again.path / "sub" / "second").read_text() == whole
    assert f"it is the stage {other.key}" in caplog.text


def test_a_stage_is_made_again_where_that_is_asked_for(tmp_path, text):
    made, _ = make(tmp_path / "cache", text)
    parents, values = {"text": Files(text, content_digest(text))}, {"words": ("a", "b")}
    ledger = Ledger()
    cache = StageCache(tmp_path / "cache", ledger, force=["copy"])
    again, found = (cache.get(copy, ledger, config=CONFIG, parents=parents, values=values) for _ in range(2))
    assert (again.cached, again.key, again.manifest) == (False, made.key, made.manifest)
    assert found.cached and len(ledger.rows) == 1  # once in a run


@stage("part", values=("phase",), phase="whole")
def part(inputs: Inputs, folder: Path, tools: None) -> None:
    (folder / "file").write_text("x")


@pytest.mark.parametrize(("force", "again"), [("part", True), ("whole", True), ("sft", True), ("rl", False)])
def test_a_phase_names_its_stages_too(tmp_path, force, again):
    for cache in (StageCache(tmp_path, Ledger()), StageCache(tmp_path, Ledger(), force=[force])):
        made = cache.get(part, None, config={}, values={"phase": "sft"})
    assert made.cached != again


def test_a_file_that_was_added_is_damage_too(tmp_path, text, caplog):
    made, _ = make(tmp_path / "cache", text)
    (made.path / "third").write_text("new")
    assert not make(tmp_path / "cache", text)[0].cached and "third was added" in caplog.text


SLOW_STAGE = """
import sys, time
from pathlib import Path
from prism_bench.accounting.ledger import Ledger
from prism_bench.stage_cache.cache import StageCache
from prism_bench.stage_cache.declaration import stage

@stage("base", settings=("seed",))
def base(inputs, folder, root):
    with ledger.phase("base") as meter:
        meter.add(trained_tokens=5)
        (folder / "part").write_text("one part")
        (root / "started").touch()
        while not (root / "go").exists():
            time.sleep(0.01)
        (folder / "whole").write_text("both parts")

root, ledger = Path(sys.argv[1]), Ledger()
made = StageCache(root, ledger).get(base, root, config={"seed": 0})
print("cached" if made.cached else "made", ledger.rows[0].trained_tokens, ledger.rows[0].cached)
"""


def slow_stage(root: Path) -> subprocess.Popen:
    """Start a process that makes a stage and does not finish it before there is a file ``go``."""
    (root / "slow_stage.py").write_text(SLOW_STAGE)
    return subprocess.Popen(
        [sys.executable, str(root / "slow_stage.py"), str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


@pytest.mark.slow
def test_of_two_processes_one_makes_the_stage(tmp_path):
    first = slow_stage(tmp_path)
    wait_for(tmp_path / "started")
    second = slow_stage(tmp_path)
    assert "waiting for it" in second.stderr.readline()
    (tmp_path / "go").touch()
    assert first.communicate()[0].split() == ["made", "5", "False"]
    assert second.communicate()[0].split() == ["cached", "5", "True"]


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_counts(tmp_path):
    killed = slow_stage(tmp_path)
    wait_for(tmp_path / "started")
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (tmp_path / "go").touch()
    assert slow_stage(tmp_path).communicate()[0].split() == ["made", "5", "False"]
    (folder,) = (tmp_path / "base").glob("[!.]*")
    assert {file.name for file in (folder / "files").iterdir()} == {"part", "whole"}
    assert not list((tmp_path / "base").glob("*.making"))


def test_a_resumable_stage_continues_from_what_was_left(tmp_path):
    cache = StageCache(tmp_path, Ledger())
    with pytest.raises(KeyboardInterrupt):
        cache.get(grow, 3, config={}, values={"length": 5})
    (left,) = tmp_path.rglob("letters")
    assert left.read_text() == "xxx"
    made = cache.get(grow, 0, config={}, values={"length": 5})  # would die at 0 if it began anew
    assert (made.path / "letters").read_text() == "xxxxx"


def full_disk(folder: Path) -> None:
    raise OSError(28, "No space left on device")


def wrapped(folder: Path) -> None:
    raise RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)")


def other_file(folder: Path) -> None:
    (folder / "missing").read_text()


@stage("call")
def call(inputs: Inputs, folder: Path, job: Any) -> None:
    """Do whatever the test wants."""
    job(folder)


@pytest.mark.parametrize("job", [full_disk, wrapped])
def test_a_full_disk_is_one_sentence(tmp_path, job):
    with pytest.raises(InputError, match=r"the disk became full while making the stage 'call' .* cache=DIR$"):
        StageCache(tmp_path, Ledger()).get(call, job, config={})


def test_other_file_errors_of_a_stage_are_its_own(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        StageCache(tmp_path, Ledger()).get(call, other_file, config={})


def test_a_root_that_cannot_be_written_is_one_sentence(tmp_path, text):
    with pytest.raises(InputError, match="make that folder writable or choose another one with cache=DIR"):
        make(text, text)


@pytest.mark.parametrize(
    ("words", "place"),
    [(float("nan"), "values.words"), ([{1, 2}], r"values.words\[0\]"), ({1: "a"}, "values.words: the key 1")],
)
def test_inputs_that_are_not_json_are_refused(tmp_path, text, words, place):
    with pytest.raises(InputError, match=place):
        make(tmp_path, text, words=words)
