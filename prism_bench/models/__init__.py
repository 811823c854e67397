"""Policies: loading, saving, making small ones from scratch, and taking decoders apart.

May import ``data`` and what is below it.
"""
