"""An environment that a server of AgentGym plays.

    python run.py env=agentgym env.game=textcraft env.url=http://127.0.0.1:36001 ...

Source: AgentGym (Xi et al., ACL 2025, https://arxiv.org/abs/2406.04151; github.com/WooooDyy/AgentGym). ``POST /create``
returns the id of a new environment; ``/reset`` starts the task of a number, ``/step`` does an action, ``/close`` ends
the environment. Names in payloads and answers differ from game to game: they are settings, see
:class:`envs.agentgym.game.Game`.

As in AgentGym, a task is called ``<game>_<number>``, its ``item_id``. The action is sent as it is: AgentGym's clients
look for it in "Thought: ... Action: ..." themselves, which is the prompt's work here. There is no expert.
"""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import gymnasium

from envs.agentgym.game import Game, tasks_of
from prism_bench.environments.contract import ANY_ACTION, InvalidAnswerError, TextEnvironment
from prism_bench.environments.json_answer import JsonAnswer, shown
from prism_bench.environments.json_client import JsonClient
from prism_bench.errors import InputError
from prism_bench.settings.types import NotNegative, Positive

PAUSE_SECONDS = 0.2
"""Time between two attempts to reach a server that is started again."""


class AgentGymEnvironment(TextEnvironment):
    """The tasks of one split, played by a server; what it holds there is made by the first reset.

    Args:
        url: address of the server.
        game: its requests and answers.
        split: one of the game's.
        connect_seconds: the longest time until the server takes a connection.
        answer_seconds: the longest time until it has answered.
        restart_seconds: the longest time that a reset waits for a server that takes no connections.

    Raises:
        InputError: the address, the split or its tasks are not possible.
    """

    def __init__(
        self,
        url: str,
        game: Game,
        split: str = "train",
        connect_seconds: Positive = 5,
        answer_seconds: Positive = 60,
        restart_seconds: NotNegative = 30,
    ) -> None:
        super().__init__()
        self.task_ids = tasks_of(game, split)
        self._game, self._restart_seconds = game, restart_seconds
        self._client = JsonClient(url, connect_seconds, answer_seconds)
        self._id: int | str | None = None
        self._task_id = self._task_type = ""
        self._last: tuple[str, bool, dict[str, Any]] | None = None

    def check_ready(self) -> None:
        """Check that a server answers, whatever it says."""
        try:
            with suppress(InvalidAnswerError):
                self._client.get("/")
        except (ConnectionError, TimeoutError) as error:
            raise InputError(
                f"no server of {self._game.name} answers at {self._client.url} ({error}); start it, or name another "
                "with env.url"
            ) from None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the task ``options["task_id"]``, or one drawn from ``np_random``."""
        super().reset(seed=seed)
        self._task_id, self._last = self.choose_task(options), None
        if self._id is not None:
            with suppress(ConnectionError, InvalidAnswerError):  # a server that was started again has forgotten the id
                return self._begin()
            self._give_back()
        self._id = self._create()
        return self._begin()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Send an action."""
        if self._last is None:
            raise gymnasium.error.ResetNeeded("there is no running task; call reset() before step()")
        observation, over, info = self._last
        if over:
            return observation, 0.0, True, False, dict(info)
        game = self._game
        answer = self._post("/step", {"action": game.action.replace("{}", action)})
        observation, reward, done = answer.text(game.observation), answer.number(game.reward), answer.flag(game.done)
        low, high = game.scale
        found = reward if game.score is None else answer.number(game.score)
        score = min(1.0, max(0.0, (found - low) / (high - low)))
        info = self._info(self._actions(answer, done), score, done and score >= game.success)
        self._last = observation, done, info
        return observation, reward, done, False, dict(info)

    def close(self) -> None:
        """End the environment on the server, and close the connection."""
        self._give_back()
        self._client.close()

    def protocol(self) -> dict[str, Any]:
        """Return the name of the game."""
        return {"game": self._game.name}

    def _create(self) -> int | str:
        """Return the id of a new environment of the server, for which it may take a while to start again."""
        end = time.monotonic() + self._restart_seconds
        while True:
            try:
                answer = _sound(self._client.post("/create", self._game.create)).at(self._game.id_at)
                break
            except ConnectionError:
                if time.monotonic() >= end:
                    raise
                time.sleep(PAUSE_SECONDS)
        return answer.value if isinstance(answer.value, str) else int(answer.number())

    def _begin(self) -> tuple[str, dict[str, Any]]:
        game = self._game
        answer = self._post("/reset", {game.task: int(self._task_id.rpartition("_")[2]), **game.reset})
        if game.opening:
            observation = "\n".join(answer.text(place) for place in game.opening)
        else:
            observation = self._get("/observation").text()
        self._task_type = game.name
        if game.task_type is not None:
            found = re.search(game.task_type_pattern, answer.text(game.task_type))
            self._task_type = (found[0] if found else "") or game.name
        info = self._info(self._actions(answer, False), 0.0, False)
        self._last = observation, False, info
        return observation, dict(info)

    def _actions(self, answer: JsonAnswer, done: bool) -> list[str]:
        game = self._game
        if not game.actions:
            return [ANY_ACTION]
        if game.ask_actions and done:
            return []
        answer = self._get("/available_actions") if game.ask_actions else answer
        actions: set[str] = set()
        for form, place in game.actions.items():
            found = answer.at(place)
            actions.update(
                [form] if found.value is True else [form.replace("{}", item.text()) for item in found.items()]
            )
        return sorted(actions)

    def _info(self, actions: list[str], score: float, success: bool) -> dict[str, Any]:
        return {
            "task_id": self._task_id,
            "task_type": self._task_type,
            "admissible_actions": actions,
            "score": score,
            "success": success,
        }

    def _post(self, path: str, payload: Mapping[str, Any]) -> JsonAnswer:
        return _sound(self._client.post(path, {self._game.id: self._id, **payload}))

    def _get(self, path: str) -> JsonAnswer:
        assert self._id is not None
        return _sound(self._client.get(path, **{self._game.id: self._id}))

    def _give_back(self) -> None:
        if self._id is not None:
            self._client.farewell("/close", {self._game.id: self._id})
            self._id = None


def _sound(answer: JsonAnswer) -> JsonAnswer:
    """Return an answer that is none of an exception, which AgentGym's servers report under the key ``error``."""
    if isinstance(answer.value, dict) and "error" in answer.value:
        raise InvalidAnswerError(f"answered {answer.request} with the error {shown(answer.value['error'])}")
    return answer
