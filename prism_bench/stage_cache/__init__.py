"""Stages of a run on disk: how they are declared, what their key is, how they are made and found, and what is there.

May import ``accounting``, ``digests``, ``errors``, ``files`` and ``marks``.
"""
