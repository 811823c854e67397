"""WebShop as a text environment: find the product that an instruction describes, and buy it, by search and click.

    env = gymnasium.make("envs.webshop:prism_bench/WebShop-v0", source="official", data=DIR, split="valid")
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step("search[red dress]")

Source: WebShop (Yao et al., NeurIPS 2022, https://arxiv.org/abs/2207.01206). As upstream, the reward of 0 to 1 comes
with ``buy now``, and an episode succeeds when it is exactly 1. Upstream has no step limit; the registration sets one of
15. A task is a goal, its id the index in upstream's order, after the name of its regime where goals have regimes.

Admissible actions are ``search[<keywords>]`` on a page with a search bar, where any words may stand in the brackets,
and a click for everything clickable. As upstream, a search works on every page, and ``click[search]`` on none: it is
left out.
"""

import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium

from envs.webshop.catalogue import Catalogue
from envs.webshop.engine import Score, Session, Storefront
from envs.webshop.expert import SearchExpert
from envs.webshop.goals import Goal
from envs.webshop.pages import Observation
from envs.webshop.products import Product
from envs.webshop.regimes import REGIMES
from envs.webshop.reward import reward
from envs.webshop.sources import CACHE, catalogue_for
from envs.webshop.splits import SplitBy, TaskIds, shared_with_train
from envs.webshop.tagger import DEFAULT_TAGGER, Tagger, describe, noun_tagger
from prism_bench.environments.contract import Expert, TextEnvironment, UnknownTaskError, type_in
from prism_bench.errors import InputError
from prism_bench.settings.types import Count

STOREFRONTS_KEPT = 4  # in a process
MOST_TYPED = 50_000  # goals of a split whose categories are read to draw a sample

_opening = threading.Lock()


