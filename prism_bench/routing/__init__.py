"""The contract of a router, the split that all routers share, and the PRISM router.

May import ``probe``, ``rollouts``, ``marks`` and what is below them.
"""
