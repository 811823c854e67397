"""Catalogues generated from a seed or made of official files, compiled once and then found again.

    catalogue = catalogue_for("generated", products=1000, seed=0)
    catalogue = catalogue_for("official", data="data/webshop")      # the files of `prism-bench download webshop`

The folder of compiled catalogues is ``.cache/webshop``. The name of each is a digest of its inputs: paths, sizes and
times of change of the raw files (hashing 5.5 GB would take each process seconds; unlike the time of modification, no
program can set the time at which the system noted a change) or the size and seed of a
generated catalogue, the other seeds, and the code that compiles. The identity that a protocol shows is a digest of the
files' contents. Of several processes that need a catalogue, one compiles it and the others wait.
"""

import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import FileLock
from rich.console import Console

from envs.webshop.catalogue import Catalogue, open_catalogue
from envs.webshop.compiling import FORMAT, compile_catalogue
from envs.webshop.generator import generate
from prism_bench.errors import InputError
from prism_bench.results.progress import PhaseProgress

CACHE = Path(".cache/webshop")
GENERATED_PRODUCTS = 1000
MANY_PRODUCTS = 20_000  # to generate, from which a progress bar is shown
MANY_BYTES = 100 << 20  # of a raw file, likewise

SMALL = ("items_shuffle_1000.json", "items_ins_v2_1000.json")
FULL = ("items_shuffle.json", "items_ins_v2.json")
HUMAN = "items_human_ins.json"

# Files that decide the contents of a compiled folder. Their texts are hashed, since a version number is soon forgotten.
_PROGRAM = (
    "analysis.py",
    "compiling.py",
    "generator.py",
    "goals.py",
    "indexing.py",
    "json_stream.py",
    "products.py",
    "records.py",
    "search.py",
    "stemmer.py",
    "vocabulary.json",
    "vocabulary.py",
)


class RawFiles(NamedTuple):
    """The raw files of a catalogue."""

    products: Path
    attributes: Path
    human: Path | None


def catalogue_for(
    source: str = "generated",
    data: Path | str | None = None,
    *,
    products: int | Literal["all"] | None = None,
    seed: int = 0,
    price_seed: int = 0,
    goal_seed: int = 0,
    cache: Path | str = CACHE,
) -> Catalogue:
    """Return a catalogue, compiled now unless an earlier call did.

    Args:
        source: ``generated`` or ``official``.
        data: for ``official``, the folder with upstream's files; human goals need ``items_human_ins.json`` there.
        products: the size of a generated catalogue (None: 1,000); of the official one 1000 or ``all`` (None: 1000, as
            upstream, or all if only those files exist).
        seed: of a generated catalogue.
        price_seed: seed of prices within a range.
        goal_seed: seed of price limits.
        cache: the folder of compiled catalogues.

    Raises:
        InputError: an option does not exist or contradicts another, or a raw file is missing or damaged.
    """
    inputs: dict[str, Any] = {"format": FORMAT, "program": _program(), "seeds": [price_seed, goal_seed]}
    files: RawFiles | None = None
    count = GENERATED_PRODUCTS
    if source == "official":
        if data is None:
            raise InputError("source=official needs data=DIR, the folder that holds items_shuffle_1000.json")
        files = official_files(Path(data).expanduser(), products)
        inputs["files"] = [(str(path.resolve()), *_state(path)) for path in files if path is not None]
    elif source == "generated":
        if data is not None:
            raise InputError("data=DIR goes with source=official only; generated catalogues come from their seed")
        if isinstance(products, str):
            raise InputError(f"products={products} goes with source=official only; give the number to generate")
        count = GENERATED_PRODUCTS if products is None else products
        inputs["generated"] = [count, seed]
    else:
        raise InputError(f"there is no WebShop source {source!r}; choose generated or official")

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            found = files or _generated_files(Path(temporary) / "raw", count, seed)
            size = found.products.stat().st_size
            long = size > MANY_BYTES or (files is None and count > MANY_PRODUCTS)
            with _bar("compile", size, long) as progress:
                compile_catalogue(*found, folder, price_seed=price_seed, goal_seed=goal_seed, progress=progress)

    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return open_catalogue(_made_once(Path(cache).expanduser() / digest[:16], make))


def official_files(data: Path, products: int | str | None = None) -> RawFiles:
    """Return the files of products, attributes and, if it exists, human instructions.

    Raises:
        InputError: ``products`` is neither 1000 nor ``all``, or a file is missing.
    """
    if products not in (1000, "all", None):
        raise InputError(f"products={products} is no official catalogue; choose 1000 or all")
    only_full = not (data / SMALL[0]).exists() and (data / FULL[0]).exists()
    names = FULL if products == "all" or (products is None and only_full) else SMALL
    for name in names:
        if not (data / name).is_file():
            option = " --all" if names is FULL else ""
            raise InputError(
                f"{data} has no {name}; fetch the official files with prism-bench download webshop{option} {data}"
            )
    human = data / HUMAN
    return RawFiles(data / names[0], data / names[1], human if human.is_file() else None)


def _made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return ``folder``, made if it does not exist; of several processes one makes it and the others wait."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.exists():
                for unfinished in folder.parent.glob(f".{folder.name}.*/"):  # left by a killed process
                    shutil.rmtree(unfinished, ignore_errors=True)
                make(folder)
    return folder


def _generated_files(folder: Path, products: int, seed: int) -> RawFiles:
    with _bar("generate", products, products > MANY_PRODUCTS) as progress:
        generate(folder, products, seed, progress)
    return RawFiles(folder / FULL[0], folder / FULL[1], folder / HUMAN)


@contextmanager
def _bar(phase: str, total: int, long: bool) -> Iterator[Callable[..., None] | None]:
    """Yield the function that updates the progress bar of a long phase, None for a short one."""
    if not long:
        yield None
        return
    with PhaseProgress(Console(stderr=True), phase, total) as bar:
        yield bar.update


def _state(path: Path) -> tuple[int, int, int]:
    """Return the size of a file and the times, in nanoseconds, at which its content and its record were changed."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


@functools.cache
def _program() -> str:
    digest = hashlib.sha256()
    for name in _PROGRAM:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()
