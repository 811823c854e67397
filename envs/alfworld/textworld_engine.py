"""ALFWorld through upstream's own engine, TextWorld: the reference for :mod:`envs.alfworld.engine`.

Needs the optional extra ``textworld`` (packages ``alfworld`` and ``textworld``). It is slow (about 0.5 s to load or
reset a game and 50 ms a step) and not thread-safe, and every object loads a private copy of a 34 MB planner library
that cannot be unloaded (a process that loads it again crashes): keep one object and ``load`` games into it. It accepts
facts and goals that the native engine refuses, and the tests compare both.

TextWorld runs Python code that stands in a grammar, or in a name. Therefore it is given games only if their grammar is
that of a release and their problem holds names and brackets alone.
"""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envs.alfworld.game_file import check_grammar, load_content
from prism_bench.errors import InputError

_PLAIN_PROBLEM = re.compile(r"[\w\s():?=.-]*", re.ASCII)


class TextWorldEpisode:
    """One episode of an official game file, with the interface of :class:`envs.alfworld.engine.Episode`.

    Raises:
        InputError: the optional extra is not installed, or the game is not one that may be loaded.
    """

    def __init__(self, game_file: Path) -> None:
        try:
            import textworld
            from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
            from textworld.envs.pddl import PddlEnv
        except ImportError as missing:
            raise InputError(
                f"engine=textworld needs the packages of the optional extra ({missing}); "
                "install them with: pip install 'prism-bench[textworld]'"
            ) from None
        self._pddl = PddlEnv(textworld.EnvInfos(admissible_commands=True, won=True))
        self._environment = AlfredDemangler(self._pddl)
        self.load(game_file)

    def load(self, game_file: Path) -> None:
        """Load another game, which needs far less memory than another object; call ``reset`` next.

        Raises:
            InputError: the file is damaged, or could hold code.
        """
        content = checked_content(game_file)
        with _kept_arguments():
            self._environment.load(content)
        self._state: Any = None

    def reset(self) -> str:
        """Restart the game and return its first observation, which states the task."""
        with _kept_arguments():
            self._state = self._environment.reset()
        return str(self._state["feedback"])

    def step(self, command: str) -> str:
        """Carry out ``command`` and return the answer."""
        self._state, _, _ = self._environment.step(command)
        return str(self._state["feedback"])

    @property
    def admissible_commands(self) -> list[str]:
        """The commands with an effect in this state, sorted."""
        return list(self._state["admissible_commands"])

    @property
    def won(self) -> bool:
        """True if the goal holds in this state."""
        return bool(self._state["won"])


def checked_content(game_file: Path) -> dict[str, Any]:
    """Return the JSON object of a game file that holds no code.

    Raises:
        InputError: the file is damaged, or could hold code.
    """
    try:
        content = load_content(game_file.read_text(encoding="utf-8"), str(game_file))
    except UnicodeDecodeError as error:
        raise InputError(f"{game_file} is damaged ({error}); download the games again") from None
    check_grammar(content["grammar"], str(game_file))
    if not _PLAIN_PROBLEM.fullmatch(content["pddl_problem"]):
        raise InputError(f"{game_file}: the PDDL problem holds more than names and brackets; leave this game out")
    return dict(content)


@contextlib.contextmanager
def _kept_arguments() -> Iterator[None]:
    # The planner's translator overwrites the arguments of the whole process with its own.
    arguments = sys.argv
    try:
        yield
    finally:
        sys.argv = arguments
