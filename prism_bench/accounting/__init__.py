"""Costs: the ledger, memory peaks and floating-point operations.

May import ``errors`` and ``files``.
"""
