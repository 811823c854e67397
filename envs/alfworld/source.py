"""Where ALFWorld games come from: the two sources (generated, official) behind one small contract."""

from collections.abc import Sequence
from typing import Protocol

from envs.alfworld.game import Game


class GameSource(Protocol):
    """The games of one split. A source of official games also has ``game_file(task_id) -> Path``."""

    @property
    def task_ids(self) -> Sequence[str]:
        """The ids of all games, in the order in which they are listed and drawn."""

    def game(self, task_id: str) -> Game:
        """Return the game of that id; KeyError when the source does not have it."""
