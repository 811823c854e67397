"""Where the gradient of a trajectory lands: the norm of the loss gradient in every projection of every layer.

Source: PRISM (arXiv 2601.07224). For one trajectory, the mean next-token cross-entropy over the agent's own tokens,
one backward pass, and the Frobenius norm of the weight gradient of each layer's seven projections (attention q, k, v,
o; MLP gate, up, down): a vector of 7L numbers. How concentrated that vector is, is the score.

Deviation in how, not in what: no parameter gradient is ever formed. A projection with input A (T x d_in) and output
gradient B (T x d_out) has the weight gradient B^T A, so its norm follows from what passes through the layer, for a
whole batch of trajectories in one backward pass, and for parameters that do not require a gradient (frozen,
LoRA-wrapped). Per batch and projection the cheaper of two equal forms is taken: |B^T A|^2 directly, or
sum((A A^T) * (B B^T)).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy import stats
from torch import nn
from transformers import PreTrainedModel

from prism_bench.decoder import decoder_and_head, evaluation_mode, model_shape
from prism_bench.flops import PROJECTIONS, forward_flops, training_flops
from prism_bench.ledger import Meter
from prism_bench.models import weights_digest
from prism_bench.rendering import IGNORED, Rendered

Concentration = Literal["gini", "cv", "kurtosis"]


class ProbeError(ValueError):
    """A model whose seven projections cannot be found, or whose loss is no number."""


@dataclass(frozen=True)
class ProbeIdentity:
    """What a score depends on: two scores can be compared only where all of this is equal."""

    checkpoint: str  # digest of the weights
    prompt: str
    max_length: int
    targets: str
    reduction: str
    matrices: tuple[str, ...]
    dtype: str


def probe_identity(model: PreTrainedModel, prompt: Any, max_length: int) -> ProbeIdentity:
    """Return the identity of scores that ``model`` gives to trajectories rendered with ``prompt``."""
    return ProbeIdentity(
        checkpoint=weights_digest(model),
        prompt=repr(prompt),
        max_length=max_length,
        targets="the agent's tokens, end-of-turn tokens included",
        reduction="mean per trajectory",
        matrices=tuple(name for name, _ in _projections(model)),
        dtype=str(model.dtype).removeprefix("torch."),
    )


def gradient_norms(
    model: PreTrainedModel,
    episodes: Sequence[Rendered],
    *,
    tokens_per_batch: int,
    meter: Meter,
    progress: Callable[[int], None] = lambda scored: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return gradient norms (trajectories, layers, 7) and the mean loss (trajectories) of ``episodes``.

    The model's weights, gradients, training mode and ``requires_grad`` flags are afterwards what they were before.

    Args:
        tokens_per_batch: how many tokens, padding included, go through the model at once.
        meter: is charged what the trajectories cost one by one, without padding.

    Raises:
        ProbeError: the model does not have the seven projections in every layer, or a loss is not finite.
        UnsupportedModelError: the model changes its logits after the LM head.
    """
    projections = _projections(model)
    norms = np.zeros((len(episodes), len(projections)))
    losses = np.zeros(len(episodes))
    done = 0
    with _frozen(model), _watched([module for _, module in projections]) as watch:
        for batch in _batches(episodes, tokens_per_batch):
            watch.norms = torch.zeros(len(batch), len(projections), dtype=torch.float64, device=model.device)
            losses[batch] = _backward(model, [episodes[number] for number in batch])
            norms[batch] = watch.norms.sqrt().cpu().numpy()
            done += len(batch)
            progress(done)
    lengths = np.array([len(episode.input_ids) for episode in episodes])
    targets = np.array([episode.agent_tokens for episode in episodes])
    meter.add(
        prefill_tokens=int(lengths.sum()),
        flops=training_flops(model_shape(model), lengths, logits=targets, weights="norms"),
    )
    return norms.reshape(len(episodes), -1, len(PROJECTIONS)), losses


def mean_losses(
    model: PreTrainedModel,
    episodes: Sequence[Rendered],
    *,
    tokens_per_batch: int,
    meter: Meter,
    progress: Callable[[int], None] = lambda scored: None,
) -> np.ndarray:
    """Return the mean loss over the agent's tokens of each trajectory; forward passes only."""
    losses = np.zeros(len(episodes))
    done = 0
    with _frozen(model), torch.inference_mode():
        for batch in _batches(episodes, tokens_per_batch):
            losses[batch] = _losses(model, [episodes[number] for number in batch]).cpu().numpy()
            done += len(batch)
            progress(done)
    lengths = np.array([len(episode.input_ids) for episode in episodes])
    targets = np.array([episode.agent_tokens for episode in episodes])
    meter.add(prefill_tokens=int(lengths.sum()), flops=forward_flops(model_shape(model), lengths, logits=targets))
    return losses


