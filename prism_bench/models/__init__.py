"""Policies: loading, saving, making small ones from scratch, and taking decoders apart.

May import ``data``, ``marks`` and what is below them.
"""
