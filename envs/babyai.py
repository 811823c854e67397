"""BabyAI in text: go to, pick up, open and put things in rooms of which the agent sees a part.

    env = gymnasium.make("envs.babyai:prism_bench/BabyAI-v0", levels=["GoToLocal", "PickupLoc"], split="valid")
    observation, info = env.reset(seed=0)  # Your task is to: go to the red ball. You see a wall 3 steps forward, ...
    observation, reward, terminated, truncated, info = env.step("turn left")

Source: the levels, their rules and the bot are those of the package ``minigrid`` (BabyAI, Chevalier-Boisvert et al.,
ICLR 2019, https://arxiv.org/abs/1810.08272). The text follows BabyAI-Text (Carta et al., ICML 2023,
https://arxiv.org/abs/2302.02662): walls straight ahead, left and right with nothing before them, and every thing in the
agent's view of 7 x 7 cells, in steps. The actions are the words of BALROG (Paglieri et al., ICLR 2025,
https://arxiv.org/abs/2411.13543), and so is the step limit of 100; the limits of the levels, which differ, do not show.
Ours are the sentences, the nearest thing first, and an answer to actions that change nothing.

A task is a level and a seed, ``GoToLocal-000123``. What the seed makes, mission, grid and agent, belongs to one split
by its checksum; what belongs to another is drawn again from the same generator. So no episode of ``valid`` or ``test``
starts like one of ``train``. By seeds alone, some of those of small levels would.

The score is the share of the instructions that are carried out: half after the first of two doors. Most missions have
one instruction, and a score of 0 or 1. The library's reward, which falls with every step, is not used.
"""

import contextlib
import difflib
import functools
import importlib.metadata
import io
import re
import zlib
from collections.abc import Sequence
from typing import Any

import gymnasium

from prism_bench.environments.contract import Expert, TextEnvironment
from prism_bench.errors import InputError

try:
    from minigrid.core.actions import Actions
    from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT, STATE_TO_IDX
    from minigrid.utils.baby_ai_bot import BabyAIBot, DisappearedBoxError
except ImportError as missing:
    raise InputError(
        f"BabyAI needs the packages of the optional extra ({missing}); "
        "install them with: pip install 'prism-bench[babyai]'"
    ) from None

LEVELS = ("GoToObj", "GoToLocalS6N2", "PickupDist", "OpenDoor", "OpenDoorsOrderN2", "PutNextLocalS5N3")
ACTIONS = dict(zip(("turn left", "turn right", "go forward", "pick up", "drop", "toggle"), Actions, strict=False))
SEEDS = {"train": range(10_000), "valid": range(800_000, 801_000), "test": range(900_000, 901_000)}  # of every level
SHARES = ("train", "train", "valid", "test")  # of what seeds make, by its checksum

_STATES = {number: name for name, number in STATE_TO_IDX.items()}
_NO_LIMIT = 10**9

gymnasium.register(id="prism_bench/BabyAI-v0", entry_point="envs.babyai:BabyAIEnvironment", max_episode_steps=100)


class BabyAIEnvironment(TextEnvironment):
    """The tasks of one split, of one or more levels.

    Args:
        levels: names of levels as the library has them, without ``BabyAI-`` and the version.
        split: ``train``, ``valid`` or ``test``.

    Raises:
        InputError: there is no such level or split.
    """

    def __init__(self, levels: Sequence[str] = LEVELS, split: str = "train") -> None:
        super().__init__()
        if split not in SEEDS:
            raise InputError(f"BabyAI has no split {split!r}; choose train, valid or test")
        _check_levels(levels)
        self._split = split
        self._level_names = tuple(levels)
        self._levels: dict[str, Any] = {}
        self.task_ids = _task_ids(self._level_names, split)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self._task_id = self.choose_task(options)
        self._task_type, _, number = self._task_id.rpartition("-")
        if self._task_type not in self._levels:
            made = gymnasium.make(_ids()[self._task_type], max_steps=_NO_LIMIT, disable_env_checker=True)
            self._levels[self._task_type] = made.unwrapped
        self.level = self._levels[self._task_type]
        with contextlib.redirect_stdout(io.StringIO()):  # the library prints what it draws again
            seen, _ = self.level.reset(seed=int(number))
            while SHARES[_checksum(self.level) % len(SHARES)] != self._split:
                seen, _ = self.level.reset()
        self._view = describe(seen["image"].tolist())
        self._score, self._success = 0.0, False
        return f"Your task is to: {self.level.mission}.\n{self._view}", self._info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        changes, terminated, before = action in self._admissible(), False, self._score
        if action in ACTIONS:
            seen, reward, terminated, _, _ = self.level.step(ACTIONS[action])
            self._view = describe(seen["image"].tolist())
            self._success = terminated and reward > 0
            self._score = 1.0 if self._success else _carried_out(self.level.instrs)
        answer = self._view if changes else f"Nothing happens. {self._view}"
        return answer, self._score - before, terminated, False, self._info()

    def task_types(self) -> list[str]:
        """Return the level of every task."""
        return [task_id.rpartition("-")[0] for task_id in self.task_ids]

    def protocol(self) -> dict[str, Any]:
        """Return the settings that results depend on; the library's version decides what a seed makes."""
        return {
            "package": f"minigrid {importlib.metadata.version('minigrid')}",
            "levels": ", ".join(self._level_names),
            "split": self._split,
            "tasks": len(self.task_ids),
        }

    def expert(self, name: str) -> Expert:
        """Return the library's ``bot``, which plans on the part of the grid that it has seen.

        Raises:
            InputError: there is no expert of that name.
        """
        if name != "bot":
            raise InputError(f"BabyAI has no expert {name!r}; choose bot")
        return _Bot(self)

    def _admissible(self) -> list[str]:
        """Return the actions that change something."""
        level = self.level
        front, carried = level.grid.get(*level.front_pos), level.carrying
        possible = {
            "drop": front is None and carried is not None,
            "go forward": front is None or front.can_overlap(),
            "pick up": front is not None and front.can_pickup() and carried is None,
            "toggle": front is not None and (front.type == "box" or (front.type == "door" and _opens(front, carried))),
            "turn left": True,
            "turn right": True,
        }
        return [action for action, is_possible in possible.items() if is_possible]

    def _info(self) -> dict[str, Any]:
        return {
            "task_id": self._task_id,
            "task_type": self._task_type,
            "admissible_actions": self._admissible(),
            "score": self._score,
            "success": self._success,
        }


