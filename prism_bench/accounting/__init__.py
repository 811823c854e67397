"""Costs: the ledger, memory peaks and floating-point operations.

May import ``errors``, ``files`` and ``settings``.
"""
