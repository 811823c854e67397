import json

import pytest

from prism_bench.data.trajectory import Step, Trajectory
from prism_bench.routing.allocation import Allocation, load_allocation, load_routed, save_allocation

STEPS = (Step("You see a door.", "open door", 1.0),)
DEMONSTRATIONS = [Trajectory(f"task-{number}", "doors", "expert:search", STEPS, 1.0, True) for number in range(3)]


def test_the_saved_allocation_says_what_went_where_why_and_at_what_cost(tmp_path):
    allocation = Allocation(("rl", "sft", "sft"), (0.3, 0.1, 0.1), 0.1, 2, {"checkpoint": "abc"}, {"seconds": 1.5})
    path = tmp_path / "new" / "allocation.json"
    save_allocation(path, allocation, DEMONSTRATIONS)
    assert json.loads(path.read_text()) == {
        "threshold": 0.1,
        "tied_at_threshold": 2,
        "identity": {"checkpoint": "abc"},
        "cost": {"seconds": 1.5},
        "trajectories": [
            {"task_id": "task-0", "task_type": "doors", "score": 0.3, "stage": "rl"},
            {"task_id": "task-1", "task_type": "doors", "score": 0.1, "stage": "sft"},
            {"task_id": "task-2", "task_type": "doors", "score": 0.1, "stage": "sft"},
        ],
    }
    assert [file.name for file in path.parent.iterdir()] == ["allocation.json"]
    assert load_allocation(path) == allocation
    assert load_routed(path) == (["task-0", "task-1", "task-2"], ["doors"] * 3)


def test_an_allocation_of_other_trajectories_is_not_saved(tmp_path):
    allocation = Allocation(("sft", "rl"), (0.1, 0.2), 0.1, 1)
    with pytest.raises(ValueError, match="zip"):
        save_allocation(tmp_path / "allocation.json", allocation, DEMONSTRATIONS)
    assert not list(tmp_path.iterdir())