class _Bot:
    """The library's bot in the environment's current task. Where it does not know how to go on, it waits."""

    def __init__(self, environment: BabyAIEnvironment) -> None:
        self._environment = environment

    def reset(self, observation: str, info: dict[str, Any]) -> None:
        self._bot = BabyAIBot(self._environment.level)

    def act(self, observation: str, info: dict[str, Any]) -> str:
        try:
            chosen = self._bot.replan()
        except (AssertionError, DisappearedBoxError):  # it checks its plans by assertions
            return "wait"
        return next((words for words, action in ACTIONS.items() if action == chosen), "wait")


def describe(image: Sequence[Sequence[Sequence[int]]]) -> str:
    """Return what the agent sees and carries, in words.

    Args:
        image: the library's observation: a column from left to right has rows from far to near, a cell its kind,
            color and state. The agent is in the middle of the last row, where what it carries is shown.
    """
    middle, last = len(image) // 2, len(image) - 1
    rays = {
        (0, 1): [image[middle][last - steps] for steps in range(1, last + 1)],
        (-1, 0): [image[middle - steps][last] for steps in range(1, middle + 1)],
        (1, 0): [image[middle + steps][last] for steps in range(1, middle + 1)],
    }
    seen = []
    for (right, forward), cells in rays.items():
        steps = next((number for number, cell in enumerate(cells, 1) if IDX_TO_OBJECT[cell[0]] != "empty"), 0)
        if steps and IDX_TO_OBJECT[cells[steps - 1][0]] == "wall":
            seen.append(f"a wall {_place(right * steps, forward * steps)}")
    things = [
        (forward + abs(right), right, _place(right, forward), cell)
        for right, column in enumerate(image, -middle)
        for forward, cell in zip(range(last, -1, -1), column, strict=True)
        if IDX_TO_OBJECT[cell[0]] not in ("unseen", "empty", "wall") and (right, forward) != (0, 0)
    ]
    seen += [f"{_name(cell)} {place}" for _, _, place, cell in sorted(things)]
    carried = image[middle][last]
    carries = "" if IDX_TO_OBJECT[carried[0]] == "empty" else f" You carry {_name(carried)}."
    return f"You see {', '.join(seen) or 'nothing'}.{carries}"


def _name(cell: Sequence[int]) -> str:
    kind, color = IDX_TO_OBJECT[cell[0]], IDX_TO_COLOR[cell[1]]
    if kind != "door":
        return f"a {color} {kind}"
    state = _STATES[cell[2]]
    return f"{'an' if state == 'open' else 'a'} {state} {color} {kind}"


def _place(right: int, forward: int) -> str:
    ways = ((forward, "forward"), (-right, "left"), (right, "right"))
    return " and ".join(f"{steps} step{'s' if steps > 1 else ''} {way}" for steps, way in ways if steps > 0)


def _opens(door: Any, carried: Any) -> bool:
    has_key = carried is not None and carried.type == "key" and carried.color == door.color
    return has_key or not door.is_locked


def _carried_out(instruction: Any) -> float:
    """Return the share of the instructions in a mission that are carried out; a mission of one is all or nothing."""
    done, every = _count(instruction)
    return done / every


def _count(instruction: Any, is_done: bool = False) -> tuple[int, int]:
    """Return how many instructions are carried out, and how many there are."""
    if not hasattr(instruction, "instr_a"):
        return int(is_done), 1
    parts = ((instruction.instr_a, instruction.a_done), (instruction.instr_b, instruction.b_done))
    counts = [_count(part, is_done or status == "success") for part, status in parts]
    return sum(done for done, _ in counts), sum(every for _, every in counts)


def _checksum(level: Any) -> int:
    """Return a number for all that a seed made: the mission, the grid, and the agent's place and direction."""
    agent = bytes(int(number) for number in (*level.agent_pos, level.agent_dir))
    return zlib.crc32(level.mission.encode() + level.grid.encode().tobytes() + agent)


@functools.cache
def _ids() -> dict[str, str]:
    """Return the library's id of every level, by our name."""
    found = {name: re.fullmatch(r"BabyAI-(\w+)-v\d+", name) for name in gymnasium.registry}
    return {match[1]: name for name, match in found.items() if match}


@functools.cache
def _task_ids(levels: tuple[str, ...], split: str) -> tuple[str, ...]:
    return tuple(f"{level}-{seed:06}" for level in levels for seed in SEEDS[split])


def _check_levels(levels: Sequence[str]) -> None:
    if isinstance(levels, str) or not levels or len(set(levels)) < len(levels):
        raise InputError(f"levels={levels!r} is not possible; it should be a list of different levels, [GoToLocal]")
    for level in levels:
        if level not in _ids():
            nearest = difflib.get_close_matches(str(level), _ids(), n=3, cutoff=0.0)
            raise InputError(f"BabyAI has no level {level!r}; the nearest are {', '.join(nearest)}")
