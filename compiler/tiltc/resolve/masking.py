"""Token masks: which tokens carry a concept, and what every pair's gaps are without them (paper section 2.4)."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tiltc.detectors import has_detector
from tiltc.evidence import SIDES
from tiltc.groups import group_score
from tiltc.plan import Discovered
from tiltc.readout import detector_readout
from tiltc.resolve.fitting import labelled, presence
from tiltc.resolve.tools import GroupReadings, Readings, VectorReadings
from tiltc.resolve.world import World, gap
from tiltc.resolved import Masking, Measured, TokenMask
from tiltc.spec import Unit

if TYPE_CHECKING:
    from tiltc.parse import Definition
    from tiltc.plan import PlanConcept

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

#: rounding of a threshold: what lies on it must not fall on either side by the last bit
SLACK = 1e-6
_SENTENCE = re.compile(r"[.!?]+\s+|\n+")
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Wanted:
    """One signal's mask on its way: whose tokens, where they are read, in which responses, and how much around them.

    Attributes:
        responses: (2n,)
    """

    index: int
    readings: Readings
    threshold: float
    responses: Bools
    unit: Unit


def threshold_of(scores: Array, label: Bools) -> float:
    """The threshold (paper section 3.4) at which `score >= threshold` has the best F1; the highest of equals.

    It lies halfway to the next lower score: single tokens score less than the largest of their text.
    """
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(label[order])
    last = np.append(np.diff(scores[order]) != 0, True)
    f1 = np.where(last, 2 * hits / (np.arange(1, len(scores) + 1) + label.sum()), -1.0)
    ranked, best = scores[order], int(np.argmax(f1))
    following = ranked[best + 1] if best + 1 < len(ranked) else ranked[best]
    found = float(ranked[best] + following) / 2
    return found if following < ranked[best] else found - SLACK * abs(found)


def token_threshold(world: World, definition: Definition, readings: Readings) -> float | None:
    """The token score from which on a response shows the concept, fitted on the responses of half A.

    For features that were pinned or found by an audit there are no labels: any firing counts. None for a vector whose
    concept the data does not label.
    """
    if has_detector(definition.concept):
        half = world.both & np.concatenate([world.pairs.half, world.pairs.half])
        label = presence(world, definition)[half]
        most = np.zeros(len(half))
        some = np.diff(readings.scores.indptr) > 0
        most[some] = np.maximum.reduceat(readings.tokens, readings.scores.indptr[:-1][some])
        scores = np.where(np.isfinite(most[half]), most[half], most[np.isfinite(most)].min(initial=0.0))
        threshold = threshold_of(scores, label) if label.any() else -np.inf
        if isinstance(readings, GroupReadings):
            # a group that does not fire at all shows nothing, whatever would be right most often
            return max(threshold, SLACK)
        return threshold if threshold > scores.min(initial=0.0) else None
    if isinstance(readings, VectorReadings):
        return None
    contrast = labelled(world, definition)
    if contrast is None:
        return SLACK
    group = readings.group
    raw = group_score(group, contrast.activations) * group.sd + group.mean
    return max(threshold_of(raw[contrast.half], contrast.label[contrast.half]), SLACK)


def mask(
    world: World,
    wanted: Sequence[Wanted],
    concepts: Sequence[Measured],
    readings: Mapping[str, Readings],
    groups: Sequence[Discovered],
) -> Masking:
    """All masks together, and all gaps with them in place.

    Args:
        readings: concepts that are read token by token, whose gaps are exact. Of the others a feature counts as gone
            where its peak is masked and it fires on no more tokens than are masked: the peak and the count are all
            that the first pass kept.
    """
    layout = _Layout(world, wanted[0].readings)
    each = {w.index: layout.widened(_marked(w, layout), w.unit) for w in wanted}
    union = np.logical_or.reduce(list(each.values()))
    remaining = _Remaining(world, layout, union)
    after = {c.plan.name: gap(world, remaining.scores(c.plan, readings.get(c.plan.name))) for c in concepts}
    # a detector would find what is masked in a text of unknown offsets
    known = all(layout.starts[i] for i in np.flatnonzero(layout.count(union)))
    defined = {c.plan.name: gap(world, remaining.present(c.plan)) for c in concepts if known and c.defined is not None}
    discovered = [gap(world, group_score(g.group, remaining.features)) for g in groups]
    n = len(world.pairs.usable)
    tokens = layout.numbers(union)
    touched = np.array([bool(len(tokens[i]) or len(tokens[n + i])) for i in range(n)], dtype=bool)
    masks = tuple(
        TokenMask(w.index, w.threshold, w.unit, _row_touched(layout, each[w.index]), float(each[w.index].mean()))
        for w in wanted
    )
    columns = np.column_stack(discovered) if discovered else np.zeros((n, 0))
    return Masking(masks, tuple(tokens[:n]), tuple(tokens[n:]), touched, after, defined, columns)


def _row_touched(layout: _Layout, masked: Bools) -> Bools:
    some = layout.count(masked) > 0
    n = len(some) // 2
    return some[:n] | some[n:]


def _marked(wanted: Wanted, layout: _Layout) -> Bools:
    """(T,) tokens that reach the threshold, in the responses of the mask."""
    return (wanted.readings.tokens >= wanted.threshold) & np.repeat(wanted.responses, np.diff(layout.indptr))


@dataclass(frozen=True)
class _Layout:
    """Where the tokens of all responses lie: in the token scores, and in the texts."""

    world: World
    readings: Readings

    @property
    def indptr(self) -> Ints:
        return self.readings.scores.indptr

    def count(self, masked: Bools) -> Ints:
        """(2n,) masked tokens of each response."""
        return np.diff(np.concatenate([[0], np.cumsum(masked)])[self.indptr])

    def numbers(self, masked: Bools) -> list[Ints]:
        """Of each response, the numbers of its masked tokens."""
        return [np.flatnonzero(masked[a:b]) for a, b in pairwise(self.indptr)]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        return (*self.world.chosen, *self.world.rejected)

    @cached_property
    def starts(self) -> list[list[int]]:
        table = self.world.evidence.table
        return [row for side in SIDES for row in table.column(f"{side}_starts").to_pylist()]

    def widened(self, masked: Bools, unit: Unit) -> Bools:
        """The mask grown to whole words or sentences, where it is certain which characters a token covers."""
        if unit == "token":
            return masked
        out = masked.copy()
        for response in np.flatnonzero(self.count(masked)):
            at = slice(self.indptr[response], self.indptr[response + 1])
            if self.starts[response]:
                out[at] |= _grown(masked[at], self.texts[response], self.starts[response], unit)
        return out

    def without(self, response: int, masked: Bools) -> str:
        """A response's text with the masked tokens' characters taken out."""
        text, starts = self.texts[response], self.starts[response]
        inside = masked[self.indptr[response] : self.indptr[response + 1]]
        if not starts or not inside.any():
            return text
        edges = [*starts, len(text)]
        return text[: starts[0]] + "".join(
            text[a:b] for (a, b), hidden in zip(pairwise(edges), inside, strict=True) if not hidden
        )


def _grown(masked: Bools, text: str, starts: list[int], unit: Unit) -> Bools:
    """(t,) tokens that share a word, or a sentence, with a masked one."""
    # white space belongs to no unit: a token may begin with what lies before its word. A token of nothing else ends what
    # stands before it, as a line break ends a heading
    unit_of = np.full(len(text) + 1, -1)
    ends = [m.end() for m in _SENTENCE.finditer(text)]
    for i, word in enumerate(_WORD.finditer(text)):
        unit_of[word.start() : word.end()] = i if unit == "word" else bisect_right(ends, word.start())
    edges = [*starts, len(text)]
    units = [set(unit_of[a:b][unit_of[a:b] >= 0].tolist()) or _before(unit_of[:a]) for a, b in pairwise(edges)]
    hit = set().union(*(u for u, m in zip(units, masked, strict=True) if m))
    return np.array([bool(u & hit) for u in units], dtype=bool)


def _before(unit_of: Ints) -> set[int]:
    """The last unit, if there is any."""
    inside = np.flatnonzero(unit_of >= 0)
    return {int(unit_of[inside[-1]])} if len(inside) else set()


@dataclass(frozen=True)
class _Remaining:
    """The responses as they are read once masked tokens are gone."""

    world: World
    layout: _Layout
    masked: Bools

    @cached_property
    def features(self) -> sparse.csc_matrix:
        """(2n, F) max activations, without the features that the masks take."""
        evidence = self.world.evidence
        stacked = {
            kind: sparse.csr_matrix(sparse.vstack([evidence.matrix(s, kind) for s in SIDES], format="csr"))
            for kind in ("max", "count", "peak")
        }
        sizes = np.diff(stacked["max"].indptr)
        row = np.repeat(np.arange(len(sizes)), sizes)
        last = np.maximum(np.diff(self.layout.indptr) - 1, 0)[row]
        peak = self.layout.indptr[:-1][row] + np.minimum(stacked["peak"].data.astype(np.int64), last)
        hidden = self.masked[np.minimum(peak, len(self.masked) - 1)]
        gone = hidden & (stacked["count"].data <= self.layout.count(self.masked)[row])
        most = stacked["max"]
        most.data = np.where(gone, 0.0, most.data)
        return sparse.csc_matrix(most)

    @cached_property
    def remaining_texts(self) -> list[str]:
        return [self.layout.without(i, self.masked) for i in range(len(self.layout.texts))]

    def scores(self, concept: PlanConcept, readings: Readings | None) -> Array:
        """(2n,) standardised scores."""
        if readings is not None:
            return readings.responses(self.masked)
        if concept.readout == "sae" and concept.group is not None:
            return group_score(concept.group, self.features)
        return (self.present(concept) - concept.detector_mean) / concept.detector_sd

    def present(self, concept: PlanConcept) -> Array:
        """(2n,) what the concept's detector finds in what is left of the texts."""
        return detector_readout(concept.definition, self.remaining_texts)
