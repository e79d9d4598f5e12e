"""Clusters and contexts as a reader meets them: a name made from the data, examples, and a place on the map."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
from scipy import sparse

from tiltc.audit.assemble import Named
from tiltc.audit.concepts import ConceptGaps
from tiltc.audit.feature_view import FeatureView
from tiltc.audit.intervals import brief
from tiltc.audit.layout2d import places
from tiltc.audit.model import Context, Hypothesis, Label, Nearest, ResponseCluster, Snippet, View
from tiltc.audit.names import Vocabulary, distinctive, library_presence, make_label, nearest, snippets
from tiltc.audit.prompt_view import PromptView
from tiltc.audit.rows import SIDES, Array, Bools, Floats, Ints, Rows, blocks, grouped, membership, share_of_tokens
from tiltc.figures import printable

if TYPE_CHECKING:
    from tiltc.audit.examples import Album
    from tiltc.evidence import Evidence

#: rows whose texts are read for names, the share of them in which a cluster counts as firing, prompts shown
READ, LOUDEST, SHOWN = 3000, 0.1, 5


@dataclass(frozen=True)
class Reader:
    """The texts that names are made from: a sample of g rows, their prompts and both responses."""

    evidence: Evidence
    rows: Rows
    gaps: ConceptGaps
    labels: Mapping[int, str]
    album: Album

    @cached_property
    def sample(self) -> Ints:
        """(g,) places among the usable rows."""
        return np.flatnonzero(self.rows.sample(READ))

    @cached_property
    def place(self) -> Ints:
        """(n,) place in the sample of every usable row; -1 where it is not read."""
        out = np.full(self.rows.n, -1, np.int64)
        out[self.sample] = np.arange(len(self.sample))
        return out

    def texts(self, column: str) -> list[str]:
        return cast("list[str]", self.evidence.table.column(column).take(self.rows.origin[self.sample]).to_pylist())

    @cached_property
    def answers(self) -> Vocabulary:
        return Vocabulary([*self.texts("chosen"), *self.texts("rejected")])

    @cached_property
    def asked(self) -> Vocabulary:
        return Vocabulary(self.texts("prompt"))

    def activity(self, groups: Sequence[Ints]) -> Floats:
        """(2 g, m) share of tokens, summed over a group's features: chosen, then rejected responses."""
        member = membership(list(groups), self.evidence.manifest.sae.features)
        at = self.place
        out = np.zeros((2 * len(self.sample), len(groups)), np.float32)
        for block in blocks(self.evidence, self.rows):
            inside = np.flatnonzero(at[block.to] >= 0)
            for i, (side, _) in enumerate(SIDES):
                tokens = self.rows.tokens[side][block.to[inside]]
                share = share_of_tokens(sparse.csr_matrix(block.matrix(side, "count")[inside]), tokens)
                out[i * len(self.sample) + at[block.to[inside]]] = grouped(share, member)
        return out

    def presence(self) -> dict[str, Bools]:
        """Library concepts in the read responses; they were read off more rows, of which these are some."""
        # both samples are evenly spaced, and the larger one need not hold the smaller
        names = self.gaps.presence
        if int(self.gaps.sample.sum()) == self.rows.n:
            two = np.concatenate([self.sample, self.rows.n + self.sample])
            return {name: shown[two] for name, shown in names.items()}
        read = {name: self.gaps.definitions[name] for name in names}
        return library_presence(read, [*self.texts("chosen"), *self.texts("rejected")], "response")

    def topics(self) -> dict[str, Bools]:
        """Library concepts that read prompts, in the read prompts."""
        return library_presence(self.gaps.definitions, self.texts("prompt"), "prompt")


def loudest(activity: Floats) -> sparse.csr_matrix:
    """(m, docs) the tenth of the texts in which each cluster is most active, as far as it is active there at all."""
    docs, m = activity.shape
    most = max(1, round(LOUDEST * docs))
    order = np.argsort(-activity, axis=0, kind="stable")[:most]
    group = np.repeat(np.arange(m)[None], most, axis=0)
    fires = activity[order, group] > 0
    return sparse.csr_matrix((np.ones(int(fires.sum())), (group[fires], order[fires])), shape=(m, docs))


def responses(
    reader: Reader, features: FeatureView, prompts: PromptView, named: Mapping[str, Named], told: Sequence[Hypothesis]
) -> tuple[ResponseCluster, ...]:
    """The clusters that a reported hypothesis names."""
    wanted = {h.response for h in told}
    profiles: dict[View, Floats] = {"feature": features.s.T, "prompt": prompts.u.T}
    out: list[ResponseCluster] = []
    for view, names in named.items():
        kept = [i for i, key in enumerate(names.response) if key in wanted]
        groups = [names.features[i] for i in kept]
        if not groups:
            continue
        activity = reader.activity(groups)
        labels = response_labels(reader, groups, activity)
        xy = places(_thinned(profiles[cast("View", view)][kept]))
        half = len(activity) // 2
        shares = [(activity[at] > 0).mean(0) for at in (slice(half), slice(half, None))]
        for j, i in enumerate(kept):
            out.append(
                ResponseCluster(
                    id=names.response[i], view=cast("View", view), features=tuple(int(f) for f in groups[j]),
                    label=labels[j], x=float(xy[j, 0]), y=float(xy[j, 1]),
                    chosen_share=brief(shares[0][j]), rejected_share=brief(shares[1][j]),
                )
            )  # fmt: skip
    return tuple(out)


