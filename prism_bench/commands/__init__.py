"""The commands of ``prism-bench``, one thin file each, and the end of a command that fails.

May import ``diagnosis``, ``comparison``, ``rehearsal``, ``experiment`` and what is below them.
"""
