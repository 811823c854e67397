"""The stages of a run, each a function of declared inputs.

May import every folder but ``commands``.
"""
