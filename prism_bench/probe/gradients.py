"""The norm of the loss gradient in every probed matrix, for many trajectories at once.

Source: PRISM (arXiv 2601.07224). For one trajectory, the mean next-token cross-entropy over the agent's own tokens,
one backward pass, and the Frobenius norm of the weight gradient of each layer's seven projections (attention q, k, v,
o; MLP gate, up, down): a vector of 7L numbers.

Deviation in the method, not in the numbers: no parameter gradient is ever formed. A projection with input A (T x d_in)
and output gradient B (T x d_out) has the weight gradient B^T A, so its norm follows from A and B, for a whole batch of
trajectories in one backward pass, and for parameters that do not require a gradient (frozen, LoRA-wrapped). Per batch
and input the cheaper of two equal forms is taken (:mod:`prism_bench.accounting.flops`): |B^T A|^2 directly, or sum((A
A^T) * (B B^T)). Products of half-precision numbers are summed in float32.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from prism_bench import processes
from prism_bench.accounting.flops import forward_flops, training_flops
from prism_bench.accounting.meter import Meter
from prism_bench.data.batching import groups_within_budget
from prism_bench.data.rendering import IGNORED, Rendered
from prism_bench.errors import InputError
from prism_bench.models.decoder import decoder_and_head, evaluation_mode, model_shape
from prism_bench.probe.projections import Matrix, find_matrices

PRODUCT_BYTES = 2**24
"""Memory for the gradients B^T A of a batch that are formed at once; at least one is."""

Batch = Callable[[list[int], np.ndarray, np.ndarray], None]


def gradient_norms(
    model: PreTrainedModel,
    episodes: Sequence[Rendered],
    *,
    tokens_per_batch: int,
    meter: Meter,
    names: Sequence[str] | None = None,
    checkpointing: bool = False,
    on_batch: Batch = lambda numbers, norms, losses: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return gradient norms (trajectories, layers, matrices) and the mean loss (trajectories) of ``episodes``.

    The model's weights, gradients, training mode and ``requires_grad`` flags are afterwards what they were before.

    Args:
        tokens_per_batch: how many tokens, padding included, go through the model at once.
        meter: is charged the cost of the trajectories one by one, without padding.
        names: of the linear layers to probe; None for the seven projections.
        checkpointing: keep the inputs of the layers only and compute the rest twice, for contexts that do not fit.
        on_batch: called with the positions of the trajectories of each batch, their norms and their losses; with those
            of this process if several share them (:mod:`prism_bench.processes`).

    Raises:
        InputError: the model does not have these projections in every layer, or a loss is not finite.
        InputError: the model changes its logits after the LM head.
    """
    layers = find_matrices(model, names)
    norms = np.zeros((len(episodes), len(layers), len(layers[0])))
    losses = np.zeros(len(episodes))
    watch = _Watch([matrix for layer in layers for matrix in layer], checkpointing)
    with _frozen(model), _checkpointed(model) if checkpointing else ExitStack(), watch:
        for batch in processes.share(list(groups_within_budget(_lengths(episodes), tokens_per_batch))):
            squares, losses[batch] = watch.backward(model, [episodes[number] for number in batch])
            norms[batch] = squares.sqrt().cpu().numpy().reshape(len(batch), *norms.shape[1:])
            on_batch(batch, norms[batch], losses[batch])
    charge(meter, model, episodes, checkpointing)
    return np.sum(processes.gather(norms), axis=0), np.sum(processes.gather(losses), axis=0)


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
    lengths, targets = _tokens(episodes)
    done = 0
    with _frozen(model), torch.inference_mode():
        for batch in processes.share(list(groups_within_budget(_lengths(episodes), tokens_per_batch))):
            losses[batch] = _losses(model, [episodes[number] for number in batch]).cpu().numpy()
            done += len(batch)
            progress(done)
    meter.add_once(prefill_tokens=sum(lengths), flops=forward_flops(model_shape(model), lengths, logits=targets))
    return cast(np.ndarray, np.sum(processes.gather(losses), axis=0))


