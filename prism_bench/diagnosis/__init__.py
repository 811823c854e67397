"""Diagnosis of routers against data whose conflicts with the base model are known: detection, stability, price.

May import ``comparison`` and what is below it.
"""
