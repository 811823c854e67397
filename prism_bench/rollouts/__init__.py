"""Rollouts of experts and policies, and the engines that generate completions.

May import ``models`` and what is below it.
"""
