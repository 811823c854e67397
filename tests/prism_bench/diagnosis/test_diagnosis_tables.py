"""Tables of a diagnosis, from scores that are made up."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from prism_bench.diagnosis.scoring import Scored, check_alike
from prism_bench.diagnosis.show import markdown, plot
from prism_bench.diagnosis.tables import diagnosis_of
from prism_bench.errors import InputError

REGIMES = ("clean", "clean", "clean", "odd", "odd", "strange", "strange")
TASKS = tuple(f"task {number}" for number in range(len(REGIMES)))
LOSS = np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.2, 0.1])


def made(router: str, seed: int, scores: np.ndarray, setting: str = "") -> Scored:
    covariates = {"length": np.arange(7.0) % 3, "loss": LOSS}
    return Scored(router, setting, seed, TASKS, REGIMES, scores, covariates, flops=70.0, seconds=7.0)


FOUND = [
    made("loss", 0, LOSS),
    made("loss", 1, LOSS**2),
    made("constant", 0, np.zeros(7)),
    made("constant", 1, np.zeros(7)),
    made("loss", 0, -LOSS, "depth=2"),
]


def test_the_tables_say_what_was_detected_and_what_agrees():
    diagnosis = diagnosis_of(FOUND, "clean", "prism-bench diagnose")
    areas = {(d.router, d.setting, d.regime): d for d in diagnosis.detections}
    assert diagnosis.regimes == {"clean": 3, "odd": 2, "strange": 2} and diagnosis.seeds == (0, 1)
    assert areas["loss", "", "odd"].area.mean == 1.0 and areas["loss", "depth=2", "odd"].area.mean == 0.0
    assert areas["loss", "", "strange"].area.mean == pytest.approx(1.0 / 6 * (0.5 + 1 + 0.5))
    assert areas["loss", "", "odd"].by_seed == (1.0, 1.0)
    assert areas["loss", "", "odd"].beyond.mean == areas["loss", "", "odd"].alone["loss"].mean == 0.5
    assert areas["constant", "", "odd"].area.mean == 0.5
    agreements = {(a.first, a.second): a for a in diagnosis.agreements}
    assert agreements[("loss", ""), ("loss", "")].correlation == pytest.approx(1.0)
    assert agreements[("loss", ""), ("loss", "depth=2")].correlation == pytest.approx(-1.0)
    assert agreements[("loss", ""), ("loss", "depth=2")].pairs == 1
    assert agreements[("loss", ""), ("constant", "")].correlation is None
    assert (("constant", ""), ("loss", "depth=2")) not in agreements
    assert {(p.flops, p.seconds) for p in diagnosis.prices} == {(10.0, 1.0)}
    json.dumps(asdict(diagnosis))


def test_it_is_shown_as_text_and_as_a_picture(tmp_path):
    diagnosis = diagnosis_of(FOUND, "clean", "prism-bench diagnose")
    text = markdown(diagnosis)
    assert "| router | odd | strange |" in text
    assert "| loss | 1.00 [1.00, 1.00] |" in text and "| loss, depth=2 | 0.00 [0.00, 0.00] |" in text
    assert "| loss | 1.00 | 10 | 1.00 s |" in text and "| constant |  | 10 | 1.00 s |" in text
    assert "base models of 2 seeds; 95 % intervals over seeds and trajectories." in text
    alone = markdown(diagnosis_of(FOUND[:1], "clean", ""))
    assert "base models of one seed; 95 % intervals over trajectories." in alone
    plot(diagnosis, tmp_path / "d.png")
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


def test_what_does_not_compare_is_refused():
    other = replace(FOUND[1], tasks=TASKS[::-1])
    with pytest.raises(InputError, match="seed 1 has other demonstrations than loss  seed 0"):
        check_alike(FOUND[0], other)
    with pytest.raises(InputError, match="needs 2 demonstrations of the regime usual"):
        diagnosis_of(FOUND, "usual", "")
    with pytest.raises(InputError, match="all demonstrations are clean"):
        diagnosis_of([replace(FOUND[0], regimes=("clean",) * 7)], "clean", "")
