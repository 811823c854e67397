"""Comparisons of several runs: the record, its statistics and tables, and the page that shows them.

May import ``results``, ``routing`` and what is below them.
"""
