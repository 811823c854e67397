"""Rewards of rollouts in RL.

GRPO needs one number per episode. An environment gives two, a score between 0 and 1 and whether the task is solved, and
they can rank two failures differently: a shop rewards a product that is nearly right. Actions that the environment does
not list as admissible may cost something, as they do in GiGPO's training (arXiv 2505.10978).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prism_bench.rollouts.episodes import Episode
from prism_bench.settings.types import NotNegative


@dataclass(frozen=True)
class Reward:
    """A number for each episode.

    Attributes:
        kind: ``score``, or ``success``, which is 1 for a solved task and 0 for any other.
        inadmissible_price: what every action that was not admissible takes from it.
    """

    kind: Literal["score", "success"] = "score"
    inadmissible_price: NotNegative = 0.0

    def of(self, episode: Episode) -> float:
        """Return the reward of an episode; below 0 where the price of its actions exceeds what it earned."""
        trajectory = episode.trajectory
        earned = trajectory.score if self.kind == "score" else float(trajectory.success)
        return earned - self.inadmissible_price * episode.inadmissible


def episode_reward(episode_reward: Sequence[float], **_: Any) -> list[float | None]:
    """Return the reward of each episode; TRL passes on the column that the rollouts returned under this name."""
    return list(episode_reward)
