"""A run whose stored stages were damaged ends as if they had not been; `python benchmarks/fuzz_cache.py` tries all."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from benchmarks.fuzz_cache import DAMAGES, Fuzz

RIGHT = ("right", "sentence")


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzz]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield Fuzz(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.slow
def test_every_file_of_every_stage_is_damaged_in_every_way(fuzz):
    cases = list(fuzz.cases())
    stages = {case.stage.parent.name for case in cases}
    assert stages == {"collect", "base", "measure", "route", "train", "eval"}
    files = Counter((case.stage, case.file) for case in cases if case.damage != "of another run")
    assert set(files.values()) == {len(DAMAGES) - 1}
    assert {case.damage for case in cases} == set(DAMAGES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "stage", "file"),
    [
        ("one bit flipped", "base", "files/model.safetensors"),
        ("cut", "measure", "files/norms.parquet"),
        ("removed", "collect", "manifest.json"),
        ("of another run", "route", "files/allocation.json"),
        ("of another run", "route", ""),
    ],
)
def test_some_damage(fuzz, damage, stage, file):
    wanted = (damage, stage, file)
    case = next(case for case in fuzz.cases() if (case.damage, case.stage.parent.name, case.file) == wanted)
    assert fuzz.outcome(case, random.Random(0)) == "right"


@pytest.mark.slow
def test_drawn_damage(fuzz):
    rng = random.Random(1)
    outcomes = {case: fuzz.outcome(case, rng) for case in rng.sample(list(fuzz.cases()), 20)}
    assert {case: outcome for case, outcome in outcomes.items() if outcome not in RIGHT} == {}
