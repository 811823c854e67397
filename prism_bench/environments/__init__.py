"""The contract of a text environment, and its check.

Imports nothing of this package but ``files`` and ``errors``.
"""
