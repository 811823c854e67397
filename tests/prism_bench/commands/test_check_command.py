"""``prism-bench check``: the plan of a run, in seconds, and nothing on disk."""

import re
from pathlib import Path

import pytest
from peft import LoraConfig

from prism_bench.commands.check import main
from prism_bench.models.policy import load_policy, save_policy, with_lora
from prism_bench.results.units import count

LORA = ("model=qwen3-8b", "model.device=cpu", "model.dtype=float32")


def test_a_check_prints_the_plan_and_leaves_nothing(end, tmp_path: Path) -> None:
    status, shown, error = end(main, "hydra.run.dir=run", "cache=cache", "trajectories=30")
    assert (status, error) == (0, "")
    lines = {line.split()[0]: line for line in shown.splitlines()}
    assert "20,000 tasks in train" in lines["environment"] and "search solved" in lines["expert"]
    assert "the tokenizer is made in the base stage" in lines["expert"] and "394 k parameters" in lines["model"]
    assert lines["probe"].endswith("7 matrices in each of 2 layers")
    assert lines["router"].endswith("PrismRouter divides the demonstrations of 30 tasks")
    assert lines["rl"].endswith("GRPO on the tasks that the router sends to rl")
    assert lines["evaluation"].endswith("256 of valid_seen, 256 of valid_unseen, after each of 3 stages")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".hydra", "run.log"]
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def checkpoints(corridor_policy, tmp_path: Path) -> Path:
    """A folder with a small random model, and with an adapter of it."""
    save_policy(corridor_policy(max_position_embeddings=1024), tmp_path / "whole")
    adapted = with_lora(load_policy(tmp_path / "whole"), LoraConfig(r=4, target_modules=["q_proj"]))
    save_policy(adapted, tmp_path / "adapter")
    return tmp_path


@pytest.mark.parametrize(
    ("choices", "folder", "trained"),
    [
        (("model=checkpoint",), "whole", None),
        (LORA, "whole", 2 * 16 * (4 * 32 + 2 * 16 + 2 * 32 + 2 * (32 + 48) + (48 + 32))),
        (LORA, "adapter", 2 * 4 * (32 + 32)),  # the adapter that is there, and no new one
    ],
    ids=["whole", "lora", "adapter"],
)
def test_a_pretrained_checkpoint_is_checked_without_its_weights(end, checkpoints, choices, folder, trained) -> None:
    for file in checkpoints.glob("*/*.safetensors"):
        file.write_bytes(b"")
    place = checkpoints / folder
    status, shown, error = end(main, "hydra.run.dir=run", "trajectories=30", *choices, f"model.path={place}")
    assert status == 0, error
    lines = {line.split()[0]: line for line in shown.splitlines()}
    assert re.search(r"search solved .* in \d+ steps; [\d,]+ tokens", lines["expert"])
    assert "base" not in lines and lines["probe"].endswith("7 matrices in each of 2 layers")
    assert ("of which" in lines["model"]) == (trained is not None)
    assert trained is None or f"of which {count(trained)} are trained" in lines["model"]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.path=no/such/folder", "no/such/folder"),
        ("model.lora.target_modules=[wq]", "model.lora is not possible: Target modules {'wq'} not found"),
        ("+model.projections=[wq]", "does not have the projections wq in every layer"),
    ],
)
def test_what_does_not_fit_a_checkpoint_is_one_sentence(end, checkpoints, override, sentence) -> None:
    place = f"model.path={checkpoints / 'whole'}"
    status, _, error = end(main, "hydra.run.dir=run", "trajectories=30", *LORA, place, override, HF_HUB_OFFLINE="1")
    last = error.splitlines()[-1]  # after the progress bars of the checkpoints
    assert status == 1 and last.startswith("error: ") and sentence in last and "Traceback" not in error
