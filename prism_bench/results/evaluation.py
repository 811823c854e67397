"""The fixed protocol by which every stage is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prism_bench.accounting.ledger import Meter
from prism_bench.data.trajectory import Trajectory
from prism_bench.rollouts.backend import Backend, Sampling
from prism_bench.rollouts.episodes import EpisodePlayer


@dataclass(frozen=True)
class EvaluationSettings:
    """What is played, and how replies are decoded.

    ``tasks`` is the number of tasks of a split, the first ones in its order; None plays them all.
    """

    tasks: int | None = None
    temperature: float = 0.0


def evaluate(
    backend: Backend,
    player: EpisodePlayer,
    task_ids: Sequence[str],
    settings: EvaluationSettings,
    *,
    max_reply_tokens: int,
    seed: int,
    source: str,
    meter: Meter,
    progress: Callable[[int], None] = lambda finished: None,
) -> list[Trajectory]:
    """Play every task once and return the episodes in the order of ``task_ids``."""
    sampling = Sampling(settings.temperature, max_reply_tokens, seed)
    episodes = player.play(backend, task_ids, sampling, source, meter, progress)
    return [episode.trajectory for episode in episodes]
