"""A probe that continues after it was killed: its norms are on disk batch by batch, until the file is finished.

Until then ``.<name>.partial`` beside the file (:mod:`prism_bench.probe.norms`) holds a line of JSON with what the norms
depend on and then a line for each batch. Reading it back gives exactly the numbers that were written, and the
remaining batches are those of an uninterrupted probe. Of several processes (:mod:`prism_bench.processes`) the first one
keeps its own batches there.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from prism_bench import processes
from prism_bench.accounting.meter import Meter
from prism_bench.data.rendering import Rendered, Renderer, render_demonstrations
from prism_bench.data.trajectory import Trajectory
from prism_bench.errors import InputError
from prism_bench.files import writing
from prism_bench.models.policy import Policy, weights_digest
from prism_bench.models.precision import precision_name
from prism_bench.probe.gradients import charge, gradient_norms
from prism_bench.probe.norms import Probe, ProbeIdentity, save_probe
from prism_bench.probe.projections import find_matrices


def probe_identity(model: PreTrainedModel, renderer: Renderer, names: Sequence[str] | None = None) -> ProbeIdentity:
    """Return the identity of scores that ``model`` gives to trajectories rendered with ``renderer``."""
    return ProbeIdentity(
        checkpoint=weights_digest(model),
        prompt=repr(renderer.prompt),
        max_length=renderer.max_length,
        targets="the agent's tokens, end-of-turn tokens included",
        reduction="mean per trajectory",
        matrices=tuple(matrix.name for layer in find_matrices(model, names) for matrix in layer),
        dtype=precision_name(model),
    )


def probe_trajectories(
    policy: Policy,
    renderer: Renderer,
    trajectories: Sequence[Trajectory],
    path: Path,
    *,
    tokens_per_batch: int,
    meter: Meter,
    checkpointing: bool = False,
    progress: Callable[[int], None] = lambda scored: None,
) -> Probe:
    """Probe ``trajectories`` into the Parquet file ``path``, continuing a killed probe of the same trajectories.

    ``meter`` is charged for the whole probe, the killed part included.

    Raises:
        InputError: the model cannot be probed, a loss is not finite, or another probe was left unfinished at ``path``.
    """
    episodes = render_demonstrations(renderer, trajectories, meter)
    identity = probe_identity(policy.model, renderer, policy.projections)
    header = asdict(identity) | {"trajectories": _digest(episodes), "tokens_per_batch": tokens_per_batch}
    partial = path.with_name(f".{path.name}.partial")
    done = _continue(partial, json.dumps(header))
    finished = processes.agree({number for batch in done for number in batch["trajectories"]})
    remaining = [number for number in range(len(episodes)) if number not in finished]
    meter.add(seconds=sum(batch["seconds"] for batch in done))
    charge(meter, policy.model, [episodes[number] for number in finished], checkpointing)
    since = time.perf_counter()
    with partial.open("a", encoding="utf-8") as file:

        def append(numbers: list[int], norms: np.ndarray, losses: np.ndarray) -> None:
            nonlocal since
            now = time.perf_counter()
            batch = {
                "trajectories": [remaining[number] for number in numbers],
                "seconds": now - since,
                "losses": losses.tolist(),
                "norms": norms.tolist(),
            }
            since = now
            with writing(partial):
                file.write(json.dumps(batch) + "\n")
                file.flush()
            done.append(batch)
            progress(sum(len(batch["trajectories"]) for batch in done))

        gradient_norms(
            policy.model,
            [episodes[number] for number in remaining],
            tokens_per_batch=tokens_per_batch,
            meter=meter,
            names=policy.projections,
            checkpointing=checkpointing,
            on_batch=append,
        )
    done = [batch for batches in processes.gather(done) for batch in batches]
    order = np.argsort([number for batch in done for number in batch["trajectories"]])
    norms = np.array([row for batch in done for row in batch["norms"]])[order]
    losses = np.array([loss for batch in done for loss in batch["losses"]])[order]
    probe = Probe(norms, losses, np.array([episode.agent_tokens for episode in episodes]), identity)
    save_probe(probe, trajectories, [len(episode.input_ids) for episode in episodes], path)
    partial.unlink()
    return probe


def _digest(episodes: Sequence[Rendered]) -> str:
    digest = hashlib.sha256()
    for episode in episodes:
        digest.update(np.array([episode.input_ids, episode.labels]).tobytes())
    return digest.hexdigest()[:16]


def _continue(partial: Path, header: str) -> list[dict[str, Any]]:
    """Return the batches that are done, and make ``partial`` end with the last whole line."""
    lines = partial.read_text(encoding="utf-8").splitlines(keepends=True) if partial.is_file() else []
    whole = [line for line in lines if line.endswith("\n")]  # a killed probe can leave an unfinished line
    if whole and whole[0].rstrip("\n") != header:
        raise InputError(
            f"{partial}: left by a probe of other trajectories, another model or other settings; remove it, or name "
            "another file to write"
        )
    if not whole:
        with writing(partial):
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(header + "\n", encoding="utf-8")
        return []
    os.truncate(partial, len("".join(whole).encode()))
    try:
        return [json.loads(line) for line in whole[1:]]
    except ValueError as error:
        raise InputError(f"{partial}: damaged ({error}); remove it and start again") from None
