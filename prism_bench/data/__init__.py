"""Episodes as data: trajectories, prompts, tokens and labels, batches.

May import ``accounting`` and ``environments``.
"""
