"""The index of :mod:`envs.webshop.search` on disk: built in bounded memory, opened memory-mapped.

Source: ``BM25Similarity`` and ``SmallFloat`` of Lucene 8 (https://github.com/apache/lucene-solr), k1 0.9 and b 0.4 as
Pyserini's searcher sets them. A posting holds a document and a level: the rank of its saturation ``1 + tf / (k1 (1 -
b + b length / average))`` among all saturations of the index. Saturations are computed in single precision, in Lucene's
order of operations, since rounding decides between near-equal products. The length is a document's number of terms, as
rounded by Lucene's code of one byte; the average is exact, over the documents that have any term.
"""

import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from envs.webshop.analysis import analyse
from prism_bench.errors import InputError

K1 = np.float32(0.9)
B = np.float32(0.4)
FORMAT = 1
ARRAYS = ("hashes", "name_starts", "names", "starts", "strongest", "documents", "levels", "saturations", "ranks")
"""The files of an index besides ``index.json``. Of the terms: the hashes, ascending, the start of each name, the names,
the start of the postings, the highest level. Of the postings: the documents and levels. The saturation of each level.
The rank of each document among documents of equal score."""

_FREE = 24  # lengths below are their own code
_BLOCK = 2_000_000  # terms held in memory


def term_hash(term: str) -> int:
    """Return the number that terms are sorted by; unlike Python's own hash, it is the same in every process."""
    return crc32(encoded(term))


def encoded(term: str) -> bytes:
    """Return a term's bytes in an index; a lone surrogate, which a hostile text may hold, is a character too."""
    return term.encode("utf-8", "surrogatepass")


