"""The finished file of a probe, and the mean norms of a part of it, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from prism_bench.errors import InputError
from prism_bench.probe.norms import Probe, ProbeIdentity, load_probe, matrix_names, mean_norms, save_probe

MATRICES = tuple(f"layers.{layer}.attention.{name}" for layer in (0, 1) for name in ("q_proj", "in_proj[k_proj]"))


def probe(norms):
    identity = ProbeIdentity("abc", "ActionPrompt()", 256, "all", "mean", MATRICES, "float32")
    return Probe(np.array(norms, dtype=float), np.full(len(norms), 0.1 + 0.2), np.full(len(norms), 7), identity)


def test_a_file_gives_back_every_number(corridor_episodes, tmp_path):
    made = probe([[[1 / 3, 2e-300], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    save_probe(made, corridor_episodes[:2], [30, 40], tmp_path / "norms.parquet")
    read = load_probe(tmp_path / "norms.parquet")
    assert read.identity == made.identity
    for name in ("norms", "losses", "agent_tokens"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
    assert pd.read_parquet(tmp_path / "norms.parquet")["tokens"].tolist() == [30, 40]


def test_trajectories_count_alike_in_a_mean_however_large_their_gradients_are():
    small, large, zero = [[1.0, 1.0], [1.0, 5.0]], [[400.0, 0.0], [0.0, 400.0]], [[0.0, 0.0], [0.0, 0.0]]
    norms = probe([small, large, zero])
    np.testing.assert_allclose(mean_norms(norms, [0, 1]), [[1.25, 0.25], [0.25, 2.25]])
    np.testing.assert_allclose(mean_norms(norms, [2]), 0)
    assert matrix_names(norms) == ["q_proj", "k_proj"]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("no")
    pd.DataFrame({"norms": [1]}).to_parquet(tmp_path / "other.parquet")
    for name in ("absent.parquet", "text.parquet", "other.parquet"):
        with pytest.raises(InputError, match=f"{name}: not a file of gradient norms"):
            load_probe(tmp_path / name)