def response_labels(reader: Reader, groups: Sequence[Ints], activity: Floats) -> list[Label]:
    loud = loudest(activity)
    terms = distinctive(reader.answers, loud)
    near = nearest(activity, reader.presence())
    return [
        make_label(terms[j], near[j], _imported(reader, g), _snippets(reader, g, activity[:, j]))
        for j, g in enumerate(groups)
    ]


def _imported(reader: Reader, group: Ints) -> tuple[str, ...]:
    return tuple(reader.labels[int(f)] for f in group if int(f) in reader.labels)[:SHOWN]


def _snippets(reader: Reader, group: Ints, activity: Floats) -> tuple[Snippet, ...]:
    """Where the group peaks in the texts in which it is most active."""
    found: list[tuple[str, int, int]] = []
    half = len(activity) // 2
    for doc in np.argsort(-activity, kind="stable")[: 2 * SHOWN]:
        if activity[doc] <= 0:
            break
        side = "chosen" if doc < half else "rejected"
        row = int(reader.rows.origin[reader.sample[doc % half]])
        marks = reader.album.marks(row, side, group, most=1)
        text = str(reader.evidence.table.column(side)[row].as_py())
        found += [(text, *mark) for mark in marks]
    return snippets(found)


def contexts(
    reader: Reader, features: FeatureView, prompts: PromptView, named: Mapping[str, Named], told: Sequence[Hypothesis]
) -> tuple[Context, ...]:
    """The contexts that a reported hypothesis names."""
    wanted = {h.context for h in told}
    member = {"feature": _members(features.label, len(features.clustering.centroids)), "prompt": prompts.selected}
    closeness: dict[str, list[Array]] = {
        "feature": [_similarity(features, k) for k in range(len(features.clustering.centroids))],
        "prompt": [prompts.c[:, k].astype(np.float64) for k in range(len(prompts.prompts))],
    }
    profiles = {"feature": features.clustering.centroids, "prompt": prompts.c.T}
    out: list[Context] = []
    for view, names in named.items():
        kept = [i for i, key in enumerate(names.context) if key in wanted]
        if not kept:
            continue
        rows = [member[view][i] for i in kept]
        labels = context_labels(reader, rows, view)
        xy = places(_thinned(profiles[view][kept]))
        for j, i in enumerate(kept):
            best = rows[j][np.argsort(-closeness[view][i][rows[j]], kind="stable")]
            group = prompts.prompts[i] if view == "prompt" else np.zeros(0, np.int64)
            out.append(
                Context(
                    id=names.context[i], view=cast("View", view), features=tuple(int(f) for f in group),
                    rows=len(rows[j]), label=labels[j], x=float(xy[j, 0]), y=float(xy[j, 1]),
                    prompts=_prompts(reader, best),
                )
            )  # fmt: skip
    return tuple(out)


def _members(label: Ints, k: int) -> list[Ints]:
    order = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[order], np.arange(k + 1))
    return [order[a:b] for a, b in itertools.pairwise(ends)]


def _similarity(view: FeatureView, k: int) -> Array:
    out = np.zeros(len(view.label))
    out[view.active] = np.where(view.clustering.label == k, view.clustering.similarity, 0.0)
    return out


def context_labels(reader: Reader, rows: Sequence[Ints], view: str) -> list[Label]:
    """Contexts of prompts are named by their prompts; those of responses, which both responses make, by the responses."""
    docs = [at[at >= 0] for at in (reader.place[r] for r in rows)]
    where = (np.repeat(np.arange(len(docs)), [len(d) for d in docs]), np.concatenate(docs))
    inside = sparse.csr_matrix((np.ones(len(where[0])), where), shape=(len(rows), len(reader.sample)))
    if view == "prompt":
        terms = distinctive(reader.asked, inside)
    else:
        terms = distinctive(reader.answers, sparse.csr_matrix(sparse.hstack([inside, inside])))
    near: list[tuple[Nearest, ...]] = nearest(inside.toarray().T, reader.topics())
    return [make_label(terms[j], near[j], (), ()) for j in range(len(rows))]


def _prompts(reader: Reader, best: Ints) -> tuple[str, ...]:
    column = reader.evidence.table.column("prompt")
    seen: dict[str, None] = {}
    for row in best[: 4 * SHOWN]:
        text = printable(" ".join(str(column[int(reader.rows.origin[row])].as_py()).split()))[:300]
        seen.setdefault(text, None)
    return tuple(seen)[:SHOWN]


def _thinned(profiles: np.ndarray, most: int = 4000) -> np.ndarray:
    """Every so many columns: a map needs no more."""
    return profiles[:, :: max(1, profiles.shape[1] // most)]
