"""Every benchmark can be imported, so that a renamed function is missed here and not by whoever measures next."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).resolve().parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_is_importable_and_explains_itself(path):
    names = runpy.run_path(str(path))
    assert callable(names["main"]) and names["__doc__"]
