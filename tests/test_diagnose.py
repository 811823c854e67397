"""``prism-bench diagnose`` as its users run it, shrunk to seconds: all routers, two base models."""

import json

import pytest
from shrunken import ALWAYS, MODEL

from prism_bench.commands.diagnose import main
from prism_bench.commands.hydra_command import CONF

REGIMES = "env.regimes=[[clean,rules,wording]]"
SHRUNK = (*MODEL, *ALWAYS[1:-1], "trajectories=12")
TOO_SHORT = ("router=random", "model.max_length=[512,4]")
TAUGHT = "env.taught={regimes:[clean]}"


def diagnose(tmp_path, *arguments: str) -> None:
    main([*SHRUNK, f"cache={tmp_path / 'stages'}", "--out", str(tmp_path / "out"), *arguments])


def test_every_router_is_diagnosed_and_nothing_is_measured_twice(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cheap = [name for name in sorted(file.stem for file in (CONF / "router").glob("*.yaml")) if name != "difficulty"]
    diagnose(tmp_path, REGIMES, TAUGHT, f"router=[{','.join(cheap)}]", "seed=range(2)")
    found = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    assert [row["router"] for row in found["prices"]] == cheap and len(cheap) >= 8
    assert found["regimes"] == {"clean": 4, "rules": 4, "wording": 4} and found["seeds"] == [0, 1]
    areas = {(row["router"], row["regime"]): row["area"]["mean"] for row in found["detections"]}
    assert areas["label", "rules"] == areas["label", "wording"] == 1.0
    assert (tmp_path / "out" / "diagnosis.png").is_file()
    alike = {"prism": ("cv", "kurtosis", "magnitude"), "loss": ("summed_loss", "confidence")}
    shared = [name for names in alike.values() for name in names]
    measured = list((tmp_path / "stages" / "measure").glob("*/manifest.json"))
    assert len(measured) == 2 * (len(cheap) - len(shared)) and {*shared, *alike} < {*cheap}
    stages = {path: path.stat().st_mtime_ns for path in (tmp_path / "stages").glob("*/*/manifest.json")}
    printed = capsys.readouterr().out
    assert "2 base models, of which 0 are in the cache" in printed and "between seeds" in printed
    alone = [json.loads((tmp_path / "out" / "models" / name / "diagnosis.json").read_text()) for name in "01"]
    assert [each["seeds"] for each in alone] == [[0], [1]]
    diagnose(tmp_path, REGIMES, TAUGHT, f"router=[{','.join(cheap)}]", "seed=range(2)")
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "stages").glob("*/*/manifest.json")}
    assert again == stages and stages
    assert "2 base models, of which 2 are in the cache" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "diagnosis.json").read_text())["detections"] == found["detections"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((REGIMES, "router=random", "strategy=sft"), "has no router to diagnose"),
        (("router=random", "env=webshop"), "has no regime"),
        (("router=random",), "all demonstrations are clean"),
        ((REGIMES, "--set", "reach=0.5"), "reach=0.5 has no effect on a diagnosis"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused_in_one_sentence(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        diagnose(tmp_path, *arguments)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "diagnosis.json").exists()


def test_a_base_model_that_cannot_be_made_is_named_and_not_made_here(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shrunk = [setting for setting in SHRUNK if not setting.startswith("model.max_length")]
    with pytest.raises(SystemExit):
        main([*shrunk, f"cache={tmp_path / 'stages'}", "--out", str(tmp_path / "out"), REGIMES, *TOO_SHORT])
    message = capsys.readouterr().err
    log = tmp_path / "out" / "models" / "1" / "output.log"
    assert "1 of 2 base models failed" in message and "model.max_length=4" in message and str(log) in message
    assert (tmp_path / "out" / "models" / "0" / "diagnosis.json").is_file()
    assert not (tmp_path / "out" / "scores").exists()  # nothing was tried again by the command itself
