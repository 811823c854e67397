"""Regimes: known ways in which a goal, or the shop, departs from what a base model was taught.

They are this project's own, so that whether a router finds data in conflict with a model can be measured against goals
that are in conflict by construction. A new regime is an entry in ``REGIMES``. Every goal of a generated catalogue
belongs to one regime, by its category and its number, so that no goal is clean in one mixture and something else in
another. Official goals have none.

A price limit turned around would be no conflict: in nine demonstrations of ten the limit changes no click, as
``tests/envs/webshop/test_regimes.py`` shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.webshop.engine import Rule
from prism_bench.environments.contract import CLEAN
from prism_bench.errors import InputError

OTHER_CATEGORIES = ("electronics", "grocery")
"""The categories that no clean goal has."""


@dataclass(frozen=True)
class Regime:
    """A departure from clean goals.

    Attributes:
        other_categories: products of categories that no clean goal asks for.
        rule: a changed rule of the shop, which no page states.
    """

    other_categories: bool = False
    rule: Rule | None = None


REGIMES: Mapping[str, Regime] = {
    CLEAN: Regime(),
    "catalogue": Regime(other_categories=True),
    "rules": Regime(rule="description_first"),
}


def regimes_of(indices: NDArray[np.int64], categories: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the regime of every goal, from its index and the category of its product; all shapes are (goals,)."""
    other = np.isin(categories, OTHER_CATEGORIES)
    found = np.empty(len(indices), dtype=f"<U{max(map(len, REGIMES))}")
    for kind in (False, True):
        names = np.array([name for name, regime in REGIMES.items() if regime.other_categories == kind])
        found[other == kind] = names[indices[other == kind] % len(names)]
    return found


def mixed(indices: NDArray[np.int64], found: NDArray[np.str_], regimes: Sequence[str]) -> tuple[str, ...]:
    """Return task ids ``<regime>-<index>`` in equal shares, as many as the scarcest of the ``regimes`` allows.

    Args:
        indices: of the goals, ascending.
        found: the regime of each.
        regimes: take turns; one that stands there twice has twice the share.

    Raises:
        InputError: there is no such regime, or none of the goals belongs to it.
    """
    for name in regimes:
        if name not in REGIMES:
            raise InputError(f"there is no regime {name!r}; choose from {', '.join(REGIMES)}")
    rounds = min(int((found == name).sum()) // regimes.count(name) for name in regimes)
    if not rounds:
        raise InputError(f"too few goals for the regimes {', '.join(regimes)}; raise env.products")
    queues = {name: iter(indices[found == name].tolist()) for name in regimes}
    return tuple(f"{name}-{next(queues[name])}" for _ in range(rounds) for name in regimes)
