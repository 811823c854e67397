"""Routers: one file each. A router implements ``prism_bench.routing.Router`` and knows nothing of the others."""
