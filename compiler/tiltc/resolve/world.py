"""The evidence as the fitting code wants it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from scipy import sparse

from tiltc.derived import Derived
from tiltc.groups import discover, width
from tiltc.plan import Discovered
from tiltc.readout import detector_readout
from tiltc.resolved import Pairs
from tiltc.stats import clusters, halves

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.parse import Definition

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """The evidence as the fitting code wants it."""

    evidence: Evidence
    derived: Derived
    pairs: Pairs
    responses: sparse.csc_matrix
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    prompts: tuple[str, ...]
    residuals: Array

    @property
    def both(self) -> npt.NDArray[np.bool_]:
        return np.concatenate([self.pairs.usable, self.pairs.usable])


def read_world(evidence: Evidence, derived: Derived) -> World:
    table = evidence.table
    column = {name: table.column(name).to_pylist() for name in ("row_id", "group", "prompt", "chosen", "rejected")}
    tokens = {s: np.asarray(table.column(f"{s}_tokens"), dtype=np.float64) for s in ("chosen", "rejected")}
    cut = np.asarray(table.column("chosen_cut")) | np.asarray(table.column("rejected_cut"))
    usable = _compared(np.asarray(evidence.ok, dtype=bool), table.column("status").to_pylist())
    groups = np.array(column["group"])
    length_gap = np.where(usable, np.log((tokens["chosen"] + 1) / (tokens["rejected"] + 1)), 0.0)
    pairs = Pairs(
        row_ids=tuple(column["row_id"]),
        usable=usable,
        cluster=clusters(groups),
        half=halves(groups),
        length_gap=length_gap,
        cut_share=float(cut[usable].mean()) if usable.any() else 0.0,
    )
    stacked = sparse.csc_matrix(sparse.vstack([evidence.matrix("chosen", "max"), evidence.matrix("rejected", "max")]))
    residuals = np.concatenate([evidence.residuals("chosen"), evidence.residuals("rejected")]).astype(np.float64)
    texts = {k: tuple(column[k]) for k in ("chosen", "rejected", "prompt")}
    return World(evidence, derived, pairs, stacked, texts["chosen"], texts["rejected"], texts["prompt"], residuals)


def _compared(ok: npt.NDArray[np.bool_], statuses: list[str]) -> npt.NDArray[np.bool_]:
    """(n,) rows that have a gap: pairs, and the responses of data that calls some of its responses unwanted.

    Of these the side that is not there scores nothing, so that their mean gap is what KTO's first step would teach.
    """
    if "unwanted" not in statuses:
        return ok
    return ok | np.array([status in ("single", "unwanted") for status in statuses])


class _Found(BaseModel):
    groups: tuple[Discovered, ...]


def discovered_groups(world: World) -> tuple[Discovered, ...]:
    if not width(world.responses):
        return ()
    rows = world.responses[world.both]
    return world.derived.model("discovered", _Found, lambda: _Found(groups=discover(rows))).groups


def gap(world: World, scores: Array) -> Array:
    n = len(world.pairs.usable)
    return np.where(world.pairs.usable, scores[:n] - scores[n:], 0.0)


def detector_scores(world: World, definition: Definition) -> Array:
    concept = definition.concept
    return world.derived.array(
        ["detector", concept.meaning], lambda: detector_readout(concept, [*world.chosen, *world.rejected])
    )
