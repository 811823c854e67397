"""Algorithms to compare SFT and GRPO with. An algorithm implements ``prism_bench.algorithms.contract.Algorithm``."""
