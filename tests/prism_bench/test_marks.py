"""What measures for a router, over all routers of the configuration, and for classes that bend the rule."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from baselines.routers.loss import MeanLosses
from prism_bench.commands.hydra_command import CONF
from prism_bench.marks import before_measuring, naming
from prism_bench.routing.gradients import GradientNorms
from prism_bench.routing.prism import PrismRouter
from prism_bench.routing.router import Measurement, Router
from prism_bench.settings.making import make

NAMES = sorted(file.stem for file in (CONF / "router").glob("*.yaml"))
SHARED = {
    **dict.fromkeys(["prism", "cv", "kurtosis", "magnitude"], GradientNorms),
    **dict.fromkeys(["loss", "summed_loss", "confidence"], MeanLosses),
}


def settings_of(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", [f"router={name}"]).router)


def test_routers_that_read_the_same_numbers_have_one_measurement_and_no_others_have():
    measurements = {name: before_measuring(settings_of(name)) for name in NAMES}
    for name, measurement in measurements.items():
        alike = {other for other in NAMES if measurements[other] == measurement}
        kind = SHARED.get(name)
        assert alike == ({other for other in SHARED if SHARED[other] is kind} if kind else {name})


@pytest.mark.parametrize("name", NAMES)
def test_the_measurement_leaves_the_files_of_the_router_itself(context, corridor_episodes, tmp_path, name):
    settings = settings_of(name)
    episodes = [replace(episode, regime="clean") for episode in corridor_episodes]
    left = []
    for number, (made, kind) in enumerate([(settings, Router), (before_measuring(settings), Measurement)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        given = replace(context(lambda tasks, k: [episodes[:k] for _ in tasks]), folder=folder)
        make(made, "router", kind).measure(episodes, given)
        left.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert left[0] == left[1] and left[0]


@dataclass(frozen=True)
class OwnRouter(PrismRouter):
    """Router that measures in a way of its own."""

    share: float = 0.5

    def measure(self, trajectories, context):
        raise AssertionError(self.share)


@dataclass(frozen=True)
class FurtherRouter(PrismRouter):
    """Router with another score of the same norms."""

    power: float = 2.0
    tokens_per_batch: int = 64


class PlainRouter:
    """Router that is no dataclass."""

    needs_tasks: ClassVar[bool] = False
    needs_projections: ClassVar[bool] = False

    def measure(self, trajectories, context): ...

    def route(self, trajectories, measured, folder, seed): ...


def test_a_router_with_a_measurement_of_its_own_makes_it():
    prism = settings_of("prism")
    own = before_measuring({**prism, **naming(OwnRouter), "share": 0.3})
    assert own["_target_"].endswith("OwnRouter") and own["share"] == 0.3 and "quantile" not in own
    assert before_measuring({**prism, **naming(FurtherRouter), "power": 3.0}) == before_measuring(prism)
    assert before_measuring(naming(PlainRouter)) == naming(PlainRouter)


def test_a_setting_that_is_left_out_counts_as_its_default():
    prism = settings_of("prism")
    assert before_measuring({"_target_": prism["_target_"]}) == before_measuring(prism)
    assert before_measuring({**prism, "tokens_per_batch": 9}) != before_measuring(prism)
    assert before_measuring(naming(FurtherRouter))["tokens_per_batch"] == 64