class WebShopEnvironment(TextEnvironment):
    """The goals of one split, in one shop. Environments of a process share equal shops.

    Args:
        source: ``generated``: a catalogue from a seed; ``official``: upstream's files.
        data: for ``official``, the folder that ``prism-bench download webshop`` filled.
        products: the size of a generated catalogue, 1,000 by default; of the official one 1000 or ``all``.
        seed: of the generated catalogue.
        goals: ``synthetic``: made from options, upstream's default; ``human``: written by people.
        split: ``train``, ``valid`` or ``test``, see :mod:`envs.webshop.splits`.
        split_by: ``goal``, as upstream; ``product`` leaves out of ``train`` all products of ``valid`` and ``test``.
        observation: ``text``, or ``text_rich``, which also shows the products opened and the options selected.
        tagger: decides which words of a title count as nouns for the reward, see :mod:`envs.webshop.tagger`.
        price_seed: seed of prices within a range.
        goal_seed: seed of price limits.
        regimes: names in ``REGIMES``, whose goals have equal shares; one that stands there twice has twice the share.
            None for all goals, as upstream; only generated catalogues have regimes.
        eval_regimes: those of the splits other than ``train``; None for the same.
        cache: the folder of compiled catalogues.

    Raises:
        InputError: an option does not exist or contradicts another, or the data are missing or damaged.
    """

    task_ids: TaskIds | tuple[str, ...]

    def __init__(
        self,
        source: Literal["generated", "official"] = "generated",
        data: str | Path | None = None,
        products: Count | Literal["all"] | None = None,
        seed: int = 0,
        goals: Literal["synthetic", "human"] = "synthetic",
        split: str = "train",
        split_by: SplitBy = "goal",
        observation: Observation = "text",
        tagger: str = DEFAULT_TAGGER,
        price_seed: int = 0,
        goal_seed: int = 0,
        regimes: Sequence[str] | None = None,
        eval_regimes: Sequence[str] | None = None,
        cache: str | Path = CACHE,
    ) -> None:
        super().__init__()
        if source == "official" and (regimes or eval_regimes):
            raise InputError("official goals have no regimes; leave out env.regimes, or take env.source=generated")
        self._score = _score_with(noun_tagger(tagger))
        with _opening:
            self._catalogue, self._storefront = _open_shop(
                observation,
                source=source,
                data=None if data is None else str(data),
                products=products,
                seed=seed,
                price_seed=price_seed,
                goal_seed=goal_seed,
                cache=str(cache),
            )
        self._goals = self._catalogue.goals(goals)
        chosen = regimes if split == "train" or not eval_regimes else eval_regimes
        self.task_ids = self._catalogue.task_ids(goals, split, split_by, tuple(chosen) if chosen else None)
        self._protocol: dict[str, Any] = {
            "source": source,
            "goals": goals,
            "split": split,
            "split_by": split_by,
            "observation": observation,
            "tagger": describe(tagger),
        }
        if source == "generated":
            self._protocol["seed"] = seed
        if chosen:
            self._protocol["regimes"] = ", ".join(chosen)
        if eval_regimes:  # a run states the protocol of its train split
            self._protocol["regimes of evaluation"] = ", ".join(eval_regimes)
        self._session: Session | None = None
        self._task_id = self._task_type = ""
        self._regime: str | None = None

    def goal(self, task_id: str) -> Goal:
        """Return the goal of a task, with the parts that no observation shows."""
        return self._goals[int(task_id.rpartition("-")[2])]

    def choose_task(self, options: dict[str, Any] | None) -> str:
        """Return the task that ``reset(options=...)`` asks for, or draw one from ``np_random``.

        Raises:
            UnknownTaskError: the id is not one of ``task_ids``; the message names the nearest ones.
        """
        task_id = (options or {}).get("task_id")
        ids = self.task_ids
        # Of a million ids the base class would try every one.
        if isinstance(ids, TaskIds) and task_id is not None and task_id not in ids:
            nearest = ", ".join(ids.nearest(task_id))
            raise UnknownTaskError(f"there is no task {task_id!r:.60} in this split; the nearest are {nearest}")
        return super().choose_task(options)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start the task ``options["task_id"]``, or one drawn from ``np_random``."""
        super().reset(seed=seed)
        self._task_id = self.choose_task(options)
        self._task_type, self._regime = self._type_of(self._task_id), _regime_of(self._task_id)
        rule = None if self._regime is None else REGIMES[self._regime].rule
        self._session = Session(self._storefront, self.goal(self._task_id), self._score, rule)
        return self._session.text, self._info(self._session)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Carry out an action; one without effect returns the same page."""
        session = self._session
        if session is None:
            raise gymnasium.error.ResetNeeded("the environment was never reset; call reset() before step()")
        over = session.done
        observation = session.step(action)
        earned = 0.0 if over else session.reward
        return observation, earned, session.done, False, self._info(session)

    def task_types(self) -> list[str] | None:
        """Return the category of every goal; None for a split of so many goals that reading them takes a minute."""
        if len(self.task_ids) > MOST_TYPED:
            return None
        return [self._type_of(task_id) for task_id in self.task_ids]

    def protocol(self) -> dict[str, Any]:
        """Return the settings that results depend on: catalogue, goals, price limits, splits and tagger."""
        described = self._protocol
        products = self._catalogue.goal_products(described["goals"])
        return described | {
            "products_shared_with_train": shared_with_train(products, described["split_by"]),
            "tasks": len(self.task_ids),
            "goal_indices": f"{self.task_ids[0]} to {self.task_ids[-1]} of {len(self._goals)}",
            "products": len(self._catalogue),
            "catalogue": self._catalogue.identity,
            **{f"{name}_seed": seed for name, seed in self._catalogue.seeds.items()},
        }

    def expert(self, name: str) -> Expert:
        """Return the expert ``search``, which acts on the observations.

        Raises:
            InputError: there is no expert of that name.
        """
        if name != "search":
            raise InputError(f"WebShop has no expert {name!r}; choose search")
        return SearchExpert()

    def _info(self, session: Session) -> dict[str, Any]:
        info = {
            "task_id": self._task_id,
            "task_type": self._task_type,
            "admissible_actions": session.admissible_actions,
            "score": session.reward,
            "success": session.reward == 1.0,
        }
        return info if self._regime is None else info | {"regime": self._regime}

    def _type_of(self, task_id: str) -> str:
        return type_in(_regime_of(task_id), self.goal(task_id).category or "other")


def _regime_of(task_id: str) -> str | None:
    """Return the regime that a task id begins with; None where the environment has no regimes."""
    return task_id.rpartition("-")[0] or None


@functools.lru_cache(maxsize=STOREFRONTS_KEPT)
def _open_shop(observation: Observation, **options: Any) -> tuple[Catalogue, Storefront]:
    catalogue = catalogue_for(**options)
    return catalogue, Storefront(catalogue, observation)


def _score_with(tagger: Tagger) -> Score:
    def score(product: Product, goal: Goal, options: Mapping[str, str]) -> float:
        return reward(product, goal, options, tagger).total

    return score
