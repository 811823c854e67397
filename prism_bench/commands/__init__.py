"""The commands of ``prism-bench``, one thin file each, and how a command ends that fails.

May import ``experiment`` and what is below it.
"""
