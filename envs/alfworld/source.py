"""The interface of the two sources of games, generated and official."""

from collections.abc import Sequence
from typing import Protocol

from envs.alfworld.game import Game


class GameSource(Protocol):
    """The games of one split."""

    @property
    def task_ids(self) -> Sequence[str]:
        """The ids of all games, in the order in which they are listed and drawn."""

    def game(self, task_id: str) -> Game:
        """Return the game of that id; KeyError when the source does not have it."""
