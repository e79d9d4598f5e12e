"""Example pairs of a hypothesis, with the tokens marked on which its features peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tiltc.audit.model import Example, Pair
from tiltc.audit.rows import Array, Ints, Rows

if TYPE_CHECKING:
    from tiltc.evidence import Evidence

#: pairs shown for a hypothesis, characters of a text, and marks in one
SHOWN, CHARACTERS, MARKS = 3, 1200, 40


def pick(values: Array, inside: Ints, sign: float, cluster: Ints, most: int = SHOWN) -> list[int]:
    """The rows of a context that show a hypothesis best, each of another prompt; fewer where fewer show it.

    Args:
        values: (n,) the statistic; inside: rows of the context; sign: of the effect.
    """
    order = inside[np.argsort(-sign * values[inside], kind="stable")]
    out: dict[int, int] = {}
    for row in order:
        if sign * values[row] <= 0 or len(out) == most:
            break
        out.setdefault(int(cluster[row]), int(row))
    return list(out.values())


@dataclass
class Album:
    """Collects example pairs, each once, and finds the peaks of features in them."""

    evidence: Evidence
    rows: Rows
    pairs: list[Pair] = field(default_factory=list[Pair])
    _place: dict[int, int] = field(default_factory=dict[int, int])

    def example(self, row: int, value: float, features: Ints) -> Example:
        at = int(self.rows.origin[row])
        if at not in self._place:
            self._place[at] = len(self.pairs)
            texts = {c: _text(self.evidence, c, at)[:CHARACTERS] for c in ("prompt", "chosen", "rejected")}
            self.pairs.append(Pair(row_id=self.rows.row_ids[row], **texts))
        marks = {side: self.marks(at, side, features) for side in ("chosen", "rejected")}
        return Example(pair=self._place[at], value=float(f"{value:.6g}"), **marks)

    def marks(self, row: int, side: str, features: Ints, most: int = MARKS) -> tuple[tuple[int, int], ...]:
        """Where the features peak in one text of the evidence's row: [start, end), in order, inside what is shown."""
        shard, local = self._shard(row)
        starts = _starts(shard.table, side, local)
        if not starts:
            return ()
        pointers = shard.array(f"{side}.indptr")
        span = slice(int(pointers[local]), int(pointers[local + 1]))
        fires = np.isin(shard.array(f"{side}.indices")[span], features)
        strength = shard.array(f"{side}.max")[span][fires].astype(np.float64)
        tokens = shard.array(f"{side}.peak")[span][fires][np.argsort(-strength, kind="stable")][:most]
        ends = [*starts[1:], len(_text(self.evidence, side, row))]
        found = {(int(starts[t]), int(ends[t])) for t in tokens.tolist() if t < len(starts)}
        return tuple(sorted((a, min(b, CHARACTERS)) for a, b in found if a < min(b, CHARACTERS)))

    def _shard(self, row: int) -> tuple[Any, int]:
        for pin, shard in zip(self.evidence.manifest.shards, self.evidence.shards, strict=True):
            if row < pin.rows:
                return shard, row
            row -= pin.rows
        raise IndexError(row)


def _text(evidence: Evidence, column: str, row: int) -> str:
    return str(evidence.table.column(column)[row].as_py())


def _starts(table: Any, side: str, row: int) -> Sequence[int]:
    name = f"{side}_starts"
    return table.column(name)[row].as_py() or [] if name in table.column_names else []
