"""The unpaired view: what would these responses teach that those of a reference do not?

Supervised data has no rejected side. Each of its responses is matched with a response of the reference (another data set,
or the model's own answers): one to the same prompt where there is one, else one to the most similar prompt, each used
once. Matched rows are pairs like any others, with the data as chosen and the reference as rejected, so every question of
the paired audit is answered by the same code; only the match has to be believed, and the audit says how good it is.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from scipy import sparse

from tiltc.audit.embed import row_embeddings
from tiltc.audit.rows import Floats, Ints, spaced
from tiltc.canonical import sha256_text
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import Manifest, ShardPin

if TYPE_CHECKING:
    from tiltc.evidence import Evidence

#: rows of either side that are matched, and rows compared at a time
MOST, ROWS = 20_000, 2048
COMPONENTS = 64


@dataclass(frozen=True)
class Match:
    """Rows of the data (n,), the rows of the reference they are compared with (n,), and how alike the prompts are (n,)."""

    data: Ints
    reference: Ints
    similarity: Floats

    @property
    def same(self) -> int:
        """Rows whose prompts are the same."""
        return int((self.similarity > 1).sum())


def matched(data: Evidence, reference: Evidence) -> tuple[MatchedEvidence | None, Diagnostics]:
    """Match the chosen, or only, responses of two harvests. Findings: T712 read with different models or SAEs."""
    found = Diagnostics()
    for what in ("model", "sae", "template", "max_length"):
        one, other = getattr(data.manifest, what), getattr(reference.manifest, what)
        if one != other:
            found.add("T712", None, f"the two harvests differ in {what}", notes=[_named(one), _named(other)])
    if found.failed:
        return None, found
    return MatchedEvidence(data, reference, match(data, reference)), found


def _named(value: object) -> str:
    return str(getattr(value, "name", value))[:80]


def match(data: Evidence, reference: Evidence) -> Match:
    """Same prompts first, in the order of the data; then the most similar pairs of prompts, the most similar first."""
    a, b = (rows[spaced(len(rows), MOST)] for rows in (np.flatnonzero(data.read), np.flatnonzero(reference.read)))
    same, left_a, left_b = _same_prompts(data, reference, a, b)
    near = _nearest(data, reference, left_a, left_b)
    pairs = [*((i, j, 2.0) for i, j in same), *near]
    columns = list(zip(*pairs, strict=True)) or [(), (), ()]
    return Match(np.array(columns[0], np.int64), np.array(columns[1], np.int64), np.array(columns[2], np.float32))


def _same_prompts(data: Evidence, reference: Evidence, a: Ints, b: Ints) -> tuple[list[tuple[int, int]], Ints, Ints]:
    waiting: defaultdict[str, list[int]] = defaultdict(list)
    other = reference.table.column("group").to_pylist()
    for j in b.tolist():
        waiting[other[j]].append(j)
    mine = data.table.column("group").to_pylist()
    pairs: list[tuple[int, int]] = []
    for i in a.tolist():
        if waiting[mine[i]]:
            pairs.append((i, waiting[mine[i]].pop(0)))
    used_a, used_b = {i for i, _ in pairs}, {j for _, j in pairs}
    left = [
        np.array([r for r in rows.tolist() if r not in used], np.int64) for rows, used in ((a, used_a), (b, used_b))
    ]
    return pairs, left[0], left[1]


def _nearest(data: Evidence, reference: Evidence, a: Ints, b: Ints) -> list[tuple[int, int, float]]:
    """Greedy matching by cosine: of all pairs of free rows the most similar, ten candidates a row at a time."""
    if not len(a) or not len(b):
        return []
    prompts = sparse.vstack([data.matrix("prompt", "max")[a], reference.matrix("prompt", "max")[b]])
    vectors = row_embeddings(sparse.csr_matrix(prompts), COMPONENTS, 0)
    left, right = vectors[: len(a)], vectors[len(a) :]
    free_a, free_b = np.arange(len(a)), np.arange(len(b))
    out: list[tuple[int, int, float]] = []
    while len(free_a) and len(free_b):
        taken = _round(left, right, free_a, free_b)
        out += [(int(a[i]), int(b[j]), s) for i, j, s in taken]
        free_a = np.setdiff1d(free_a, [i for i, _, _ in taken])
        free_b = np.setdiff1d(free_b, [j for _, j, _ in taken])
    return out


def _round(left: Floats, right: Floats, a: Ints, b: Ints) -> list[tuple[int, int, float]]:
    """Every free row of the smaller side proposes its best; proposals are met in order of similarity."""
    proposals: list[tuple[float, int, int]] = []
    for start in range(0, len(a), ROWS):
        cosine = left[a[start : start + ROWS]] @ right[b].T
        best = np.argsort(-cosine, axis=1, kind="stable")[:, : min(10, len(b))]
        for k, row in enumerate(best):
            proposals += [(float(cosine[k, j]), int(a[start + k]), int(b[j])) for j in row]
    used_a, used_b = set[int](), set[int]()
    taken: list[tuple[int, int, float]] = []
    for s, i, j in sorted(proposals, key=lambda p: (-p[0], p[1], p[2])):
        if i not in used_a and j not in used_b:
            used_a.add(i)
            used_b.add(j)
            taken.append((i, j, min(s, 1.0)))
    return taken


@dataclass(frozen=True)
class MatchedShard:
    """All matched rows as one shard."""

    owner: MatchedEvidence

    @property
    def table(self) -> pa.Table:
        return self.owner.table

    def matrix(self, span: str, kind: Literal["max", "count", "peak"]) -> sparse.csr_matrix:
        return self.owner.matrix(span, kind)

    def array(self, name: str) -> np.ndarray:
        """`chosen.indptr` and so on, as a shard on disk has them."""
        span, part = name.split(".")
        kind = "max" if part in ("indptr", "indices") else part
        matrix = self.owner.matrix(span, kind)  # type: ignore[arg-type]
        return {"indptr": matrix.indptr, "indices": matrix.indices}.get(part, matrix.data)


@dataclass(frozen=True)
class MatchedEvidence:
    """Matched rows behind the interface of evidence: prompts and chosen of the data, rejected of the reference."""

    data: Evidence
    reference: Evidence
    match: Match

    @cached_property
    def manifest(self) -> Manifest:
        base = self.data.manifest
        both = sha256_text(f"{base.digest} {self.reference.manifest.digest}")
        pin = ShardPin(name="matched", rows=len(self.match.data), files={})
        return base.model_copy(update={"shards": (pin,), "digest": both})

    @property
    def shards(self) -> tuple[MatchedShard, ...]:
        return (MatchedShard(self),)

    @cached_property
    def ok(self) -> np.ndarray:
        return np.ones(len(self.match.data), dtype=bool)

    @cached_property
    def table(self) -> pa.Table:
        mine, other = self.data.table.take(self.match.data), self.reference.table.take(self.match.reference)
        ids = zip(mine.column("row_id").to_pylist(), other.column("row_id").to_pylist(), strict=True)
        columns: dict[str, object] = {"row_id": [sha256_text(f"{i} {j}")[:16] for i, j in ids]}
        columns |= {name: mine.column(name) for name in ("group", "status", "prompt", "prompt_tokens", "prompt_starts")}
        for part in ("", "_tokens", "_cut", "_starts"):
            columns[f"chosen{part}"] = mine.column(f"chosen{part}")
            columns[f"rejected{part}"] = other.column(f"chosen{part}")
        return pa.table(columns)

    def matrix(self, span: str, kind: Literal["max", "count", "peak"]) -> sparse.csr_matrix:
        if span == "rejected":
            return sparse.csr_matrix(self.reference.matrix("chosen", kind)[self.match.reference])
        return sparse.csr_matrix(self.data.matrix(span, kind)[self.match.data])  # type: ignore[arg-type]

    def cautions(self) -> tuple[str, ...]:
        """How far the match can be believed."""
        n, rest = len(self.match.data), self.match.similarity[self.match.similarity <= 1]
        alone = int(np.sum(self.data.read)) - n
        out = [f"{n:,} rows were matched with the reference, {self.match.same:,} of them on the same prompt."]
        if len(rest):
            out.append(
                f"{len(rest):,} were matched on the most similar prompt (cosine: median {np.median(rest):.2f}, lowest tenth "
                f"below {np.quantile(rest, 0.1):.2f}): where prompts differ, so may answers, for reasons that are no teaching."
            )
        if alone > 0:
            out.append(f"{alone:,} rows have no match and were left out.")
        out.append("Clusters follow from both harvests together, so a spec for either can't name them (T212).")
        return tuple(out)
