"""``prism-bench check``: the plan of a run, in seconds, and nothing on disk."""

from pathlib import Path

from prism_bench.commands.check import main


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
