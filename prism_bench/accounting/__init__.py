"""Costs: the ledger, memory peaks and floating-point operations.

May import ``errors``, ``files``, ``processes`` and ``settings``.
"""
