"""What changes in a plan's rows: which pairs are dropped, and whose weight or margin offset moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: This many changed rows are listed, those that change most first.
EXAMPLES = 10
#: columns that say how a pair is read in training
READINGS = ("chosen_masked", "rejected_masked", "chosen_prompt", "chosen_steered", "rejected_steered")


@dataclass(frozen=True)
class RowChange:
    """One pair that the two plans treat differently."""

    row_id: str
    keep: tuple[bool, bool]
    weight: tuple[float, float]
    margin_offset: tuple[float, float]
    #: reasons of the later plan
    reason: str

    @property
    def size(self) -> tuple[bool, float]:
        """Sorts by how much changes: dropping or taking back a row counts most, then weight and offset."""
        weight, offset = (abs(b - a) for a, b in (self.weight, self.margin_offset))
        return self.keep[0] != self.keep[1], max(weight, offset)


@dataclass(frozen=True)
class RowsDiff:
    """Counts over the pairs of both plans, matched by row id."""

    common: int
    only_before: int
    only_after: int
    #: the pairs of both plans stand in another order
    reordered: bool
    newly_dropped: int
    newly_kept: int
    weights: int
    largest_weight: float
    offsets: int
    largest_offset: float
    #: rows whose token masks, prompt or steering change
    readings: int
    reasons: int
    examples: tuple[RowChange, ...]
    #: pairs of both plans that differ in anything
    changed: int

    @property
    def any(self) -> bool:
        return bool(self.changed or self.only_before or self.only_after or self.reordered)


def compare_rows(before: pa.Table, after: pa.Table) -> RowsDiff:
    """Compare two tables of `plan.ROW_COLUMNS`. Row ids are unique in each; their order is that of the dataset."""
    old, new = _by_id(before), _by_id(after)
    common = [row_id for row_id in old if row_id in new]
    pairs = [_change(row_id, old[row_id], new[row_id]) for row_id in common if old[row_id] != new[row_id]]
    weights = [abs(c.weight[1] - c.weight[0]) for c in pairs]
    offsets = [abs(c.margin_offset[1] - c.margin_offset[0]) for c in pairs]
    return RowsDiff(
        common=len(common),
        only_before=len(old) - len(common),
        only_after=len(new) - len(common),
        reordered=common != [row_id for row_id in new if row_id in old],
        newly_dropped=sum(c.keep == (True, False) for c in pairs),
        newly_kept=sum(c.keep == (False, True) for c in pairs),
        weights=sum(w > 0 for w in weights),
        largest_weight=max(weights, default=0.0),
        offsets=sum(o > 0 for o in offsets),
        largest_offset=max(offsets, default=0.0),
        readings=sum(any(old[c.row_id][k] != new[c.row_id][k] for k in READINGS) for c in pairs),
        reasons=sum(old[c.row_id]["reason"] != new[c.row_id]["reason"] for c in pairs),
        examples=tuple(sorted(pairs, key=lambda c: (*(-x for x in c.size), c.row_id))[:EXAMPLES]),
        changed=len(pairs),
    )


def _by_id(rows: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["row_id"]: row for row in rows.to_pylist()}


def _change(row_id: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> RowChange:
    def both(column: str) -> tuple[Any, Any]:
        return old[column], new[column]

    return RowChange(row_id, both("keep"), both("weight"), both("margin_offset"), new["reason"])
