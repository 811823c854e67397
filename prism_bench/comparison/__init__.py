"""Comparisons of several runs: settings crossed into runs, launchers, the record, its tables, and the page.

May import ``experiment`` and what is below it.
"""
