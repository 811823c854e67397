"""What a configuration is compared with: its baseline, the unit of its compute, and its oracle.

Each is the configuration that has the settings in question and shares most others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prism_bench.comparison.record import Configuration
from prism_bench.errors import InputError

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What is compared with what: settings that the baseline, the unit of compute and the oracle have."""

    baseline: Settings
    reference: Settings
    reach: float
    oracle: Settings | None = None


def with_counterparts(configurations: Sequence[Configuration], wanted: Wanted) -> list[Configuration]:
    """Return the configurations with their baseline, their reference and their oracle."""
    return [
        replace(
            each,
            reference=_nearest_other(each, configurations, wanted.reference),
            oracle=_nearest_other(each, configurations, wanted.oracle or {}),
        )
        for each in with_baselines(configurations, wanted.baseline)
    ]


def with_baselines(configurations: Sequence[Configuration], settings: Settings) -> list[Configuration]:
    """Return the configurations with their baseline: the first one, where these settings tell no two apart."""
    names = {each.name: _nearest(each, configurations, settings) for each in configurations}
    if None in names.values() or all(name == baseline for name, baseline in names.items()):
        names = dict.fromkeys(names, configurations[0].name)
    return [
        replace(each, baseline=None if names[each.name] == each.name else names[each.name]) for each in configurations
    ]


def check_baseline(configurations: Mapping[str, Settings], settings: Settings) -> None:
    """Check that a configuration has the settings that were asked for as those of the baseline.

    Args:
        configurations: the settings that tell them apart (:func:`known_settings`), by name.

    Raises:
        InputError: none has.
    """
    if not any(_has(known, settings) for known in configurations.values()):
        asked = ", ".join(f"{key}={value}" for key, value in settings.items())
        names = ", ".join(configurations)
        raise InputError(f"no configuration has the settings of the baseline, {asked}; choose those of one of {names}")


def _nearest_other(each: Configuration, others: Sequence[Configuration], settings: Settings) -> str | None:
    """Return the configuration of :func:`_nearest`, None if it is ``each`` itself."""
    name = _nearest(each, others, settings)
    return None if name == each.name else name


def _nearest(each: Configuration, others: Sequence[Configuration], settings: Settings) -> str | None:
    """Return the configuration with these settings that shares most others with ``each``: itself, if it has them."""

    def shared(other: Configuration) -> tuple[bool, int]:
        equal = sum(known_settings(other).get(key) == value for key, value in known_settings(each).items())
        return other.name == each.name, equal

    candidates = [other for other in others if settings and _has(known_settings(other), settings)]
    return max(candidates, key=shared).name if candidates else None


def _has(known: Settings, settings: Settings) -> bool:
    return all(known.get(key) == value for key, value in settings.items())


def known_settings(configuration: Configuration) -> dict[str, Any]:
    """Return strategy, router and the settings in which a configuration differs from others."""
    return {"strategy": configuration.strategy, "router": configuration.router} | configuration.settings
