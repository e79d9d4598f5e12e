"""What is said more where a cluster is active than elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc.audit.names.tokens import terms_of
from tiltc.audit.names.words import names_something

Array = npt.NDArray[np.float64]

#: a term is in so many distinct texts at least, in this share of them at most, and among the most frequent
FEWEST, COMMONEST, MOST = 3, 0.95, 50_000
#: the prior is a tenth of all texts: enough that a rare term must recur before it counts
PRIOR = 0.1
#: a term is distinctive from this z on
LEAST_Z = 2.0


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
    """Each cluster's most distinctive terms, the most distinctive first.

    Args:
        inside: (clusters, docs) which texts a cluster is active in.
    """
    weighted = sparse.csr_matrix(vocabulary.presence.multiply(vocabulary.weight[:, None]), dtype=np.float32)
    every = np.asarray(weighted.sum(0), np.float64).ravel()
    counts = sparse.csr_matrix(sparse.csr_matrix(inside, dtype=np.float32) @ weighted)
    counts.sort_indices()
    clusters = len(np.asarray(counts.indptr)) - 1
    return [_listed(vocabulary.terms, *_row(counts, i), every, top) for i in range(clusters)]


def _row(counts: sparse.csr_matrix, i: int) -> tuple[npt.NDArray[np.int64], Array]:
    """The terms that a cluster's texts have, and in how many."""
    indptr, indices, data = np.asarray(counts.indptr), np.asarray(counts.indices), np.asarray(counts.data)
    return indices[indptr[i] : indptr[i + 1]].astype(np.int64), data[indptr[i] : indptr[i + 1]].astype(np.float64)


def _listed(
    terms: Sequence[str], columns: npt.NDArray[np.int64], inside: Array, every: Array, top: int
) -> tuple[str, ...]:
    """The `top` terms of largest z, without those that another says already, and without grammar if it can be helped."""
    z = log_odds_z(inside, every[columns], float(inside.sum()), float(every.sum()))
    # a term that is in one or two distinct texts is their accident
    told = np.flatnonzero((z > LEAST_Z) & (inside > FEWEST - 0.5))
    order = told[np.argsort(-z[told], kind="stable")]
    ranked = [terms[int(i)] for i in columns[order]]
    naming = [term for term in ranked if names_something(term)]
    return _apart(naming or ranked, top)


def log_odds_z(inside: Array, every: Array, inside_total: float, every_total: float) -> Array:
    """z-scores of the log-odds ratio, inside against outside, with an informative Dirichlet prior.

    Monroe, Colaresi and Quinn (2008), equations 16, 20 and 22. The prior is `PRIOR` times the counts of all texts.

    Args:
        inside: (V,) texts inside that have the term.
        every: (V,) texts that have the term.
        inside_total, every_total: their sums over all terms.
    """
    prior, prior_total = PRIOR * every, PRIOR * every_total
    a, b = inside + prior, np.maximum(every - inside, 0) + prior
    a_total, b_total = inside_total + prior_total, every_total - inside_total + prior_total
    delta = np.log(a / (a_total - a)) - np.log(b / (b_total - b))
    return delta / np.sqrt(1 / a + 1 / b)


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
