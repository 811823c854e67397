"""Sampling of tokens, and detection of draws that are too close to call.

A token is drawn by inverting the cumulative distribution at the next number of the session's own random stream. In
another batch the same row has slightly different logits, since matrix products of another shape round differently; now
and then a number lies so near the boundary between two tokens that this decides. :func:`draw` names these rows, for the
caller to draw them from logits that depend on no batch.

If no logit is off by more than e, then at temperature T the probability F below a boundary is off by at most
2 F (1 - F) e / T, and the difference of two logits by at most 2 e. Outside of these margins every batch draws the same
token.
"""

from collections.abc import Sequence

import torch

LOGIT_NOISE = 1e-5
"""Bound on the change of a float32 logit in another batch, as a share of the row's largest. The largest change seen in
the default model is a sixth of it, and moved probabilities and differences by a tenth of the margins at most."""


def draw(
    logits: torch.Tensor, temperature: float, numbers: Sequence[float], noise: float
) -> tuple[list[int], list[float], list[int]]:
    """Draw one token per row: return tokens, their log-probabilities, and the rows too close to call.

    Args:
        logits: (rows, vocabulary), float32.
        temperature: 0 takes the most likely token.
        numbers: one per row, uniform in [0, 1); not used if ``temperature`` is 0.
        noise: how far a logit may be off, as a share of the row's largest; with 0 no row is too close.
    """
    error = noise * logits.abs().amax(dim=-1, keepdim=True)
    if temperature == 0.0:
        logprobs = torch.log_softmax(logits, dim=-1)
        best, places = logits.topk(2)
        tokens, close = places[:, 0], best[:, 0] - best[:, 1] < 2 * error[:, 0]
    else:
        logprobs = torch.log_softmax(logits / temperature, dim=-1)
        cumulative = logprobs.exp().cumsum(dim=-1, dtype=torch.double)
        total = cumulative[:, -1:]  # 1, but for rounding
        targets = torch.tensor(numbers, dtype=torch.double, device=logits.device)[:, None] * total
        found = torch.searchsorted(cumulative, targets, right=True).clamp_(max=logits.shape[1] - 1)
        boundaries = cumulative.gather(1, torch.cat([found - 1, found], dim=1).clamp_(min=0))  # below and above
        margins = boundaries * (total - boundaries) * (error * (2 / temperature))
        tokens, close = found[:, 0], ((boundaries - targets).abs() < margins).any(dim=-1)
    return tokens.tolist(), logprobs.gather(1, tokens[:, None])[:, 0].tolist(), close.nonzero()[:, 0].tolist()
