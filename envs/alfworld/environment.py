"""ALFWorld as a text environment: household tasks, solved by typed commands.

    env = gymnasium.make("envs.alfworld:prism_bench/ALFWorld-v0", source="official", data=DIR, split="valid_seen")
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step("go to fridge 1")

Source: ALFWorld (Shridhar et al., ICLR 2021, https://arxiv.org/abs/2010.03768). As upstream, an episode succeeds when
the goal holds (``won``), and has 50 steps. The reward is 1 on the step that wins and 0 otherwise.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import gymnasium

from envs.alfworld.engine import Episode
from envs.alfworld.expert import OracleExpert, SearchExpert
from envs.alfworld.game import TASK_TYPES, Game, Wording
from envs.alfworld.generator import PRESETS, UNSEEN_PLANS, GeneratedGames
from envs.alfworld.official import OfficialGames
from envs.alfworld.shared import OPTIONS, open_games
from envs.alfworld.textworld_engine import TextWorldEpisode
from prism_bench.environments.contract import CLEAN, Expert, TextEnvironment, type_in
from prism_bench.errors import InputError
from prism_bench.settings.signatures import ArgumentsOf

SEEN_PLANS = frozenset(PRESETS["full"].floor_plans) - UNSEEN_PLANS  # of train and valid_seen
RELEASES: Mapping[Wording, str] = {"put": "up to v2.1.1", "move": "v2.1.2 or later"}


class EngineEpisode(Protocol):
    """The interface of both engines."""

    @property
    def won(self) -> bool:
        """True if the goal holds."""

    @property
    def admissible_commands(self) -> list[str]:
        """The commands with an effect in this state, sorted."""

    def reset(self) -> str:
        """Restart the game and return the first observation."""

    def step(self, command: str) -> str:
        """Carry out a command and return the answer."""


class ALFWorldEnvironment(TextEnvironment):
    """The games of one split.

    Args:
        source: ``generated``: games from a seed; ``official``: game files.
        data: for ``official``, the folder that contains ``json_2.1.1`` (upstream's ``$ALFWORLD_DATA``).
        split: ``train``, ``valid_seen``, ``valid_unseen`` or, for ``official``, any other split folder.
        engine: ``native``, or ``textworld`` for upstream's engine (official games and the extra ``textworld`` only).
        generator: further options of the generated games, see :class:`envs.alfworld.generator.GeneratedGames`. Official
            games take ``task_types`` only, and the others at their defaults, so that one configuration serves both.

    Raises:
        InputError: an option does not exist or contradicts another, or the data are missing or damaged.
    """

    def __init__(
        self,
        source: Literal["generated", "official"] = "generated",
        data: str | Path | None = None,
        split: str = "train",
        engine: Literal["native", "textworld"] = "native",
        **generator: Annotated[Any, ArgumentsOf(GeneratedGames)],
    ) -> None:
        super().__init__()
        if engine not in ("native", "textworld"):
            raise InputError(f"there is no ALFWorld engine {engine!r}; choose native or textworld")
        if engine == "textworld" and source != "official":
            raise InputError("engine=textworld reads game files only; use it with source=official and data=DIR")
        self._shared = open_games(source, data, split, generator)
        self._games = self._shared.source
        self._source, self._split, self._engine = source, split, engine
        self._preset = generator.get("preset", OPTIONS["preset"].default)
        self.task_ids = self._games.task_ids
        self._reference: TextWorldEpisode | None = None
        self._episode: EngineEpisode | None = None
        self._task_id = self._task_type = ""
        self._regime: str | None = None

    def game(self, task_id: str) -> Game:
        """Return the game of a task, with the parts that no observation shows."""
        return self._shared.tables(task_id).game

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the task ``options["task_id"]``, or one drawn from ``np_random``."""
        super().reset(seed=seed)
        self._task_id = self.choose_task(options)
        self._episode = self._start(self._task_id)
        observation = self._episode.reset()
        return observation, self._info(self._episode)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out a command; one without effect is answered "Nothing happens."."""
        if self._episode is None:
            raise gymnasium.error.ResetNeeded("the environment was never reset; call reset() before step()")
        observation = self._episode.step(action)
        info = self._info(self._episode)
        return observation, info["score"], info["success"], False, info

    def task_types(self) -> list[str]:
        """Return the type of every task: the first part of its id, after its regime where that is not the clean one."""
        types = [task_id.partition("-")[0] for task_id in self.task_ids]
        if not isinstance(self._games, GeneratedGames):
            return types
        regimes = itertools.chain.from_iterable([name] * count for name, count in self._games.sizes.items())
        return [type_in(regime, kind) for kind, regime in zip(types, regimes, strict=True)]

    def protocol(self) -> dict[str, Any]:
        """Return the settings that results depend on: source, version and split of the games, and restrictions."""
        names = [task_id.partition("/")[0] for task_id in self.task_ids]  # <task type>-..-<number of the floor plan>
        plans, types = {name.rpartition("-")[2] for name in names}, {name.partition("-")[0] for name in names}
        found: dict[str, Any] = {
            "source": self._source,
            "split": self._split,
            "tasks": len(names),
            "floor_plans": len(plans),
            "task_types": ", ".join(task_type for task_type in TASK_TYPES if task_type in types),
            "engine": self._engine,
        }
        if self._engine == "native":
            found["wording"] = self.game(self.task_ids[0]).wording
        games = self._games
        if isinstance(games, GeneratedGames):
            found |= {"seed": games.seed, "preset": self._preset}
            if games.evaluated != (CLEAN,):
                found["regimes"] = ", ".join(games.evaluated)
            every = len(UNSEEN_PLANS if self._split == "valid_unseen" else SEEN_PLANS)
            if len(plans) < every or len(types) < len(TASK_TYPES) or games.objects is not None:
                objects = f", {games.objects[0]} to {games.objects[1]} objects a room" if games.objects else ""
                advice = "; env.preset=full has no restriction" if self._preset != "full" else ""
                found["restricted"] = (
                    f"to {len(plans)} of {every} floor plans, {len(types)} of {len(TASK_TYPES)} task types"
                    f"{objects}{advice}"
                )
        else:
            assert isinstance(games, OfficialGames)
            if "wording" in found:
                found["data_version"] = RELEASES[found["wording"]]
            if games.skipped:
                found["left_out"] = ", ".join(f"{count} {reason}" for reason, count in sorted(games.skipped.items()))
        return found

    def expert(self, name: str) -> Expert:
        """Return an expert: ``search`` acts on the observations, ``oracle`` follows a shortest plan.

        Raises:
            InputError: there is no expert of that name.
        """
        if name == "search":
            return SearchExpert()
        if name == "oracle":
            return _Oracle(self)
        raise InputError(f"ALFWorld has no expert {name!r}; choose search or oracle")

    def _start(self, task_id: str) -> EngineEpisode:
        if self._engine == "native":
            tables = self._shared.tables(task_id)
            if isinstance(self._games, GeneratedGames):
                self._regime = self._games.regime(task_id)
            self._task_type = type_in(self._regime, tables.game.goal.task_type)
            return Episode(tables)
        # Official ids begin with the task type; the native reader might refuse the file.
        self._task_type = task_id.partition("-")[0]
        assert isinstance(self._games, OfficialGames)  # textworld goes with no other source
        game_file = self._games.game_file(task_id)
        if self._reference is None:
            self._reference = TextWorldEpisode(game_file)
        else:
            self._reference.load(game_file)
        return self._reference

    def _info(self, episode: EngineEpisode) -> dict[str, Any]:
        won = episode.won
        info = {
            "task_id": self._task_id,
            "task_type": self._task_type,
            "admissible_actions": episode.admissible_commands,
            "score": float(won),
            "success": won,
        }
        return info if self._regime is None else info | {"regime": self._regime}


class _Oracle:
    """The oracle of the environment's current game, with a new plan at each reset."""

    def __init__(self, environment: ALFWorldEnvironment) -> None:
        self._environment = environment

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        self._expert = OracleExpert(self._environment.game(info["task_id"]))
        self._expert.reset(observation, info)

    def act(self, observation: str, info: dict[str, Any]) -> str:
        return self._expert.act(observation, info)
