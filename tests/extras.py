"""Skipping of tests whose environment needs a package that is not installed."""

import pytest


def skip_where_missing(environment: str) -> None:
    """Skip the test if the environment, named by its configuration or its id, needs an extra that is not there."""
    if "babyai" in environment:
        pytest.importorskip("minigrid", reason="needs the extra babyai: pip install 'prism-bench[babyai]'")
