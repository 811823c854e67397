"""A user's own demonstrations: a sample of the file, checked against environment and strategy, and replayed."""

from collections import Counter
from dataclasses import replace

import pytest
from corridor import Corridor

from prism_bench.data.sharegpt import export_conversations
from prism_bench.data.trajectory import save_trajectories
from prism_bench.errors import InputError
from prism_bench.stages.own_episodes import OwnEpisodes


class Part(Corridor):
    """A corridor with some of its tasks."""

    def __init__(self, *tasks: str) -> None:
        super().__init__()
        self.task_ids = tasks


@pytest.fixture
def saved(tmp_path):
    """Return a function from episodes to a file of them."""

    def save(episodes, name="own.parquet"):
        path = tmp_path / name
        save_trajectories(episodes, path) if path.suffix == ".parquet" else export_conversations(episodes, path)
        return path

    return save


@pytest.mark.parametrize("name", ["own.parquet", "own.json", "own.jsonl"])
def test_every_layout_is_read(saved, corridor_episodes, name):
    own = OwnEpisodes(saved(corridor_episodes, name), None)
    assert own.tasks == list(Corridor.task_ids) and own.numbers == list(range(30))
    assert [len(episode.steps) for episode in own.chosen] == [len(episode.steps) for episode in corridor_episodes]


def test_a_sample_has_every_type_in_proportion_whatever_the_order(saved, corridor_episodes):
    by_type = sorted(corridor_episodes, key=lambda episode: str(episode.task_type))
    own, sorted_own = OwnEpisodes(saved(corridor_episodes), 10), OwnEpisodes(saved(by_type, "sorted.parquet"), 10)
    assert Counter(episode.task_type for episode in own.chosen) == {"east": 5, "west": 5}
    assert set(own.tasks) == set(sorted_own.tasks)
    assert OwnEpisodes(own.path, 99).numbers == list(range(30))


def test_failures_are_left_out(saved, corridor_episodes):
    failed = [replace(episode, success=number > 3) for number, episode in enumerate(corridor_episodes)]
    assert OwnEpisodes(saved(failed), None).tasks == list(Corridor.task_ids[4:])
    with pytest.raises(InputError, match="none of the 4 episodes in it succeeded"):
        assert OwnEpisodes(saved(failed[:4]), None).tasks


def test_name_and_digest_are_its_provenance(saved, corridor_episodes):
    one, same = (OwnEpisodes(saved(corridor_episodes, name), None) for name in ("one.parquet", "two.parquet"))
    assert one.name.replace("one", "two") == same.name and one.name.startswith("one.parquet (")
    with pytest.raises(InputError, match="absent: there is no such file"):
        assert OwnEpisodes(one.path.with_name("absent"), None).tasks


def test_tasks_belong_to_training(saved, corridor_episodes):
    own = OwnEpisodes(saved(corridor_episodes), None)
    own.check(Corridor(), {"valid": Part("7-1")}, admissible=False)
    with pytest.raises(InputError, match="episode 1 is of the task '1-3' of the evaluated split valid; remove it"):
        own.check(Corridor(), {"valid": Part("1-3")}, admissible=False)
    with pytest.raises(InputError, match="'1-3', which the train split does not have; choose the environment"):
        own.check(Part("1-2"), {}, admissible=False)
    with pytest.raises(InputError, match="has no admissible actions, which the prompt shows"):
        own.check(Corridor(), {}, admissible=True)


def test_episodes_without_tasks_are_refused_where_tasks_are_needed(saved, corridor_episodes):
    own = OwnEpisodes(saved([replace(episode, task_id=None) for episode in corridor_episodes]), None)
    own.check(Part("1-2"), {"valid": Corridor()}, admissible=False)
    own.refuse_without_tasks([])
    with pytest.raises(InputError, match="30 of 30 episodes have no task id, and phase 'rl' needs their tasks"):
        own.refuse_without_tasks(["phase 'rl'"])


def test_a_replay_counts_what_the_environment_does_not_say_any_more(saved, corridor, corridor_episodes):
    other = replace(corridor_episodes[0].steps[-1], observation="You are in a kitchen.")
    changed = [replace(corridor_episodes[0], steps=(other,)), *corridor_episodes[1:]]
    own = OwnEpisodes(saved(changed), None)
    assert own.replay(corridor(), None) == (30, 1)
    assert own.replay(corridor(steps=2), None)[1] > 1  # the environment ends earlier than it did
    assert own.replay(corridor(), 5)[0] == 5 and own.replay(corridor(), 0) == (0, 0)
