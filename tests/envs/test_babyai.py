"""BabyAI in text says what is in the library's grid, keeps the contract, and shares no task between splits."""

import copy
import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import gymnasium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_bench.environments.check import check_environment
from prism_bench.environments.contract import UnknownTaskError
from prism_bench.errors import InputError


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minigrid.core.actions", None)
    monkeypatch.delitem(sys.modules, "envs.babyai", raising=False)
    with pytest.raises(InputError, match=r"pip install 'prism-bench\[babyai\]'"):
        importlib.import_module("envs.babyai")


pytest.importorskip("minigrid", reason="needs the extra babyai: pip install 'prism-bench[babyai]'")

from minigrid.core.constants import COLOR_TO_IDX, DIR_TO_VEC, OBJECT_TO_IDX, STATE_TO_IDX  # noqa: E402

from envs.babyai import ACTIONS, LEVELS, describe  # noqa: E402

MOVES = list(ACTIONS)
ID = "envs.babyai:prism_bench/BabyAI-v0"
VARIED = (*LEVELS, "GoToLocal", "PickupLoc", "GoToSeqS5R2", "UnlockLocalDist", "SynthS5R2")  # locked doors, many rooms
WAYS = {"forward": (0, 1), "left": (-1, 0), "right": (1, 0)}

Place = tuple[int, int]  # steps to the right, steps forward


def read(view: str) -> tuple[dict[Place, str], dict[Place, str], str | None]:
    """Return walls, things and what is carried, parsed from a description."""
    listed, carried = re.fullmatch(r"You see (.+?)\.(?: You carry a (.+)\.)?", view).groups()
    walls, things = {}, {}
    for part in listed.split(", ") if listed != "nothing" else []:
        found = re.fullmatch(r"(an? (?:\w+ )*?\w+) (\d+ step.*)", part)
        steps = [re.fullmatch(r"(\d+) (steps?) (\w+)", way).groups() for way in found[2].split(" and ")]
        assert all((word == "step") == (count == "1") for count, word, _ in steps)
        place = tuple(sum(int(count) * WAYS[way][axis] for count, _, way in steps) for axis in (0, 1))
        kind = walls if found[1] == "a wall" else things
        assert place not in kind
        kind[place] = found[1]
    return walls, things, carried


def named(cell: Any) -> str:
    if cell.type != "door":
        return f"a {cell.color} {cell.type}"
    state = "open" if cell.is_open else "locked" if cell.is_locked else "closed"
    return f"{'an' if cell.is_open else 'a'} {state} {cell.color} door"


def in_the_grid(level: Any) -> tuple[dict[Place, str], dict[Place, str], str | None]:
    """Return what ``read`` should, from the whole grid and the library's own rule of what an agent sees."""
    here, ahead = [int(number) for number in level.agent_pos], [int(number) for number in DIR_TO_VEC[level.agent_dir]]
    right = [-ahead[1], ahead[0]]

    def cell(across: int, forward: int) -> Any:
        i, j = (here[axis] + across * right[axis] + forward * ahead[axis] for axis in (0, 1))
        return level.grid.get(i, j) if 0 <= i < level.width and 0 <= j < level.height else None

    _, visible = level.gen_obs_grid()
    walls, things = {}, {}
    for across, forward, farthest in ((0, 1, 6), (-1, 0, 3), (1, 0, 3)):
        ray = [cell(across * steps, forward * steps) for steps in range(1, farthest + 1)]
        steps = next((number for number, found in enumerate(ray, 1) if found is not None), None)
        if steps and ray[steps - 1].type == "wall":
            walls[across * steps, forward * steps] = "a wall"
    for i in range(level.width):
        for j in range(level.height):
            thing, way = level.grid.get(i, j), (i - here[0], j - here[1])
            if thing is not None and thing.type != "wall" and way != (0, 0) and level.in_view(i, j):
                if not visible[level.relative_coords(i, j)]:
                    continue
                things[tuple(way[0] * axis[0] + way[1] * axis[1] for axis in (right, ahead))] = named(thing)
    return walls, things, level.carrying and f"{level.carrying.color} {level.carrying.type}"


def view(observation: str) -> str:
    return observation.rpartition("\n")[2].removeprefix("Nothing happens. ")


def state(env: Any) -> tuple[Any, ...]:
    level = env.unwrapped.level
    carried = level.carrying and (level.carrying.type, level.carrying.color)
    return tuple(map(int, level.agent_pos)), level.agent_dir, level.grid.encode().tobytes(), carried


def episode(env: Any, task_id: str) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Yield what the bot's episode in a task returns, step by step."""
    observation, info = env.reset(options={"task_id": task_id})
    expert, over = env.unwrapped.expert("bot"), False
    expert.reset(observation, info)
    while not over:
        observation, reward, terminated, truncated, info = env.step(expert.act(observation, info))
        over = terminated or truncated
        yield observation, reward, info


