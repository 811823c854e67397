"""What a router is given, for a tiny untrained policy in the corridor."""

from collections.abc import Callable
from pathlib import Path

import pytest

from prism_bench.accounting.ledger import Meter
from prism_bench.data.prompts import ActionPrompt
from prism_bench.data.rendering import Renderer
from prism_bench.routing.router import RoutingContext


def _no_rollouts(task_ids, k):
    raise AssertionError("this router has no business playing episodes")


@pytest.fixture
def context(corridor_policy, tmp_path: Path) -> Callable[..., RoutingContext]:
    """Return a maker of contexts; ``rollouts`` are refused unless given."""

    def make(rollouts=_no_rollouts, seed: int = 0, **model) -> RoutingContext:
        policy = corridor_policy(**model)
        renderer = Renderer(policy.tokenizer, ActionPrompt(), max_length=256)
        return RoutingContext(policy, renderer, rollouts, Meter("route"), seed, tmp_path)

    return make
