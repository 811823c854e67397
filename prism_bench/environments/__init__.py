"""The contract of a text environment, and its check.

May import ``errors`` and ``files``.
"""
