"""Routers to compare PRISM with. A router implements ``prism_bench.routing.router.Router``."""
