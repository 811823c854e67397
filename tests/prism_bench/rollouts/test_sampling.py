"""Draws are those of float64, or are reported as too close to call."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from prism_bench.rollouts.sampling import LOGIT_NOISE, draw


def by_float64(logits: np.ndarray, temperature: float, number: float) -> int:
    if temperature == 0:
        return int(logits.argmax())
    weights = np.exp((logits - logits.max()) / temperature)
    return int(np.searchsorted(np.cumsum(weights) / weights.sum(), number, side="right"))


@given(
    seed=st.integers(0, 2**32 - 1),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
    spread=st.floats(0.1, 10),
    noise=st.sampled_from([LOGIT_NOISE, 1e-3]),
)
def test_a_draw_that_is_called_survives_the_noise(seed, temperature, spread, noise):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((50, 30)) * spread).astype(np.float32)
    logits[:10, 7] = logits[:10].max(axis=1) + rng.normal(size=10) * 1e-4  # ties, nearly
    cumulative = np.exp(logits.astype(float) / (temperature or 1.0)).cumsum(axis=1)
    numbers = rng.random(50)
    near = cumulative[:25, 12] / cumulative[:25, -1] + rng.normal(size=25) * 1e-4
    numbers[:25] = near.clip(1e-9, 1 - 1e-9)  # nearer to the ends float64 rounds as well
    tokens, logprobs, close = draw(torch.tensor(logits), temperature, numbers.tolist(), noise)
    errors = 0.9 * noise * np.abs(logits).max(axis=1, keepdims=True) * rng.choice([-1.0, 1.0], logits.shape)
    for row in set(range(50)) - set(close):
        for changed in (logits.astype(float), logits + errors):
            assert tokens[row] == by_float64(changed[row], temperature, numbers[row])
    expected = torch.log_softmax(torch.tensor(logits).double() / (temperature or 1.0), dim=-1)
    np.testing.assert_allclose(logprobs, expected[torch.arange(50), tokens].numpy(), atol=1e-4)
    assert len(close) < 50


def test_what_lies_on_a_boundary_is_too_close():
    logits = torch.log(torch.tensor([[0.25, 0.25, 0.5]])).repeat(4, 1)
    assert draw(logits, 1.0, [0.0, 0.1, 0.25, 0.5 - 1e-7], LOGIT_NOISE)[::2] == ([0, 0, 1, 1], [2, 3])
    assert draw(torch.tensor([[2.0, 2.0, 1.0], [2.0, 1.9, 1.0]]), 0.0, [], LOGIT_NOISE)[2] == [0]
    assert draw(logits, 1.0, [0.25] * 4, 0.0)[2] == []
