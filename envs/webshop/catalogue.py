"""The catalogue of a shop: products, search and goals, read-only, shared by all sessions and processes.

    catalogue = catalogue_for("generated")      # of envs.webshop.sources
    goal = catalogue.goals("synthetic")[0]
    product = catalogue.product(catalogue.search("red dress")[0])

A catalogue is compiled once into a folder (:mod:`envs.webshop.compiling`). Every process maps its files into memory:
opening a million products takes milliseconds, and all processes share the pages. Products and goals are decoded when
they are needed, and a few thousand are kept.
"""

import functools
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from envs.webshop.compiling import FORMAT, from_record
from envs.webshop.goals import Goal, HumanInstruction, human_goal, synthetic_goal
from envs.webshop.products import Product
from envs.webshop.records import Records
from envs.webshop.regimes import mixed, regimes_of
from envs.webshop.search import SearchIndex
from envs.webshop.splits import SplitBy, TaskIds, split_indices
from prism_bench.errors import InputError

KINDS = ("synthetic", "human")
PRODUCTS_KEPT = 2048  # decoded; about 4 KiB each
GOALS_KEPT = 4096
SPLITS_KEPT = 12  # of a catalogue
CATALOGUES_KEPT = 4  # open in a process

_opening = threading.Lock()


class Goals(Sequence[Goal]):
    """Goals in upstream's order, made when they are needed."""

    def __init__(self, count: int, make: Callable[[int], Goal]) -> None:
        self._count = count
        self._goal = functools.lru_cache(maxsize=GOALS_KEPT)(make)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Goal: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Goal]: ...
    def __getitem__(self, index: int | slice) -> Goal | Sequence[Goal]:
        numbers = range(self._count)[index]
        return self._goal(numbers) if isinstance(numbers, int) else [self._goal(number) for number in numbers]


class Catalogue:
    """An open catalogue; use :func:`open_catalogue`, which opens a folder once per process. Threads may share it."""

    def __init__(self, folder: Path) -> None:
        try:
            self._meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise InputError(f"{folder} is no compiled catalogue; remove it to compile it again") from None
        if self._meta.get("format") != FORMAT:
            raise InputError(f"{folder} was compiled by another version of the code; remove it to compile it again")
        self.folder = folder
        self._records = Records(folder / "products")
        self._index = SearchIndex.open(folder / "index")
        self._goal_products: dict[str, NDArray[np.int32]] = {
            kind: np.load(folder / f"{kind}_products.npy", mmap_mode="r") for kind in KINDS
        }
        self._combinations = np.load(folder / "synthetic_combinations.npy", mmap_mode="r")
        self._human = Records(folder / "human")
        self.product = functools.lru_cache(maxsize=PRODUCTS_KEPT)(self._product)
        """Return a product by its number; IndexError when there is none."""
        self.split = functools.lru_cache(maxsize=SPLITS_KEPT)(self._split)
        """Return the indices of a split's goals: ``split(kind, split, split_by)``, see :mod:`envs.webshop.splits`."""
        self.task_ids = functools.lru_cache(maxsize=SPLITS_KEPT)(self._task_ids)
        """Return the task ids of a split: ``task_ids(kind, split, split_by, regimes)``; regimes None for all goals."""
        makers = {"synthetic": self._synthetic_goal, "human": self._human_goal}
        self._goals = {kind: Goals(self._meta["goals"][kind], makers[kind]) for kind in KINDS}

    def __len__(self) -> int:
        """The number of products."""
        return len(self._records)

    @property
    def identity(self) -> str:
        """Digest of the raw files, the seeds and the format: equal for equal catalogues."""
        return str(self._meta["identity"])

    @property
    def seeds(self) -> dict[str, int]:
        """The seeds of prices (``price``) and of price limits (``goal``)."""
        return dict(self._meta["seeds"])

    def search(self, query: str, limit: int = 50) -> list[int]:
        """Return the numbers of at most ``limit`` products that match a query, best first."""
        return self._index.search(query, limit)

    def goals(self, kind: str) -> Goals:
        """Return the ``synthetic`` or ``human`` goals in upstream's order.

        Raises:
            InputError: there is no such kind.
        """
        if kind not in self._goals:
            raise InputError(f"WebShop has no {kind!r} goals; choose from {', '.join(KINDS)}")
        return self._goals[kind]

    def goal_products(self, kind: str) -> NDArray[np.int32]:
        """Return the number of the product that each ``synthetic`` or ``human`` goal asks for, shape (goals,)."""
        return self._goal_products[kind]

    def _task_ids(
        self, kind: str, split: str, split_by: SplitBy, regimes: tuple[str, ...] | None
    ) -> TaskIds | tuple[str, ...]:
        indices = self.split(kind, split, split_by)
        if regimes is None:
            return TaskIds(indices)
        numbers = np.asarray(indices)
        categories = np.array([self._product(number).category for number in range(len(self))])
        return mixed(numbers, regimes_of(numbers, categories[self._goal_products[kind][numbers]]), regimes)

    def _split(self, kind: str, split: str, split_by: SplitBy) -> range | NDArray[np.int64]:
        return split_indices(split, self._goal_products[kind], split_by)

    def _product(self, number: int) -> Product:
        return from_record(self._records[number])

    def _synthetic_goal(self, index: int) -> Goal:
        product = self.product(int(self._goal_products["synthetic"][index]))
        return synthetic_goal(product, int(self._combinations[index]), self._meta["seeds"]["goal"])

    def _human_goal(self, index: int) -> Goal:
        number, instruction, attributes, options = self._human[index]
        human = HumanInstruction(number, instruction, tuple(attributes), tuple(options))
        return human_goal(self.product(int(self._goal_products["human"][index])), human, self._meta["seeds"]["goal"])


def open_catalogue(folder: Path | str) -> Catalogue:
    """Return the compiled catalogue of a folder: one object in a process.

    Raises:
        InputError: the folder holds none, or one of another version.
    """
    with _opening:
        return _open(Path(folder).expanduser().resolve())


_open = functools.lru_cache(maxsize=CATALOGUES_KEPT)(Catalogue)