def charge(meter: Meter, model: PreTrainedModel, episodes: Sequence[Rendered], checkpointing: bool) -> None:
    """Charge ``meter`` with the probe of ``episodes``; named matrices are counted as if they were the usual seven."""
    lengths, targets = _tokens(episodes)
    flops = training_flops(model_shape(model), lengths, logits=targets, weights="norms", checkpointing=checkpointing)
    meter.add_once(prefill_tokens=sum(lengths), flops=flops)


def _lengths(episodes: Sequence[Rendered]) -> list[int]:
    return [len(episode.input_ids) for episode in episodes]


def _tokens(episodes: Sequence[Rendered]) -> tuple[list[int], list[int]]:
    """Return how many tokens each context of the trajectories has, and how many of them are targets."""
    contexts = [labels for episode in episodes for _, labels in episode.contexts]
    return [len(labels) for labels in contexts], [sum(label != IGNORED for label in labels) for labels in contexts]


class _Input:
    """Input of one or several matrices, kept until the last of them has its norm."""

    def __init__(self, activations: torch.Tensor) -> None:
        self.activations = activations
        self.outputs = 0  # of all matrices that read it
        self.gram: torch.Tensor | None = None


class _Watch:
    """Hooks that turn inputs and output gradients of the matrices into norms while a batch passes.

    Under gradient checkpointing the inputs of a layer's matrices are freed, and seen again when the backward pass
    recomputes the layer, possibly after the gradients of their outputs. Whichever comes second completes a matrix.
    """

    def __init__(self, matrices: Sequence[Matrix], checkpointing: bool) -> None:
        self.modules: dict[nn.Module, list[tuple[int, Matrix]]] = {}
        for column, matrix in enumerate(matrices):
            self.modules.setdefault(matrix.module, []).append((column, matrix))
        self.columns = len(matrices)
        self.checkpointing = checkpointing
        self.handles: list[Any] = []
        self.in_backward = False
        self.latest: tuple[torch.Tensor, _Input] | None = None  # input of the module before
        self.inputs: dict[nn.Module, _Input] = {}
        self.gradients: dict[nn.Module, torch.Tensor] = {}
        self.squares = torch.zeros(0, 0)

    def __enter__(self) -> None:
        self.handles = [module.register_forward_hook(self._on_forward) for module in self.modules]

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
        self._forget()

    def backward(self, model: PreTrainedModel, episodes: Sequence[Rendered]) -> tuple[torch.Tensor, np.ndarray]:
        """Return squared norms (trajectories, matrices), float64, and losses (trajectories)."""
        self.squares = torch.zeros(len(episodes), self.columns, dtype=torch.float64, device=model.device)
        with set_checkpoint_early_stop(False):  # so that a recomputed layer shows the input of its last matrix too
            losses = _losses(model, episodes)
        detached: np.ndarray = losses.detach().cpu().numpy()
        if not np.isfinite(detached).all():
            raise InputError("the loss of a trajectory is not a finite number; probe in float32 or bfloat16")
        self.in_backward = True
        losses.sum().backward()
        self._forget()
        return self.squares, detached

    def _forget(self) -> None:
        self.in_backward, self.latest = False, None
        self.inputs.clear()
        self.gradients.clear()

    def _on_forward(self, module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if self.in_backward or not self.checkpointing:
            self._on_input(module, inputs[0], output.shape[-1])
        if not self.in_backward:
            output.register_hook(lambda gradient: self._on_gradient(module, gradient))

    def _on_input(self, module: nn.Module, activations: torch.Tensor, outputs: int) -> None:
        if self.latest is None or self.latest[0] is not activations:
            self.latest = activations, _Input(activations.detach())
        read = self.inputs[module] = self.latest[1]
        read.outputs += outputs
        if module in self.gradients:
            self._complete(module)

    def _on_gradient(self, module: nn.Module, gradient: torch.Tensor) -> None:
        self.gradients[module] = gradient
        if module in self.inputs:
            self._complete(module)

    def _complete(self, module: nn.Module) -> None:
        read, gradient = self.inputs.pop(module), self.gradients.pop(module)
        _, length, width = read.activations.shape
        if length * (width + read.outputs) < width * read.outputs and read.gram is None:
            read.gram = _product(read.activations, read.activations.transpose(1, 2))
        for column, matrix in self.modules[module]:
            part = gradient[..., matrix.start : matrix.stop]
            self.squares[:, column] += (
                _squared_norms(read.activations, part) if read.gram is None else _squared_norms_by_gram(read.gram, part)
            )


def _squared_norms(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Return |B^T A|^2 for each row: A (batch, T, d_in), B (batch, T, d_out) -> (batch,)."""
    at_once = max(1, PRODUCT_BYTES // (4 * activations.shape[2] * gradients.shape[2]))
    squares = [
        torch.linalg.vector_norm(_product(b.transpose(1, 2), a), dim=(1, 2), dtype=torch.float64).square()
        for a, b in zip(activations.split(at_once), gradients.split(at_once), strict=True)
    ]
    return torch.cat(squares)


def _squared_norms_by_gram(gram: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Return the same number from A A^T (batch, T, T)."""
    return _product(gradients, gradients.transpose(1, 2)).mul_(gram).sum(dim=(1, 2), dtype=torch.float64)


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the batched product in float32, exact products summed in float32; under autocast the types may differ."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.bmm(left, right.to(left.dtype), out_dtype=torch.float32)
    return left.float() @ right.float()


@contextmanager
def _checkpointed(model: PreTrainedModel) -> Iterator[None]:
    """Let every layer keep its input only, also in evaluation mode; afterwards everything is as it was."""
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise InputError(f"{type(model).__name__} has no layers that support gradient checkpointing")
    before = [dict(vars(layer)) for layer in layers]
    for layer in layers:
        vars(layer).update(
            training=True,  # of the layer alone, not of the dropout inside
            gradient_checkpointing=True,
            _gradient_checkpointing_func=partial(checkpoint, use_reentrant=False),
        )
    try:
        yield
    finally:
        for layer, attributes in zip(layers, before, strict=True):
            vars(layer).clear()
            vars(layer).update(attributes)


@contextmanager
def _frozen(model: PreTrainedModel) -> Iterator[None]:
    """Let activations require gradients, but not parameters; restore everything at the end."""
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


def _losses(model: PreTrainedModel, episodes: Sequence[Rendered]) -> torch.Tensor:
    """Return the mean loss over the targets of each trajectory, (batch,). Padding is on the right, unseen."""
    width = max(len(episode.input_ids) for episode in episodes)
    device = model.device
    padded = [episode.input_ids + [0] * (width - len(episode.input_ids)) for episode in episodes]
    labels = [episode.labels + [IGNORED] * (width - len(episode.labels)) for episode in episodes]
    targets = torch.tensor(labels, device=device)[:, 1:]
    decoder, head = decoder_and_head(model)
    inputs = {"input_ids": torch.tensor(padded, device=device)}
    if any(len(episode.starts) > 1 for episode in episodes):  # positions that begin anew separate contexts
        positions = [[*episode.positions, *range(1, 1 + width - len(episode.input_ids))] for episode in episodes]
        inputs["position_ids"] = torch.tensor(positions, device=device)
    hidden = decoder(**inputs, use_cache=False).last_hidden_state[:, :-1]
    chosen = targets != IGNORED
    logits = head(hidden[chosen]).float()
    losses = nn.functional.cross_entropy(logits, targets[chosen], reduction="none")
    rows = chosen.nonzero()[:, 0]
    sums = torch.zeros(len(episodes), device=device).index_add(0, rows, losses)
    return sums / chosen.sum(dim=1)