def concentration(norms: np.ndarray, kind: Concentration) -> np.ndarray:
    """Return how concentrated each row of ``norms`` (trajectories, ...) is over its entries; 0 for even rows.

    ``gini``: mean absolute difference over twice the mean. ``cv``: standard deviation over mean. ``kurtosis``: fourth
    standardised moment minus 3. All with the population's moments (no small-sample correction).

    Raises:
        ValueError: ``kind`` is none of the three.
    """
    rows = norms.reshape(len(norms), -1).astype(float)
    means = rows.mean(axis=1)
    safe = np.where(means > 0, means, 1.0)
    if kind == "gini":
        count = rows.shape[1]
        ranks = 2 * np.arange(1, count + 1) - count - 1
        return np.where(means > 0, (np.sort(rows, axis=1) @ ranks) / (count**2 * safe), 0.0)
    if kind == "cv":
        return np.where(means > 0, rows.std(axis=1) / safe, 0.0)
    if kind == "kurtosis":
        even = rows.std(axis=1) <= 1e-12 * safe
        return np.where(even, 0.0, stats.kurtosis(np.where(even[:, None], np.arange(rows.shape[1]), rows), axis=1))
    raise ValueError(f"router.concentration={kind!r} is unknown; choose gini, cv or kurtosis")


def _projections(model: PreTrainedModel) -> list[tuple[str, nn.Module]]:
    """Return the projections, layer by layer in the order of :data:`PROJECTIONS`; of LoRA layers the frozen base."""
    decoder, _ = decoder_and_head(model)
    found: dict[tuple[str, str], tuple[str, nn.Module]] = {}
    for name, module in decoder.named_modules():
        bare = name.removesuffix(".base_layer")
        parent, _, last = bare.rpartition(".")
        if last in PROJECTIONS and isinstance(getattr(module, "weight", None), torch.Tensor):
            layer = ".".join(parent.split(".")[:-1])
            found.setdefault((layer, last), (bare, module))
            if name != bare:
                found[layer, last] = (bare, module)
    layers = list(dict.fromkeys(layer for layer, _ in found))
    missing = [(layer, last) for layer in layers for last in PROJECTIONS if (layer, last) not in found]
    if not layers or missing:
        linear = sorted(
            {name.rpartition(".")[2] for name, module in decoder.named_modules() if isinstance(module, nn.Linear)}
        )
        raise ProbeError(
            f"{type(model).__name__} does not have the projections {', '.join(PROJECTIONS)} in every layer; "
            f"its linear layers are called {', '.join(linear)}"
        )
    return [found[layer, last] for layer in layers for last in PROJECTIONS]


class _Watch:
    """Adds the squared gradient norm of every projection to ``norms`` (batch, projections) as backward reaches it."""

    def __init__(self) -> None:
        self.norms = torch.zeros(0, 0)

    def hook(self, number: int) -> Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]:
        def on_forward(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            activations = inputs[0].detach()

            def on_backward(gradient: torch.Tensor) -> None:
                self.norms[:, number] += squared_norms(activations, gradient)

            output.register_hook(on_backward)

        return on_forward


def squared_norms(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Return the squared Frobenius norm of B^T A for each row: A (batch, T, d_in), B (batch, T, d_out) -> (batch,)."""
    a, b = activations.float(), gradients.float()
    length, inputs, outputs = a.shape[1], a.shape[2], b.shape[2]
    if length * (inputs + outputs) < inputs * outputs:
        products = (a @ a.transpose(1, 2)) * (b @ b.transpose(1, 2))
    else:
        products = (b.transpose(1, 2) @ a).square()
    return products.sum(dim=(1, 2), dtype=torch.float64)


@contextmanager
def _watched(modules: Sequence[nn.Module]) -> Iterator[_Watch]:
    watch = _Watch()
    handles = [module.register_forward_hook(watch.hook(number)) for number, module in enumerate(modules)]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _frozen(model: PreTrainedModel) -> Iterator[None]:
    """Let activations carry gradients and parameters not; restore everything at the end."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    handle = model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: output.requires_grad_(torch.is_grad_enabled())
    )
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        with evaluation_mode(model):
            yield
    finally:
        handle.remove()
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _batches(episodes: Sequence[Rendered], tokens_per_batch: int) -> Iterator[list[int]]:
    """Yield trajectory numbers, shortest first, so that padded batches stay within the budget (or hold one)."""
    batch: list[int] = []
    for number in sorted(range(len(episodes)), key=lambda number: len(episodes[number].input_ids)):
        if batch and (len(batch) + 1) * len(episodes[number].input_ids) > tokens_per_batch:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _losses(model: PreTrainedModel, episodes: Sequence[Rendered]) -> torch.Tensor:
    """Return the mean loss over the targets of each trajectory, (batch,). Padding stands on the right, unseen."""
    width = max(len(episode.input_ids) for episode in episodes)
    device = model.device
    padded = [episode.input_ids + [0] * (width - len(episode.input_ids)) for episode in episodes]
    labels = [episode.labels + [IGNORED] * (width - len(episode.labels)) for episode in episodes]
    targets = torch.tensor(labels, device=device)[:, 1:]
    decoder, head = decoder_and_head(model)
    hidden = decoder(input_ids=torch.tensor(padded, device=device), use_cache=False).last_hidden_state[:, :-1]
    chosen = targets != IGNORED
    logits = head(hidden[chosen]).float()
    losses = nn.functional.cross_entropy(logits, targets[chosen], reduction="none")
    rows = chosen.nonzero()[:, 0]
    sums = torch.zeros(len(episodes), device=device).index_add(0, rows, losses)
    return sums / chosen.sum(dim=1)


def _backward(model: PreTrainedModel, episodes: Sequence[Rendered]) -> np.ndarray:
    losses = _losses(model, episodes)
    losses.sum().backward()
    detached: np.ndarray = losses.detach().cpu().numpy()
    if not all(math.isfinite(loss) for loss in detached):
        raise ProbeError("the loss of a trajectory is not a finite number; probe in float32 or bfloat16")
    return detached