@pytest.fixture(scope="module")
def varied() -> Any:
    return gymnasium.make(ID, levels=VARIED)


@pytest.mark.parametrize("options", [{}, {"split": "valid", "levels": ["MiniBossLevel"]}, {"split": "test"}], ids=str)
def test_it_keeps_the_contract(options):
    check_environment(ID, **options, expert="bot", expert_success=0.0 if "levels" in options else 1.0, tasks=4)


@pytest.mark.parametrize("level", VARIED)
def test_the_text_is_what_the_grid_says(varied, level):
    """Twenty tasks of the bot, whose episodes end where random ones do not, and as many of random actions."""
    for number in range(10):
        observation, _ = varied.reset(options={"task_id": f"{level}-{number:06}"}, seed=number)
        mission, _, seen = observation.partition("\n")
        assert mission == f"Your task is to: {varied.unwrapped.level.mission}."
        assert read(seen) == in_the_grid(varied.unwrapped.level)
        for answer, _, _ in episode(varied, f"{level}-{number:06}"):
            assert read(view(answer)) == in_the_grid(varied.unwrapped.level)


@given(level=st.sampled_from(VARIED), task=st.integers(0, 300), actions=st.lists(st.sampled_from(MOVES), max_size=20))
@settings(max_examples=40, deadline=None)
def test_admissible_are_the_actions_that_change_something(level, task, actions):
    env = gymnasium.make(ID, levels=[level])
    _, info = env.reset(options={"task_id": f"{level}-{task:06}"})
    for action in actions:
        _, _, terminated, _, later = env.step(action)
        if terminated:
            break
        info = later
    twins = {action: copy.deepcopy(env) for action in MOVES}
    if not info["success"]:
        answers = {action: twin.step(action)[0] for action, twin in twins.items()}
        changing = [action for action, twin in twins.items() if state(twin) != state(env)]
        assert env.unwrapped._info()["admissible_actions"] == sorted(changing)
        assert {action for action, answer in answers.items() if answer.startswith("Nothing happens. ")} == {*MOVES} - {
            *changing
        }


@given(words=st.text() | st.sampled_from(["Turn left", "turn left ", "done", "pickup", "go forward\n"]))
@settings(deadline=None)
def test_any_other_words_are_answered_and_change_nothing(varied, words):
    first, before = varied.reset(options={"task_id": "GoToLocal-000001"})
    world = state(varied)
    observation, reward, terminated, truncated, info = varied.step(words)
    if words not in ACTIONS:
        assert observation == f"Nothing happens. {view(first)}" and state(varied) == world
        assert (reward, terminated, truncated, info) == (0.0, False, False, before)


CELLS = st.one_of(
    st.sampled_from([[OBJECT_TO_IDX[kind], 0, 0] for kind in ("unseen", "empty", "wall")]),
    st.tuples(
        st.sampled_from([OBJECT_TO_IDX[kind] for kind in ("key", "ball", "box")]),
        st.sampled_from(list(COLOR_TO_IDX.values())),
        st.just(0),
    ),
    st.tuples(st.just(OBJECT_TO_IDX["door"]), st.sampled_from(list(COLOR_TO_IDX.values())), st.integers(0, 2)),
)


@given(image=st.lists(st.lists(CELLS, min_size=7, max_size=7), min_size=7, max_size=7))
def test_a_description_can_be_read_back(image):
    image[3][6] = [OBJECT_TO_IDX["empty"], 0, 0]
    walls, things, carried = read(describe(image))
    kinds, colors, states = ({number: name for name, number in table.items()} for table in TABLES)
    expected = {
        (i - 3, 6 - j): [*([states[cell[2]]] if kinds[cell[0]] == "door" else []), colors[cell[1]], kinds[cell[0]]]
        for i, column in enumerate(image)
        for j, cell in enumerate(column)
        if kinds[cell[0]] in ("key", "ball", "box", "door")
    }
    assert {place: thing.split()[1:] for place, thing in things.items()} == expected
    assert carried is None and all(0 in place for place in walls)
    assert all(kinds[image[3 + across][6 - forward][0]] == "wall" for across, forward in walls)


TABLES = (OBJECT_TO_IDX, COLOR_TO_IDX, STATE_TO_IDX)


def test_the_nearest_thing_comes_first(varied):
    distances = []
    for number in range(20):
        observation, _ = varied.reset(options={"task_id": f"GoToLocal-{number:06}"})
        _, things, _ = read(view(observation))
        distances.append([abs(across) + forward for across, forward in things])
    assert distances == [sorted(row) for row in distances] and max(map(len, distances)) > 3


