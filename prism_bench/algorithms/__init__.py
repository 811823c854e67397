"""The contract of a training algorithm, and SFT, GRPO and GiGPO.

May import ``rollouts`` and what is below it.
"""
