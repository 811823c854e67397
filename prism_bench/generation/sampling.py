"""Drawing tokens, and telling which draws are too close to call.

A token is drawn by inverting the cumulative distribution at the next number of the session's own random stream. The same
row has slightly different logits in another batch, since matrix products round differently by shape; now and then a
number lies so near the boundary between two tokens that this decides. :func:`draw` names these rows, for the caller to
take them from logits that do not depend on the batch.

If no logit is off by more than ``noise``, then at temperature T no cumulative probability F is off by more than
F (1 - F) 2 noise / T <= noise / (2 T), and no difference of two logits by more than 2 noise. Outside of these margins
every batch draws the same token.
"""

from collections.abc import Sequence

import torch

LOGIT_NOISE = 1e-4
"""A bound on what another batch changes in a float32 logit (the tests check it on the default model, where it is 1e-5)."""


def draw(
    logits: torch.Tensor, temperature: float, numbers: Sequence[float], noise: float
) -> tuple[list[int], list[float], list[int]]:
    """Draw one token per row: return tokens, their log-probabilities, and the rows too close to call.

    Args:
        logits: (rows, vocabulary), float32.
        temperature: 0 takes the most likely token.
        numbers: one per row, uniform in [0, 1); not looked at if ``temperature`` is 0.
        noise: how far a logit may be off; 0 calls every row.
    """
    if temperature == 0.0:
        logprobs = torch.log_softmax(logits, dim=-1)
        best, places = logits.topk(2)
        tokens, close = places[:, 0], best[:, 0] - best[:, 1] < 2 * noise
    else:
        logprobs = torch.log_softmax(logits / temperature, dim=-1)
        cumulative = logprobs.exp().double().cumsum(dim=-1)
        cumulative /= cumulative[:, -1:].clone()
        targets = torch.tensor(numbers, dtype=torch.double, device=logits.device)[:, None]
        found = torch.searchsorted(cumulative, targets, right=True)
        nearest = torch.cat([found - 1, found], dim=1).clamp_(min=0)  # the boundaries below and above
        distances = (cumulative.gather(1, nearest) - targets).abs()
        tokens, close = found[:, 0], (distances < noise / (2 * temperature)).any(dim=-1)
    return tokens.tolist(), logprobs.gather(1, tokens[:, None])[:, 0].tolist(), close.nonzero()[:, 0].tolist()
