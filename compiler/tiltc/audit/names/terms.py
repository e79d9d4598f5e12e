"""What is said more where a cluster is active than elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc.audit.names.log_odds import FEWEST, Counts
from tiltc.audit.names.tokens import terms_of
from tiltc.audit.names.words import names_something

Array = npt.NDArray[np.float64]

#: a term is in `FEWEST` distinct texts at least, in this share of them at most, and among the most frequent
COMMONEST, MOST = 0.95, 50_000
#: a term is distinctive from this z on, or from what chance reaches if that is more
LEAST_Z = 2.0
#: clusters that are counted at once
BLOCK = 100


class Vocabulary:
    """The terms of some texts, and which text has which. It doesn't depend on the order of the texts.

    Attributes:
        terms: (V,) the most frequent first, then by the alphabet.
        presence: (docs, V) 1 where a text has a term.
        weight: (docs,) one over the number of texts that read the same, so that a text that comes ten times speaks once.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        distinct, of, copies = np.unique(np.array(texts, dtype=object), return_inverse=True, return_counts=True)
        self.weight: Array = 1.0 / copies[of]
        documents, columns = _numbered(map(str, distinct))
        self.terms = _kept(columns, documents)
        place = np.full(len(columns), -1, np.int64)
        place[[columns[term] for term in self.terms]] = np.arange(len(self.terms))
        self.presence = _matrix([documents[i] for i in of], place, len(self.terms))
        self._order = np.argsort(of, kind="stable")

    def counts(self) -> Counts:
        weighted = sparse.csr_matrix(self.presence.multiply(self.weight[:, None]), dtype=np.float32)
        return Counts(weighted, np.asarray(weighted.sum(0), np.float64).ravel(), self._order)


def _numbered(texts: Iterable[str]) -> tuple[list[npt.NDArray[np.int32]], dict[str, int]]:
    """Each text's terms as numbers, and the number of each term."""
    columns: dict[str, int] = {}
    documents = [
        np.array([columns.setdefault(term, len(columns)) for term in terms_of(text)], np.int32) for text in texts
    ]
    return documents, columns


def _kept(columns: dict[str, int], documents: list[npt.NDArray[np.int32]]) -> tuple[str, ...]:
    used = np.bincount(np.concatenate([np.zeros(0, np.int32), *documents]), minlength=len(columns))
    most = COMMONEST * len(documents)
    kept = [(-int(used[i]), term) for term, i in columns.items() if FEWEST <= used[i] <= most]
    return tuple(term for _, term in sorted(kept)[:MOST])


def _matrix(documents: list[npt.NDArray[np.int32]], place: npt.NDArray[np.int64], terms: int) -> sparse.csr_matrix:
    """(docs, V) presence of the kept terms."""
    rows = [np.sort(at[at >= 0]) for at in (place[document] for document in documents)]
    ends = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    indices = np.concatenate([np.zeros(0, np.int64), *rows])
    return sparse.csr_matrix((np.ones(len(indices), np.float32), indices, ends), shape=(len(rows), terms))


def distinctive(vocabulary: Vocabulary, inside: sparse.csr_matrix, top: int = 8) -> list[tuple[str, ...]]:
    """Each cluster's most distinctive terms, the most distinctive first; none where chance would do as well.

    Args:
        inside: (clusters, docs) which texts a cluster is active in.
    """
    counts = vocabulary.counts()
    rows = sparse.csr_matrix(inside, dtype=np.float32)
    sizes = [int(n) for n in np.diff(np.asarray(rows.indptr))]
    least = np.maximum(counts.by_chance(sizes), LEAST_Z)
    out: list[tuple[str, ...]] = []
    for start in range(0, len(sizes), BLOCK):
        scored = counts.scores(rows[start : start + BLOCK])
        out += [_listed(vocabulary.terms, *told, z, top) for told, z in zip(scored, least[start:], strict=False)]
    return out


def _listed(terms: Sequence[str], columns: npt.NDArray[np.int64], z: Array, least: float, top: int) -> tuple[str, ...]:
    """The `top` terms of largest z, without those that another says already, and without grammar if it can be helped."""
    told = np.flatnonzero(z > least)
    order = told[np.argsort(-z[told], kind="stable")]
    ranked = [terms[int(i)] for i in columns[order]]
    naming = [term for term in ranked if names_something(term)]
    return _apart(naming or ranked, top)


def _apart(ranked: Sequence[str], top: int) -> tuple[str, ...]:
    """The first `top` that share no word, singular or plural, with one before; "i can't" and "i'm" are two things."""
    kept: list[str] = []
    said: set[str] = set()
    for term in ranked:
        words = {_singular(word) for word in term.split(" ") if word not in ("i", "we")} or {term}
        if not words & said:
            kept.append(term)
            said |= words
        if len(kept) == top:
            break
    return tuple(kept)


def _singular(word: str) -> str:
    return word.removesuffix("'s").removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word
