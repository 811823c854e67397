"""Evaluation, statistics, the result file, tables, loggers and progress.

May import ``rollouts`` and what is below it.
"""
