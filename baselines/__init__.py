"""Routers and algorithms to compare PRISM with, one file each; none imports another."""
