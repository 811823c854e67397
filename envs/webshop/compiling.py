"""Compiles a catalogue: raw files, read once, become a folder that every process opens without reading it.

    compile_catalogue(Path("items_shuffle.json"), Path("items_ins_v2.json"), None, Path("compiled"))

    products.jsonl, .npy           the products, in the order of the raw file (see envs.webshop.records)
    index/                         what search needs (see envs.webshop.search)
    synthetic_products.npy         of each synthetic goal, in the order of play, the number of its product (int32)
    synthetic_combinations.npy     and of its combination of options (int32)
    human_products.npy             of each human goal, in the order of play, the number of its product (int32)
    human.jsonl, .npy              and [number, instruction, attributes, options]
    meta.json                      what the folder was made from, and how much there is of everything

Memory: the annotations and codes of all products (about half a kilobyte each), their goals' numbers, and what building
the index needs; never the products.
"""

import hashlib
import json
import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from envs.webshop.goals import (
    HumanInstruction,
    read_human_instructions,
    shuffled,
    synthetic_count,
)
from envs.webshop.indexing import build_index
from envs.webshop.json_stream import JsonStream
from envs.webshop.products import Product, document, read_annotations, read_products
from envs.webshop.records import RecordWriter
from prism_bench.errors import InputError
from prism_bench.files import write_atomically

FORMAT = 1
"""Part of every compiled folder; to be raised when folders written before cannot be read any more."""

MOST_GOALS = 100_000_000


def compile_catalogue(
    products: Path,
    attributes: Path,
    human: Path | None,
    folder: Path,
    *,
    price_seed: int = 0,
    goal_seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Compile raw files into ``folder``, which appears with everything in it or not at all.

    Args:
        products: ``items_shuffle.json`` or ``items_shuffle_1000.json``.
        attributes: ``items_ins_v2.json`` or ``items_ins_v2_1000.json``.
        human: ``items_human_ins.json``; None: there are no human goals.
        folder: does not exist yet.
        price_seed: decides prices within a range.
        goal_seed: decides price limits.
        progress: called with the bytes of ``products`` read so far and their number.

    Raises:
        InputError: ``folder`` is there already, or there are no products, or too many goals.
        InputError: a raw file is damaged.
    """
    if folder.exists():
        raise InputError(f"{folder} is there already; remove it to compile the catalogue again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        compiler = _Compiler(unfinished, attributes, human)
        compiler.read_products(products, price_seed, progress)
        compiler.finish(price_seed, goal_seed)
        unfinished.chmod(0o755)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class _Compiler:
    """The state of one compilation: what was seen of the products so far."""

    def __init__(self, folder: Path, attributes: Path, human: Path | None) -> None:
        self.folder = folder
        self.sums: dict[str, str] = {}
        stream = JsonStream(attributes)
        self.annotations = read_annotations(stream)
        self.sums[attributes.name] = stream.sha256
        self.instructions: dict[str, tuple[HumanInstruction, ...]] = {}
        if human is not None:
            stream = JsonStream(human)
            self.instructions = read_human_instructions(stream)
            self.sums[human.name] = stream.sha256
        self.asins: list[str] = []
        self.counts = array("q")  # synthetic goals of each product
        self.human: list[tuple[int, HumanInstruction]] = []

    def read_products(self, path: Path, price_seed: int, progress: Callable[[int, int], None] | None) -> None:
        """Write products and index in one pass."""
        stream = JsonStream(path, progress)
        with RecordWriter(self.folder / "products") as writer:
            found = read_products(stream, self.annotations, price_seed)
            build_index(self._documents(path, found, writer), self.folder / "index", identifiers=self.asins)
        self.sums[path.name] = stream.sha256

    def _documents(self, path: Path, products: Iterator[Product], writer: RecordWriter) -> Iterator[str]:
        goals = 0
        for number, product in enumerate(products):
            writer.append(to_record(product))
            self.asins.append(product.asin)
            self.counts.append(synthetic_count(product))
            self.human.extend((number, instruction) for instruction in self.instructions.get(product.asin, ()))
            goals += self.counts[-1]
            if goals > MOST_GOALS:
                raise InputError(
                    f"the options of {product.asin} make {self.counts[-1]:,} synthetic goals, and the catalogue more "
                    f"than {MOST_GOALS:,}, which is too many"
                )
            yield document(product)
        if not self.asins:
            raise InputError(f"{path} holds no product")

    def finish(self, price_seed: int, goal_seed: int) -> None:
        """Write codes, goals and what the folder is."""
        synthetic = self._write_synthetic()
        with RecordWriter(self.folder / "human") as writer:
            played = [self.human[goal] for goal in shuffled(len(self.human))]
            for _, human in played:
                writer.append([human.number, human.instruction, human.attributes, human.options])
        np.save(self.folder / "human_products.npy", np.array([number for number, _ in played], dtype=np.int32))
        made_from: dict[str, Any] = {
            "format": FORMAT,
            "files": self.sums,
            "seeds": {"price": price_seed, "goal": goal_seed},
        }
        meta = made_from | {
            "identity": hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16],
            "products": len(self.asins),
            "goals": {"synthetic": synthetic, "human": len(played)},
        }
        write_atomically(self.folder / "meta.json", json.dumps(meta, indent=2) + "\n")

    def _write_synthetic(self) -> int:
        counts = np.frombuffer(self.counts, dtype=np.int64)
        count = int(counts.sum())
        played = np.frombuffer(shuffled(count), dtype=np.int64)
        products = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[played]
        first = np.cumsum(counts) - counts
        np.save(self.folder / "synthetic_products.npy", products)
        np.save(self.folder / "synthetic_combinations.npy", (played - first[products]).astype(np.int32))
        return count


def to_record(product: Product) -> list[Any]:
    """Return the product as the list that is written: its fields in their order."""
    return [getattr(product, name) for name in Product.__slots__]


def from_record(record: list[Any]) -> Product:
    """Return the product of :func:`to_record`, read from JSON."""
    asin, title, description, bullets, price_text, price, options, *rest = record
    category, query, product_category, attributes, instruction, instruction_attributes, rating = rest
    return Product(
        asin,
        title,
        description,
        tuple(bullets),
        price_text,
        price,
        tuple((name, tuple(values)) for name, values in options),
        category,
        query,
        product_category,
        tuple(attributes),
        instruction,
        tuple(instruction_attributes),
        rating,
    )