def length_codes(lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return Lucene's byte for every length: itself below 24, then, of the length less 24, the four leading bits.

    Source: ``SmallFloat.intToByte4``.
    """
    rest = np.maximum(lengths - _FREE, 0)
    bits = np.frexp(rest)[1].astype(np.int64)
    shift = np.maximum(bits - 4, 0)
    codes = _FREE + np.where(bits < 4, rest, (rest >> shift) & 7 | (shift + 1) << 3)
    return np.where(lengths < _FREE, lengths, codes).astype(np.uint8)


def decoded_lengths() -> NDArray[np.float32]:
    """Return the length that each of the 256 bytes stands for (``SmallFloat.byte4ToInt``)."""
    codes = np.arange(256, dtype=np.int64)
    rest = codes - _FREE
    decoded = _FREE + np.where(rest < 8, rest, (rest & 7 | 8) << np.maximum((rest >> 3) - 1, 0))
    return np.where(codes < _FREE, codes, decoded).astype(np.float32)


def build_index(
    documents: Iterable[str],
    folder: Path,
    identifiers: Sequence[str] | None = None,
) -> None:
    """Write the index of documents into a folder, made if need be; the documents' numbers count from 0.

    Documents are read once and never held together; only the number of different terms grows in memory.

    Args:
        documents: the texts.
        folder: gets the files.
        identifiers: of the documents; those of equal score are listed in the order of these (Pyserini's rule), or by
            number. They are read after the last document, so that a list may be filled while documents are read.

    Raises:
        ValueError: there are more or fewer identifiers than documents.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs = _Runs(folder)
    for document in documents:
        runs.add(analyse(document))
    runs.flush()
    if identifiers is not None and len(identifiers) != runs.documents:
        raise ValueError(f"{len(identifiers)} identifiers for {runs.documents} documents; give one for each")
    ranks = np.arange(runs.documents, dtype=np.int32)
    if identifiers is not None:
        ranks[sorted(range(runs.documents), key=identifiers.__getitem__)] = ranks.copy()
    np.save(folder / "ranks.npy", ranks)
    starts, position = _write_terms(runs, folder)
    _write_postings(runs, folder, starts, position)
    for run in runs.files:
        run.unlink()
    shapes = {name: _shape(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ARRAYS}
    unfinished = folder / "index.json.part"
    unfinished.write_text(json.dumps({"format": FORMAT, "documents_with_terms": runs.with_terms, "arrays": shapes}))
    unfinished.replace(folder / "index.json")  # the last file: a folder without it is no index


def open_arrays(folder: Path) -> tuple[dict[str, NDArray], int]:
    """Open the arrays of an index, memory-mapped; return them and the number of documents that have terms.

    Raises:
        InputError: a file, which the message names, is missing, damaged, or not of this index.
    """
    again = f"remove {folder.parent} to compile the catalogue again"
    path = folder / "index.json"
    try:
        summary = json.loads(path.read_text())
        version, with_terms, shapes = summary["format"], summary["documents_with_terms"], summary["arrays"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is no summary of an index ({type(error).__name__}: {error}); {again}") from error
    if version != FORMAT:
        raise InputError(f"{path} is of index format {version}, not {FORMAT}; {again}")
    arrays = {}
    for name in ARRAYS:
        path = folder / f"{name}.npy"
        try:
            arrays[name] = np.asarray(np.load(path, mmap_mode="r"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is damaged or missing ({error}); {again}") from error
        if _shape(arrays[name]) != shapes.get(name):
            raise InputError(f"{path} holds {_shape(arrays[name])}, not {shapes.get(name)}; {again}")
    return arrays, with_terms


def _shape(values: NDArray) -> str:
    return f"{values.shape} {values.dtype}"


class _Runs:
    """Postings of consecutive documents, sorted by term and written to a file whenever a block is full.

    A file has three rows: number of the term (in order of appearance), document, and ``tf * 256 + length code``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers: defaultdict[str, int] = defaultdict()
        self.numbers.default_factory = self.numbers.__len__
        self.frequencies = np.zeros(0, np.int64)  # documents that hold each term
        self.counts = np.zeros(0, np.int64)  # all different values of the third row
        self.files: list[Path] = []
        self.documents = self.with_terms = self.length = 0
        self._block_terms = array("i")
        self._block_lengths = array("i")

    def add(self, terms: list[str]) -> None:
        self._block_terms.extend(map(self.numbers.__getitem__, terms))
        self._block_lengths.append(len(terms))
        if len(self._block_terms) + len(self._block_lengths) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        lengths = np.array(self._block_lengths, np.int64)
        holders = np.repeat(np.arange(len(lengths)), lengths)
        keys = np.array(self._block_terms, np.int64) * len(lengths) + holders
        keys, tf = np.unique(keys, return_counts=True)
        terms, holders = np.divmod(keys, max(len(lengths), 1))
        counts = tf << 8 | length_codes(lengths)[holders]
        self.files.append(self.folder / f"run-{len(self.files)}.npy")
        np.save(self.files[-1], np.stack([terms, self.documents + holders, counts]))
        self.counts = np.union1d(self.counts, counts)
        self.frequencies = np.pad(self.frequencies, (0, len(self.numbers) - len(self.frequencies)))
        self.frequencies += np.bincount(terms, minlength=len(self.numbers))
        self.documents += len(lengths)
        self.with_terms += int(np.count_nonzero(lengths))
        self.length += int(lengths.sum())
        self._block_terms, self._block_lengths = array("i"), array("i")


def _write_terms(runs: _Runs, folder: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write the vocabulary; return where the postings of each term start, and the final number of each term."""
    hashes = np.fromiter(map(term_hash, runs.numbers), np.uint32, len(runs.numbers))
    order = np.argsort(hashes, kind="stable")
    names = list(runs.numbers)
    in_order = [encoded(names[number]) for number in order.tolist()]
    starts = np.concatenate([[0], np.cumsum(runs.frequencies[order])])
    np.save(folder / "hashes.npy", hashes[order])
    np.save(folder / "name_starts.npy", np.cumsum([0, *map(len, in_order)], dtype=np.int64))
    np.save(folder / "names.npy", np.frombuffer(b"".join(in_order), np.uint8))
    np.save(folder / "starts.npy", starts)
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    return starts, position


def _write_postings(runs: _Runs, folder: Path, starts: NDArray[np.int64], position: NDArray[np.int64]) -> None:
    """Merge the runs: each posting takes the next free place of its term."""
    average = np.float32(max(runs.length, 1) / max(runs.with_terms, 1))
    norms = np.float32(1) / (K1 * ((np.float32(1) - B) + B * decoded_lengths() / average))
    saturation = np.float32(1) + (runs.counts >> 8).astype(np.float32) * norms[runs.counts & 255]
    saturations, level_of = np.unique(saturation, return_inverse=True)
    np.save(folder / "saturations.npy", saturations)
    kind = np.uint16 if len(saturations) <= 1 << 16 else np.uint32
    documents = _empty_file(folder / "documents.npy", np.dtype(np.int32), int(starts[-1]))
    levels = _empty_file(folder / "levels.npy", np.dtype(kind), int(starts[-1]))
    free = starts[:-1].copy()
    for file in runs.files:
        terms, holders, counts = np.load(file, mmap_mode="r")
        firsts = np.flatnonzero(np.diff(terms, prepend=-1))
        sizes = np.diff(firsts, append=len(terms))
        heads = position[terms[firsts]]
        places = np.repeat(free[heads] - firsts, sizes) + np.arange(len(terms))
        free[heads] += sizes
        documents[places] = holders
        levels[places] = level_of[np.searchsorted(runs.counts, counts)]
    np.save(folder / "strongest.npy", np.maximum.reduceat(levels, starts[:-1]) if len(levels) else levels)


def _empty_file(path: Path, kind: np.dtype, size: int) -> NDArray:
    """Return an array mapped to a new file; an array without elements, which cannot be mapped, is saved."""
    if size:
        return np.lib.format.open_memmap(path, "w+", kind, (size,))
    np.save(path, np.zeros(0, kind))
    return np.zeros(0, kind)
