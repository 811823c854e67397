"""Any Gymnasium environment becomes one of the contract by small functions."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import pytest
from gymnasium.wrappers import TimeLimit

from prism_bench.environments.adapter import AdaptedEnvironment, Transition, seeds
from prism_bench.environments.check import check_environment
from prism_bench.environments.contract import ANY_ACTION, UnknownTaskError
from prism_bench.errors import InputError

DIRECTIONS = ("left", "down", "right", "up")


def lake(**changes: Any) -> AdaptedEnvironment:
    """Return Gymnasium's frozen lake in words."""

    def text(last: Transition) -> str:
        row, column = divmod(int(last.observation), 4)
        return f"You are in row {row + 1} and column {column + 1} of 4. Reach row 4 and column 4."

    commands: Mapping[str, int] = {f"go {name}": number for number, name in enumerate(DIRECTIONS)}
    options = {"task_ids": seeds("valid"), "text": text, "action": commands.get} | changes
    return AdaptedEnvironment(gymnasium.make("FrozenLake-v1", is_slippery=False), **options)


class Echo(gymnasium.Env[str, str]):
    """An environment that speaks: it wants to hear its seed, and truncates an episode by itself."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.seed, self.turns, self.closed = seed, 0, False
        return f"Say {seed}.", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.turns += 1
        heard = action == str(self.seed)
        return f"You said {action}.", float(heard), heard, self.turns == 5, {"turn": self.turns}

    def close(self) -> None:
        self.closed = True


def echo(**changes: Any) -> AdaptedEnvironment:
    return AdaptedEnvironment(Echo(), **{"task_ids": seeds("valid")} | changes)


def test_an_environment_of_gymnasium_keeps_the_contract():
    check_environment(lambda: TimeLimit(lake(), 20))


def test_one_that_speaks_needs_nothing_but_tasks():
    check_environment(lambda: TimeLimit(echo(), 20))
    env = echo()
    observation, info = env.reset(options={"task_id": "10007"})
    assert (observation, info["admissible_actions"], info["success"]) == ("Say 10007.", [ANY_ACTION], False)
    observation, reward, terminated, truncated, info = env.step("10007")
    assert (observation, reward, terminated, truncated) == ("You said 10007.", 1.0, True, False)
    assert (info["task_id"], info["score"], info["success"]) == ("10007", 1.0, True)
    env.close()
    assert env.inner.closed


def test_what_is_what_is_said_by_functions():
    env = echo(
        start=lambda task: {"seed": int(task) + 1},
        success=lambda last: last.info.get("turn") == 2,
        score=lambda last: last.info.get("turn", 0) / 4,
        admissible=lambda last: ["shout", "say", "say"],
        task_type=lambda task: "odd" if int(task) % 2 else "even",
    )
    assert env.reset(options={"task_id": "10000"})[0] == "Say 10001."
    assert env.task_types()[:3] == ["even", "odd", "even"]
    infos = [env.step("x")[4] for _ in range(2)]
    assert [(info["score"], info["success"]) for info in infos] == [(0.25, False), (0.5, True)]
    assert infos[0]["admissible_actions"] == ["say", "shout"] and infos[0]["task_type"] == "even"


def test_a_text_that_stands_for_nothing_takes_a_step_and_changes_nothing():
    env = TimeLimit(lake(not_understood="What?"), 3)
    first, _ = env.reset(seed=0)
    assert env.step("fly")[:4] == ("What?", 0.0, False, False)
    assert env.step("go down")[0] != first
    assert env.step("fly")[3]


def test_only_the_registration_truncates():
    assert not isinstance(lake().inner, TimeLimit)
    env = echo()
    env.reset(seed=0)
    *_, last = (env.step("wrong") for _ in range(5))
    assert last[2:4] == (True, False) and not last[4]["success"]
    assert env.step("10000")[:4] == ("You said wrong.", 0.0, True, False)  # it is over


def test_splits_by_seed():
    assert set(seeds("train")).isdisjoint(seeds("valid"))
    assert seeds("test", train=range(5), test=range(5, 8)) == ("5", "6", "7")
    with pytest.raises(InputError, match="there is no split 'test'; choose train or valid"):
        seeds("test")
    with pytest.raises(InputError, match="the splits a and b share seeds"):
        seeds("a", a=range(5), b=range(4, 8))


def test_refusals():
    with pytest.raises(UnknownTaskError, match="'1' in this split"):
        lake().reset(options={"task_id": "1"})
    with pytest.raises(InputError, match="has no expert called 'bot'"):
        lake().expert("bot")
    with pytest.raises(gymnasium.error.ResetNeeded):
        lake().step("go up")
    assert lake().protocol() == {"adapted": "FrozenLake-v1"} and echo().protocol() == {}


class SinglePlayer(gymnasium.Env[str, str]):
    """A game of TextArena for one player, as a Gymnasium environment; TextArena has an interface of its own."""

    def __init__(self, name: str) -> None:
        textarena = pytest.importorskip("textarena", reason="needs the package textarena")
        self.game = textarena.make(name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.game.reset(num_players=1, seed=seed)
        return self._heard(), {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        done, _ = self.game.step(action)
        reward = self.game.state.rewards[0] if done else 0.0
        return self._heard(), reward, done, False, {}

    def _heard(self) -> str:
        _, messages = self.game.get_observation()
        return "\n".join(text for speaker, text, _ in messages if speaker == -1)


def guessing() -> gymnasium.Env[str, str]:
    inner = SinglePlayer("GuessTheNumber-v0-raw")
    game = AdaptedEnvironment(
        inner,
        task_ids=seeds("valid"),
        success=lambda last: last.terminated and last.reward == 1,
        score=lambda last: last.reward,
    )
    return TimeLimit(game, 10)


def test_a_game_of_textarena_keeps_the_contract():
    check_environment(guessing)
    env = guessing()
    observation, _ = env.reset(options={"task_id": "10003"})
    assert "guess the number between 1 and 20" in observation
    low, high, over = 1, 20, False
    while not over:
        guess = (low + high) // 2
        observation, _, terminated, truncated, info = env.step(f"I think of [{guess}].")
        low, high = (guess + 1, high) if "higher" in observation else (low, guess - 1)
        over = terminated or truncated
    assert info["success"] and info["score"] == 1.0
