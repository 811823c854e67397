"""The norms of a probe: gradient norms of trajectories, what they depend on, and their finished Parquet file.

The file has a row for each trajectory and, as metadata, everything that the norms depend on (:class:`ProbeIdentity`):
two files can be compared only if it is equal. Reading it back gives exactly the numbers that were written.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from prism_bench.data.trajectory import Trajectory
from prism_bench.errors import InputError
from prism_bench.files import atomic_path
from prism_bench.probe.concentration import KINDS, concentration

NORMS = "norms.parquet"
"""Name of the file beside an allocation."""


@dataclass(frozen=True)
class ProbeIdentity:
    """Everything that a score depends on; two scores can be compared only if all of it is equal."""

    checkpoint: str  # digest of the weights
    prompt: str
    max_length: int
    targets: str
    reduction: str
    matrices: tuple[str, ...]  # layer by layer
    dtype: str


@dataclass(frozen=True)
class Probe:
    """Gradient norms (trajectories, layers, matrices), mean losses and the tokens they are over, and their identity."""

    norms: np.ndarray
    losses: np.ndarray
    agent_tokens: np.ndarray
    identity: ProbeIdentity


def save_probe(probe: Probe, trajectories: Sequence[Trajectory], tokens: Sequence[int], path: Path) -> None:
    """Write a row for each trajectory, with its length in ``tokens``, to the Parquet file ``path``."""
    columns: dict[str, Any] = {
        "task_id": [trajectory.task_id for trajectory in trajectories],
        "task_type": [trajectory.task_type for trajectory in trajectories],
        "source": [trajectory.source for trajectory in trajectories],
        "tokens": list(tokens),
        "agent_tokens": probe.agent_tokens,
        "loss": probe.losses,
        **{kind: concentration(probe.norms, kind) for kind in KINDS},
        "norms": probe.norms.tolist(),
    }
    table = pyarrow.table(columns).replace_schema_metadata({"probe": json.dumps(asdict(probe.identity))})
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def load_probe(path: Path) -> Probe:
    """Read a file of :func:`save_probe`.

    Raises:
        InputError: the file is missing, damaged or of another kind.
    """
    try:
        table = pyarrow.parquet.read_table(path)
        stored = json.loads((table.schema.metadata or {})[b"probe"])
        identity = ProbeIdentity(**stored | {"matrices": tuple(stored["matrices"])})
        norms = np.array(table["norms"].to_pylist())
        return Probe(norms, table["loss"].to_numpy(), table["agent_tokens"].to_numpy(), identity)
    except (OSError, pyarrow.ArrowException, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a file of gradient norms ({str(error).splitlines()[0]})") from None


def mean_norms(probe: Probe, members: Sequence[int]) -> np.ndarray:
    """Return the mean norms of some trajectories, (layers, matrices).

    The norms of each trajectory are divided by their mean, as every concentration does, so that long and short or easy
    and hard trajectories count alike.
    """
    means = probe.norms.mean(axis=(1, 2), keepdims=True)
    relative = probe.norms / np.where(means > 0, means, 1.0)
    return np.asarray(relative[list(members)].mean(axis=0))


def matrix_names(probe: Probe) -> list[str]:
    """Return short names of the matrices of a layer."""
    columns = probe.norms.shape[2]
    return [name.rpartition(".")[2].rpartition("[")[2].rstrip("]") for name in probe.identity.matrices[:columns]]
