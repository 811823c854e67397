"""ALFWorld as a text environment: household tasks played by typing commands.

    env = gymnasium.make("envs.alfworld:prism_bench/ALFWorld-v0", source="official", data=DIR, split="valid_seen")
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step("go to fridge 1")

Source: ALFWorld (Shridhar et al., ICLR 2021, https://arxiv.org/abs/2010.03768). As upstream scores it, an episode
succeeds when the goal holds (``won``), and has 50 steps. The reward is 1 on the step that wins and 0 otherwise.
"""

import functools
import inspect
from pathlib import Path
from typing import Any, Literal, Protocol

import gymnasium

from envs.alfworld.engine import Episode
from envs.alfworld.expert import OracleExpert, SearchExpert
from envs.alfworld.game import Game
from envs.alfworld.generator import GeneratedGames
from envs.alfworld.official import OfficialGames
from envs.alfworld.source import GameSource
from envs.alfworld.tables import Tables
from envs.alfworld.textworld_engine import TextWorldEpisode
from prism_bench.environment import Expert, TextEnvironment

GAMES_KEPT = 64  # games whose tables stay in memory, so that a group of episodes of one task loads it once


class Play(Protocol):
    """What both engines offer."""

    @property
    def won(self) -> bool:
        """Whether the goal holds now."""

    @property
    def admissible_commands(self) -> list[str]:
        """The commands that do something in this state, sorted."""

    def reset(self) -> str:
        """Begin anew and return the first observation."""

    def step(self, command: str) -> str:
        """Carry out a command and return what the game answers."""


class ALFWorldEnvironment(TextEnvironment):
    """The games of one split.

    Args:
        source: ``generated`` makes games from a seed; ``official`` reads game files.
        data: for ``official``, the folder that holds ``json_2.1.1`` (upstream's ``$ALFWORLD_DATA``).
        split: ``train``, ``valid_seen``, ``valid_unseen`` or, for ``official``, any other split folder.
        engine: ``native``, or ``textworld`` for upstream's engine (official games and the extra ``textworld`` only).
        generator: further options of the generated games, see :class:`envs.alfworld.generator.GeneratedGames`. Official
            games take ``task_types`` and leave the others aside, so that one configuration serves both sources.

    Raises:
        ValueError: an option that does not exist or does not go with the others, or data that is not there.
    """

    def __init__(
        self,
        source: Literal["generated", "official"] = "generated",
        data: str | Path | None = None,
        split: str = "train",
        engine: Literal["native", "textworld"] = "native",
        **generator: Any,
    ) -> None:
        super().__init__()
        if engine not in ("native", "textworld"):
            raise ValueError(f"there is no ALFWorld engine {engine!r}; choose native or textworld")
        if engine == "textworld" and source != "official":
            raise ValueError("engine=textworld plays game files only; use it with source=official and data=DIR")
        self._games = _open_source(source, data, split, generator)
        self._source, self._split, self._engine = source, split, engine
        self.task_ids = self._games.task_ids
        self._tables = functools.lru_cache(maxsize=GAMES_KEPT)(functools.partial(_load_tables, self._games))
        self._reference: TextWorldEpisode | None = None
        self._play: Play | None = None
        self._task_id = self._task_type = ""

    def game(self, task_id: str) -> Game:
        """Return the game behind a task, with all that a player does not see."""
        return self._tables(task_id).game

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the task ``options["task_id"]``, or one drawn from ``np_random``."""
        super().reset(seed=seed)
        self._task_id = self.choose_task(options)
        self._play = self._start(self._task_id)
        observation = self._play.reset()
        return observation, self._info(self._play)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out a command; one that means nothing here is answered "Nothing happens."."""
        if self._play is None:
            raise gymnasium.error.ResetNeeded("the environment was never reset; call reset() before step()")
        observation = self._play.step(action)
        info = self._info(self._play)
        return observation, info["score"], info["success"], False, info

    def protocol(self) -> dict[str, Any]:
        """Return what results depend on: the source, version and split of the games, and how they are made."""
        games = self._games
        found: dict[str, Any] = {"source": self._source, "split": self._split, "tasks": len(self.task_ids)}
        found["engine"] = self._engine
        if isinstance(games, GeneratedGames):
            found["seed"] = games.seed
            found["floor_plans"] = list(games.floor_plans)
            found["task_types"] = list(games.task_types)
            found["objects"] = games.objects and list(games.objects)
        if self._engine == "native":
            # Official releases differ in the wording: `put` up to v2.1.1, `move` from v2.1.2 on.
            found["wording"] = self.game(self.task_ids[0]).wording
        return found

    def expert(self, name: str) -> Expert:
        """Return an expert: ``search`` acts on what a player sees, ``oracle`` follows a shortest plan.

        Raises:
            ValueError: there is no expert of that name.
        """
        if name == "search":
            return SearchExpert()
        if name == "oracle":
            return _Oracle(self)
        raise ValueError(f"ALFWorld has no expert {name!r}; choose search or oracle")

    def _start(self, task_id: str) -> Play:
        if self._engine == "native":
            tables = self._tables(task_id)
            self._task_type = tables.game.goal.task_type
            return Episode(tables)
        # Official ids begin with the task type, and the native reader may refuse the file.
        self._task_type = task_id.partition("-")[0]
        assert isinstance(self._games, OfficialGames)  # textworld goes with no other source
        game_file = self._games.game_file(task_id)
        if self._reference is None:
            self._reference = TextWorldEpisode(game_file)
        else:
            self._reference.load(game_file)
        return self._reference

    def _info(self, play: Play) -> dict[str, Any]:
        won = play.won
        return {
            "task_id": self._task_id,
            "task_type": self._task_type,
            "admissible_actions": play.admissible_commands,
            "score": float(won),
            "success": won,
        }


class _Oracle:
    """The oracle of whatever game is played: a new plan at each reset."""

    def __init__(self, environment: ALFWorldEnvironment) -> None:
        self._environment = environment

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        self._expert = OracleExpert(self._environment.game(info["task_id"]))
        self._expert.reset(observation, info)

    def act(self, observation: str, info: dict[str, Any]) -> str:
        return self._expert.act(observation, info)


def _load_tables(games: GameSource, task_id: str) -> Tables:
    return Tables(games.game(task_id))


def _open_source(source: str, data: str | Path | None, split: str, generator: dict[str, Any]) -> GameSource:
    known = inspect.signature(GeneratedGames).parameters.keys() - {"split"}
    if unknown := generator.keys() - known:
        raise ValueError(
            f"ALFWorld has no option {min(unknown)!r}; generated games have the options {', '.join(sorted(known))}"
        )
    if source == "official":
        if data is None:
            raise ValueError("source=official needs data=DIR, the folder that holds json_2.1.1")
        return OfficialGames(data, split, task_types=generator.get("task_types"))
    if source != "generated":
        raise ValueError(f"there is no ALFWorld source {source!r}; choose generated or official")
    if data is not None:
        raise ValueError("data=DIR goes with source=official only; generated games come from their seed")
    return GeneratedGames(split=split, **generator)
