"""WebShop's search without Java: the ranking of Lucene's BM25 from memory-mapped arrays.

Source: ``BM25Similarity`` of Lucene 8 (https://github.com/apache/lucene-solr), called as upstream's Pyserini calls
it. A term that n of N documents hold and the query has ``count`` times weighs ``w = count ln(1 + (N - n + 0.5) / (n +
0.5))``; a document gets ``w - w / saturation`` for it (:mod:`envs.webshop.indexing`). Both in single precision; the
sum is taken in double precision, then rounded to single. N counts the documents that have any term.

bm25s does not replace this module: it knows neither the rounded length nor these roundings, and it adds up every
posting of every term. Here only the strongest terms are added up; the others are looked up for the documents that may
still be among the best, with the same result.
"""

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.webshop.analysis import analyse
from envs.webshop.indexing import encoded, open_arrays, term_hash

_PRUNE = 50_000  # postings from which pruning documents saves time
_MANY = 64  # terms from which it does not: the effort grows with their square
_PILOTS = 8_000  # postings of a term among which good documents are sought
_SLACK = 1 - 1e-6  # below any rounding of a score: no document is pruned that ties with the last one listed


class _Term(NamedTuple):
    most: float  # the highest contribution to a score
    start: int  # of its postings
    stop: int
    weight: np.float32


class SearchIndex:
    """A read-only index, made by :meth:`open`; any number of threads and processes may search it."""

    def __init__(self, arrays: dict[str, NDArray], documents_with_terms: int) -> None:
        self._arrays = arrays
        self._documents = len(arrays["ranks"])
        self._documents_with_terms = documents_with_terms

    @classmethod
    def open(cls, folder: Path) -> "SearchIndex":
        """Open the index that :func:`envs.webshop.indexing.build_index` wrote.

        Raises:
            InputError: a file, which the message names, is damaged or missing.
        """
        return cls(*open_arrays(folder))

    def search(self, query: str, limit: int = 50) -> list[int]:
        """Return the numbers of the best matching documents, best first: at most ``limit``, none without a match."""
        terms = self._terms(query)
        if not terms or limit < 1:
            return []
        scores = np.zeros(self._documents)
        candidates = self._candidates(terms, limit, scores)
        final = scores[candidates].astype(np.float32)
        if len(final) > limit:
            passed = final >= np.partition(final, -limit)[-limit]
            candidates, final = candidates[passed], final[passed]
        best: list[int] = candidates[np.lexsort((self._arrays["ranks"][candidates], -final))[:limit]].tolist()
        return best

    def _terms(self, query: str) -> list[_Term]:
        """Return the query's terms that the index has, those with the highest possible score first."""
        counts = Counter(analyse(query))
        hashes, starts, strongest = self._arrays["hashes"], self._arrays["starts"], self._arrays["strongest"]
        wanted = np.fromiter(map(term_hash, counts), np.uint32, len(counts))
        places = np.searchsorted(hashes, wanted).tolist()
        terms = []
        for name, count, place, hashed in zip(counts, counts.values(), places, wanted.tolist(), strict=True):
            while place < len(hashes) and hashes[place] == hashed and self._name(place) != encoded(name):
                place += 1
            if place == len(hashes) or hashes[place] != hashed:
                continue
            start, stop = int(starts[place]), int(starts[place + 1])
            holders = stop - start
            idf = math.log(1 + (self._documents_with_terms - holders + 0.5) / (holders + 0.5))
            weight = np.float32(count) * np.float32(idf)
            most = weight - weight / self._arrays["saturations"][strongest[place]]
            terms.append(_Term(float(most), start, stop, weight))
        return sorted(terms, reverse=True)

    def _name(self, place: int) -> bytes:
        starts = self._arrays["name_starts"]
        return self._arrays["names"][starts[place] : starts[place + 1]].tobytes()

    def _candidates(self, terms: list[_Term], limit: int, scores: NDArray[np.float64]) -> NDArray[np.int32]:
        """Fill in ``scores`` and return documents that include the best, ascending, whose scores are complete.

        Terms are added in one order, whatever is pruned: a document's score is the same to the last bit.
        """
        pruning = len(terms) < _MANY and sum(term.stop - term.start for term in terms) > _PRUNE
        most_of_rest = np.cumsum([0.0, *(term.most for term in reversed(terms))])[::-1]
        reached = 0.0  # by at least ``limit`` documents, less the slack
        done = 0
        while done < len(terms) and most_of_rest[done] >= reached:
            term = terms[done]
            done += 1
            scores[self._documents_of(term)] += self._gains(term, slice(term.start, term.stop))
            if pruning and done < len(terms):
                reached = max(reached, self._reached(terms, done, limit, scores))
        candidates = np.flatnonzero(scores > max(reached - most_of_rest[done], 0.0)).astype(np.int32)
        for number in range(done, len(terms)):
            self._look_up(terms[number], candidates, scores)
            candidates = candidates[scores[candidates] >= reached - most_of_rest[number + 1]]
        return candidates

    def _documents_of(self, term: _Term) -> NDArray[np.int32]:
        return self._arrays["documents"][term.start : term.stop]

    def _gains(self, term: _Term, postings: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the term's contributions to the scores of the documents of some of its postings."""
        levels = self._arrays["levels"][postings]
        saturations = self._arrays["saturations"]
        few = len(levels) < len(saturations)
        divisors = saturations[levels] if few else saturations
        gains = np.asarray(term.weight - term.weight / divisors, np.float32)
        return gains if few else gains[levels]

    def _postings_of(self, term: _Term, documents: NDArray[np.int32]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return a mask of the documents (ascending) that hold the term, and the places of their postings."""
        holders = self._documents_of(term)
        places = np.searchsorted(holders, documents)
        places[places == len(holders)] = 0
        found = holders[places] == documents
        return found, term.start + places[found]

    def _look_up(self, term: _Term, documents: NDArray[np.int32], scores: NDArray[np.float64]) -> None:
        """Add the term to the scores of some documents (ascending)."""
        holders = self._documents_of(term)
        if len(documents) > len(holders) // 16:
            scores[holders] += self._gains(term, slice(term.start, term.stop))
            return
        found, postings = self._postings_of(term, documents)
        scores[documents[found]] += self._gains(term, postings)

    def _reached(self, terms: list[_Term], done: int, limit: int, scores: NDArray[np.float64]) -> float:
        """Return a score, less the slack, that ``limit`` documents with the last term added reach."""
        pilots = self._documents_of(terms[done - 1])
        if len(pilots) > _PILOTS:
            pilots = pilots[:: len(pilots) // _PILOTS]
        if len(pilots) < limit:
            return 0.0
        partial = scores[pilots]
        if len(pilots) > 4 * limit:
            best = np.sort(np.argpartition(partial, -4 * limit)[-4 * limit :])
            pilots, partial = pilots[best], partial[best]
        for term in terms[done:]:
            found, postings = self._postings_of(term, pilots)
            partial[found] += self._gains(term, postings)
        return float(np.partition(partial, -limit)[-limit]) * _SLACK
