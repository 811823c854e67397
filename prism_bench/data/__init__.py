"""Episodes as data: trajectories, prompts, tokens and labels, batches.

May import ``accounting``, ``environments`` and what is below them.
"""
