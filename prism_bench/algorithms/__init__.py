"""The contract of a training algorithm, and SFT, GRPO and GiGPO.

May import ``rollouts``, ``digests`` and what is below them.
"""
