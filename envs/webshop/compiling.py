"""Compilation of a catalogue: from raw files to a folder that processes map into memory.

    compile_catalogue(Path("items_shuffle.json"), Path("items_ins_v2.json"), None, Path("compiled"))

    products.jsonl, .npy           the products, in the order of the raw file (see envs.webshop.records)
    index/                         what search needs (see envs.webshop.search)
    synthetic_products.npy         the product number of each synthetic goal, in upstream's order (int32)
    synthetic_combinations.npy     the number of its combination of options (int32)
    human_products.npy             the product number of each human goal, in upstream's order (int32)
    human.jsonl, .npy              its [number, instruction, attributes, options]
    meta.json                      the sums of the raw files, the seeds, and the numbers of products and goals

The raw files are read once. Memory: the annotations and codes of all products (about half a kilobyte each), the numbers
of their goals, and the memory of :func:`envs.webshop.indexing.build_index`; never the products.
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
"""Version of compiled folders; raise it when older folders cannot be read any more."""

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
    """Compile raw files into ``folder``, which appears as a whole or not at all.

    Args:
        products: ``items_shuffle.json`` or ``items_shuffle_1000.json``.
        attributes: ``items_ins_v2.json`` or ``items_ins_v2_1000.json``.
        human: ``items_human_ins.json``; None: there are no human goals.
        folder: a path that does not exist.
        price_seed: seed of prices within a range.
        goal_seed: seed of price limits.
        progress: called with the bytes of ``products`` read so far and their total.

    Raises:
        InputError: ``folder`` exists, there are no products or too many goals, or a raw file is damaged.
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
    """The state of one compilation, gathered from the products read so far."""

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
        """Write the goals and ``meta.json``."""
        synthetic = self._write_synthetic()
        with RecordWriter(self.folder / "human") as writer:
            ordered = [self.human[goal] for goal in shuffled(len(self.human))]
            for _, human in ordered:
                writer.append([human.number, human.instruction, human.attributes, human.options])
        np.save(self.folder / "human_products.npy", np.array([number for number, _ in ordered], dtype=np.int32))
        made_from: dict[str, Any] = {
            "format": FORMAT,
            "files": self.sums,
            "seeds": {"price": price_seed, "goal": goal_seed},
        }
        meta = made_from | {
            "identity": hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16],
            "products": len(self.asins),
            "goals": {"synthetic": synthetic, "human": len(ordered)},
        }
        write_atomically(self.folder / "meta.json", json.dumps(meta, indent=2) + "\n")

    def _write_synthetic(self) -> int:
        counts = np.frombuffer(self.counts, dtype=np.int64)
        count = int(counts.sum())
        order = np.frombuffer(shuffled(count), dtype=np.int64)
        products = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]
        first = np.cumsum(counts) - counts
        np.save(self.folder / "synthetic_products.npy", products)
        np.save(self.folder / "synthetic_combinations.npy", (order - first[products]).astype(np.int32))
        return count


def to_record(product: Product) -> list[Any]:
    """Return the fields of a product in their order, for a record."""
    return [getattr(product, name) for name in Product.__slots__]


def from_record(record: list[Any]) -> Product:
    """Return the product of a record that :func:`to_record` made and JSON read back."""
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
