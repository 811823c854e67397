"""Environments, a folder or a file each; they know the contracts and nothing of each other."""