@pytest.mark.parametrize("level", LEVELS)
def test_the_bot_solves_what_is_learned_by_default(varied, level):
    last = [[*episode(varied, f"{level}-{number:06}")][-1] for number in range(30)]
    assert all(info["success"] and info["score"] == 1.0 for _, _, info in last)


def test_the_score_is_the_share_of_the_instructions(varied):
    """With the bot, which carries out one after the other; rewards add up to it."""
    seen = Counter()
    for number in range(40):
        for level in ("OpenDoorsOrderN2", "GoToSeqS5R2"):
            steps = [*episode(varied, f"{level}-{number:06}")]
            scores = [info["score"] for _, _, info in steps]
            parts = 1 + len(re.findall(r", then | after you | and (?=go to|open)", varied.unwrapped.level.mission))
            assert scores == sorted(scores) and {score * parts for score in scores} <= {*range(parts + 1)}
            assert sum(reward for _, reward, _ in steps) == pytest.approx(scores[-1])
            assert all(info["success"] == (info["score"] == 1) for _, _, info in steps)
            seen[parts] += scores[-1] == 1
    assert set(seen) == {1, 2, 3, 4}


def test_the_limit_of_the_level_does_not_show():
    """The level's own limit is 16 steps, and its reward after them would be below 0."""
    env = gymnasium.make(ID, levels=["GoToObjS4"])
    for task_id in env.unwrapped.task_ids[:10]:
        env.reset(options={"task_id": task_id})
        for _ in range(80):
            _, reward, terminated, truncated, info = env.step("drop")
            assert (reward, terminated, truncated) == (0.0, False, False)
        expert = env.unwrapped.expert("bot")
        expert.reset("", info)
        while not (terminated or truncated):
            _, reward, terminated, truncated, info = env.step(expert.act("", info))
        assert info["success"] and reward == 1.0


def test_no_two_splits_have_a_task_in_common():
    """A level of few grids, in which seeds of three splits would make the same tasks again and again."""
    made, raw = {}, {}
    library = gymnasium.make("BabyAI-GoToObjS4-v0", disable_env_checker=True).unwrapped
    for split in ("train", "valid", "test"):
        env = gymnasium.make(ID, levels=["GoToObjS4"], split=split)
        tasks = env.unwrapped.task_ids[:150]
        made[split] = {(env.reset(options={"task_id": task})[0], *state(env)) for task in tasks}
        raw[split] = set()
        for task in tasks:
            library.reset(seed=int(task.rpartition("-")[2]))
            raw[split].add((library.mission, *map(int, library.agent_pos), library.agent_dir, library.hash()))
    assert not made["train"] & made["valid"] and not made["train"] & made["test"] and not made["valid"] & made["test"]
    assert raw["train"] & raw["valid"]
    assert all(len(tasks) > 20 for tasks in made.values())


def test_tasks_are_levels_with_seeds():
    splits = {split: gymnasium.make(ID, split=split).unwrapped for split in ("train", "valid", "test")}
    every = [task for env in splits.values() for task in env.task_ids]
    assert len(set(every)) == len(every) == len(LEVELS) * 12_000
    assert splits["train"].task_ids[123] == "GoToObj-000123"
    assert Counter(splits["valid"].task_types()) == dict.fromkeys(LEVELS, 1_000)
    for env in splits.values():
        assert [env.reset(options={"task_id": task})[1]["task_type"] for task in env.task_ids[::500]] == [
            *env.task_types()[::500]
        ]
    assert splits["test"].protocol() | {"package": ""} == {
        "package": "",
        "levels": ", ".join(LEVELS),
        "split": "test",
        "tasks": 1_000 * len(LEVELS),
    }


def test_the_library_prints_nothing(varied, capsys):
    """It says when it draws a mission again, which it does in half of these."""
    for number in range(50):
        varied.reset(options={"task_id": f"PutNextLocalS5N3-{number:06}"})
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ["GoToLocale"]}, "no level 'GoToLocale'; the nearest are GoToLocal, "),
        ({"levels": []}, "should be a list of different levels"),
        ({"levels": "GoToLocal"}, "should be a list of different levels"),
        ({"levels": ["GoToLocal", "GoToLocal"]}, "should be a list of different levels"),
        ({"split": "valid_seen"}, "no split 'valid_seen'"),
    ],
)
def test_what_there_is_not_is_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        gymnasium.make(ID, **options)


def test_an_expert_or_a_task_that_there_is_not_is_refused(varied):
    with pytest.raises(InputError, match="choose bot"):
        varied.unwrapped.expert("oracle")
    with pytest.raises(UnknownTaskError, match=r"the nearest are GoToLocal-\d+"):
        varied.reset(options={"task_id": "GoToLocal-800001"})
