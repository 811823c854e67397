"""Gradient norms of trajectories and their concentration (PRISM, arXiv 2601.07224).

May import ``models`` and what is below it; knows nothing of routing.
"""
