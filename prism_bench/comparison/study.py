"""The settings of a comparison itself, ``conf/compare.yaml``: what is compared with what, and where runs take place."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from prism_bench.comparison.counterparts import Wanted
from prism_bench.errors import InputError
from prism_bench.settings.configuration import resolve
from prism_bench.settings.making import build
from prism_bench.settings.targets import check_targets
from prism_bench.settings.types import Fraction, Group, Text


@dataclass(frozen=True)
class Study:
    """The settings of ``conf/compare.yaml``."""

    launcher: Group
    baseline: Group
    reference: Group
    reach: Fraction
    oracle: Group | None = None
    modules: Sequence[Text] = ()

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.baseline, self.reference, self.reach, self.oracle)


def usual_comparison(conf: Path) -> Wanted:
    """Return what is compared with what unless somebody says otherwise; also within a job that Hydra runs."""
    written = OmegaConf.to_container(OmegaConf.load(conf / "compare.yaml"))
    assert isinstance(written, dict)
    return Wanted(**{field.name: written[field.name] for field in fields(Wanted)})


def read_study(conf: Path, overrides: Sequence[str] = (), baseline: Sequence[str] | None = None) -> Study:
    """Return the settings of a comparison.

    Args:
        overrides: settings of ``compare.yaml``.
        baseline: ``KEY=VALUE`` of the baseline, in place of those in ``compare.yaml``.

    Raises:
        InputError: a setting is refused.
        HydraException: the configuration cannot be composed.
    """
    with initialize_config_dir(str(conf), version_base="1.3"):
        configuration = resolve(compose("compare", list(overrides)))
    check_targets(configuration.values, configuration.values["modules"], configuration.place)
    study = build(Study, configuration.values)
    return study if baseline is None else replace(study, baseline=dict(map(_pair, baseline)))


def _pair(setting: str) -> tuple[str, Any]:
    """Return the key and the value of a setting, of the type that the settings of a run have."""
    key, equals, value = setting.partition("=")
    if not equals or not value:
        raise InputError(f"--baseline {setting} is no setting; write KEY=VALUE")
    return key, yaml.safe_load(value)
