"""The stages of a run, each a function of declared inputs.

May import ``routing``, ``algorithms``, ``results``, ``selection``, ``stage_cache`` and what is below them.
"""
