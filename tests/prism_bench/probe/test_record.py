"""A probe on disk equals the computed one, and a killed probe continues where it stopped."""

import json

import numpy as np
import pandas as pd
import pytest

from prism_bench.accounting.ledger import Ledger
from prism_bench.accounting.meter import Meter
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.errors import InputError
from prism_bench.probe import record
from prism_bench.probe.concentration import KINDS, concentration
from prism_bench.probe.gradients import gradient_norms
from prism_bench.probe.norms import load_probe
from prism_bench.probe.record import probe_identity, probe_trajectories

BUDGET = 150


@pytest.fixture
def policy(corridor_policy):
    return corridor_policy()


@pytest.fixture
def renderer(policy):
    return Renderer(policy.tokenizer, ActionPrompt(), max_length=256)


def probed(policy, renderer, episodes, path, meter=None, **options):
    meter = meter or Meter("route")
    return probe_trajectories(policy, renderer, episodes, path, tokens_per_batch=BUDGET, meter=meter, **options)


def test_the_file_holds_what_was_computed_and_what_it_depends_on(policy, renderer, corridor_episodes, tmp_path):
    seen = []
    made = probed(policy, renderer, corridor_episodes, tmp_path / "norms.parquet", progress=seen.append)
    rendered = [renderer.render(episode) for episode in corridor_episodes]
    norms, losses = gradient_norms(policy.model, rendered, tokens_per_batch=10_000, meter=Meter("route"))
    np.testing.assert_allclose(made.norms, norms, rtol=1e-5)
    np.testing.assert_allclose(made.losses, losses, rtol=1e-5)
    read = load_probe(tmp_path / "norms.parquet")
    np.testing.assert_array_equal(read.norms, made.norms)
    np.testing.assert_array_equal(read.losses, made.losses)
    assert read.identity == made.identity == probe_identity(policy.model, renderer)
    assert [file.name for file in tmp_path.iterdir()] == ["norms.parquet"]
    assert seen == sorted(set(seen)) and seen[-1] == len(corridor_episodes) and len(seen) > 2


def test_others_can_read_it_as_a_table(policy, renderer, corridor_episodes, tmp_path):
    made = probed(policy, renderer, corridor_episodes, tmp_path / "norms.parquet")
    table = pd.read_parquet(tmp_path / "norms.parquet")
    assert table["task_id"].tolist() == [episode.task_id for episode in corridor_episodes]
    assert table["tokens"].tolist() == [len(renderer.render(episode).input_ids) for episode in corridor_episodes]
    for kind in KINDS:
        np.testing.assert_allclose(table[kind], concentration(made.norms, kind))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("torn", ["", '{"trajectories": [4, 5], "seco'], ids=["between batches", "within a line"])
def test_a_killed_probe_continues(policy, renderer, corridor_episodes, tmp_path, monkeypatch, torn):
    whole = probed(policy, renderer, corridor_episodes, tmp_path / "whole.parquet", bill := Meter("route"))

    def kill(scored):
        if scored > len(corridor_episodes) // 2:
            raise Killed

    with pytest.raises(Killed):
        probed(policy, renderer, corridor_episodes, tmp_path / "norms.parquet", progress=kill)
    assert not (tmp_path / "norms.parquet").exists()
    partial = tmp_path / ".norms.parquet.partial"
    before = sum(len(json.loads(line)["trajectories"]) for line in partial.read_text().splitlines()[1:])
    with partial.open("a") as file:
        file.write(torn)
    asked = []
    compute = record.gradient_norms
    monkeypatch.setattr(record, "gradient_norms", lambda m, e, **o: asked.append(len(e)) or compute(m, e, **o))
    ledger = Ledger()
    with ledger.phase("route") as meter:
        continued = probed(policy, renderer, corridor_episodes, tmp_path / "norms.parquet", meter)
    assert before > len(corridor_episodes) // 2 and asked == [len(corridor_episodes) - before]
    np.testing.assert_array_equal(continued.norms, whole.norms)
    np.testing.assert_array_equal(continued.losses, whole.losses)
    assert (meter.spent.flops, meter.spent.prefill_tokens) == (bill.spent.flops, bill.spent.prefill_tokens)
    assert ledger.rows[0].seconds > meter.spent.seconds > 0  # what the killed one took, and what came after
    assert not partial.exists()


def test_what_another_probe_left_is_not_continued(policy, renderer, corridor_policy, corridor_episodes, tmp_path):
    def kill(scored):
        raise Killed

    path = tmp_path / "norms.parquet"
    with pytest.raises(Killed):
        probed(policy, renderer, corridor_episodes, path, progress=kill)
    left = (tmp_path / ".norms.parquet.partial").read_text()
    for other in (lambda: (corridor_policy(seed=1), corridor_episodes), lambda: (policy, corridor_episodes[1:])):
        with pytest.raises(InputError, match="left by a probe of other trajectories, another model or other settings"):
            probed(other()[0], renderer, other()[1], path)
    assert (tmp_path / ".norms.parquet.partial").read_text() == left
    (tmp_path / ".norms.parquet.partial").write_text(left.splitlines()[0] + "\n{not json\n")
    with pytest.raises(InputError, match="damaged"):
        probed(policy, renderer, corridor_episodes, path)


def test_identity_tells_models_apart_and_lora_names_as_the_bare_model_does(tiny_model, policy):
    def identity(model, length=256):
        return probe_identity(model, Renderer(policy.tokenizer, ActionPrompt(), length))

    assert identity(tiny_model()) == identity(tiny_model())
    assert identity(tiny_model()) != identity(tiny_model(seed=1))
    assert identity(tiny_model()) != identity(tiny_model(), 128)
    assert identity(tiny_model()).matrices == identity(tiny_model(lora=("q_proj",))).matrices
    assert len(identity(tiny_model()).matrices) == 14
    assert identity(tiny_model()).dtype == "float32"
