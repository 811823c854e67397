"""Settings: their types, their check against the type hints of what is made of them, and the making.

May import ``errors``.
"""
