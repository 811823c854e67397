"""What tells one configuration from another, and the name that says it."""

from collections.abc import Collection, Mapping
from typing import Any

from prism_bench.digests import digest

OF_A_RUN = ("seed", "folder", "cache", "force", "check", "logger")
"""Settings that belong to a single run and not to what it tests."""

SOURCES = ("sft", "algorithm", "rl")
"""Settings that nothing reads but the phases of a strategy, which have them among their own settings."""


def identity(config: Mapping[str, Any], has_router: bool) -> str:
    """Return the same text for configurations, as resolved, that differ in nothing but what belongs to a single run.

    Args:
        has_router: whether the strategy asks for the parts of a router; if not, its settings do not count.
    """
    unused = (*OF_A_RUN, *SOURCES, *(() if has_router else ("router",)))
    return digest({key: value for key, value in config.items() if key not in unused})


def tells_apart(override: str) -> bool:
    """Return whether an override says which run it is: its seed, or anything that is not of a single run."""
    key = override.partition("=")[0]
    return key == "seed" or key.partition(".")[0] not in OF_A_RUN


def name_of(settings: Mapping[str, Any], varied: Collection[str]) -> str:
    """Return the name of a configuration: router, strategy, and what else of its settings varies: ``prism-split``."""
    words = [str(settings[key]) for key in ("router", "strategy") if key in settings]
    words += [
        f"{key}={_typed(settings[key])}" for key in settings if key in varied and key not in ("router", "strategy")
    ]
    return "-".join(words)


def _typed(value: Any) -> str:
    """Return a value as one would type it; Python's own spelling of a list has quotes and spaces."""
    return f"[{','.join(map(_typed, value))}]" if isinstance(value, list) else str(value)
