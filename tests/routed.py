"""Both steps of a router, for tests: its measurement, and the allocation made from it."""

from collections.abc import Sequence

from prism_bench.data.trajectory import Trajectory
from prism_bench.routing.allocation import Allocation
from prism_bench.routing.router import Router, RoutingContext


def routed(router: Router, trajectories: Sequence[Trajectory], context: RoutingContext) -> Allocation:
    """Return the allocation of a router; its files are in the context's folder."""
    router.measure(trajectories, context)
    return router.route(trajectories, context.folder, context.folder, context.seed)
