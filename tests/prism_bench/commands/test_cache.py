"""``prism-bench cache`` in process."""

from pathlib import Path

import pytest

from prism_bench.accounting.ledger import Ledger
from prism_bench.commands.cache import main
from prism_bench.stage_cache.cache import StageCache
from prism_bench.stage_cache.declaration import Inputs, stage


@stage("learn", settings=("seed",), values=("tasks",))
def learn(inputs: Inputs, folder: Path, ledger: Ledger) -> None:
    with ledger.phase("learn") as meter:
        meter.add(flops=7_000)
        (folder / "weights").write_text("w" * 2000)


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "run").mkdir()
    ledger = Ledger()
    made = StageCache(tmp_path / "cache", ledger, tmp_path / "run").get(
        learn, ledger, config={"seed": 3}, values={"tasks": list("abcdef")}
    )
    return made


def printed(capsys, *arguments) -> str:
    main(arguments)
    return capsys.readouterr().out


def test_it_lists_measures_and_explains(cache, tmp_path, capsys):
    place = ("--cache", str(tmp_path / "cache"))
    listed = printed(capsys, "list", *place)
    assert cache.key[:10] in listed and "7.00 k" in listed and "6 tasks, seed 3" in listed
    assert "total" in printed(capsys, "size", *place)
    shown = printed(capsys, "show", cache.key[:5], *place)
    assert f"stage: learn/{cache.key}" in shown and "seed: 3" in shown and "... 6 in all" in shown
    assert str(tmp_path / "run") in shown


def test_it_prunes_what_no_run_uses(cache, tmp_path, capsys):
    place = ("--cache", str(tmp_path / "cache"))
    assert printed(capsys, "prune", *place).startswith("0 bytes removed from ")
    (tmp_path / "run").rmdir()
    told = printed(capsys, "prune", "--dry-run", *place)
    assert told.startswith(f"learn/{cache.key}: used by no run") and "would be removed" in told and cache.path.exists()
    assert "removed from" in printed(capsys, "prune", *place) and not cache.path.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"), [(("show", "x"), "'x' names no stage"), (("list", "--cache", "/no"), "/no is no folder")]
)
def test_mistakes_are_one_sentence(cache, tmp_path, capsys, arguments, sentence):
    with pytest.raises(SystemExit):
        main([*arguments, *(() if "--cache" in arguments else ("--cache", str(tmp_path / "cache")))])
    assert sentence in capsys.readouterr().err
