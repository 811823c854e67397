"""Costs: the ledger, memory peaks and floating-point operations.

Imports nothing of this package but ``files`` and ``errors``.
"""
