"""Evidence in memory for audits: contexts that prompts belong to, and behaviours that are rewarded only in some."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from tiltc.canonical import sha256_text
from tiltc.evidence import Manifest, Reconstruction, ShardPin
from tiltc.plan import DataPin, ModelPin, SaePin

Matrix = sparse.csr_matrix
SPANS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Piece:
    """A shard."""

    table: pa.Table
    matrices: dict[tuple[str, str], Matrix]

    def matrix(self, span: str, kind: str = "max") -> Matrix:
        return self.matrices[span, kind]

    def array(self, name: str) -> np.ndarray:
        span, part = name.split(".")
        matrix = self.matrices[span, "max" if part in ("indptr", "indices") else part]
        return {"indptr": matrix.indptr, "indices": matrix.indices}.get(part, matrix.data)


@dataclass(frozen=True)
class InMemory:
    """The reader's interface over arrays: (N, F) max activations and token counts by span."""

    ids: list[str]
    groups: list[str]
    texts: dict[str, list[str]]
    tokens: dict[str, np.ndarray]
    features: int
    matrices: dict[tuple[str, str], Matrix]
    ok: np.ndarray
    pieces: int = 2
    #: what the rows were made of, for tests
    truth: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def shards(self) -> tuple[Piece, ...]:
        return tuple(
            Piece(self.table.slice(a, b - a), {key: m[a:b] for key, m in self.matrices.items()})
            for a, b in self._cuts()
        )

    def _cuts(self) -> list[tuple[int, int]]:
        ends = np.linspace(0, len(self.ids), self.pieces + 1).astype(int).tolist()
        return list(itertools.pairwise(ends))

    @property
    def table(self) -> pa.Table:
        base: dict[str, Any] = {
            "row_id": self.ids,
            "group": self.groups,
            "status": ["ok" if o else "empty" for o in self.ok],
        }
        none = pa.array([[]] * len(self.ids), pa.list_(pa.int32()))
        return pa.table(
            base
            | self.texts
            | {f"{s}_tokens": pa.array(self.tokens[s], pa.int32()) for s in SPANS}
            | {f"{s}_cut": [False] * len(self.ids) for s in ("chosen", "rejected")}
            | {f"{s}_starts": none for s in SPANS}
        )

    @property
    def manifest(self) -> Manifest:
        return Manifest.model_construct(
            request={"data": "builtin:memory"},
            model=ModelPin(name="builtin:tiny", digest="m" * 64, layers=2, width=16),
            sae=SaePin(
                name="builtin:tiny-sae",
                digest="s" * 64,
                hook="blocks.1.hook_resid_pre",
                width=16,
                features=self.features,
            ),
            data=DataPin(name="builtin:memory", digest=sha256_text("\n".join(self.ids)), rows=len(self.ids)),
            template="t" * 64,
            max_length=256,
            dtype="float32",
            shards=tuple(ShardPin(name=f"{i:05d}", rows=b - a, files={}) for i, (a, b) in enumerate(self._cuts())),
            reconstruction=Reconstruction(fvu=0.15, l0=40.0, tokens=1000),
            digest=sha256_text("\n".join(self.ids)),
        )

    def matrix(self, span: str, kind: str = "max") -> Matrix:
        return self.matrices[span, kind]

    def residuals(self, side: str) -> np.ndarray:
        return np.random.default_rng(len(side)).normal(size=(len(self.ids), 16)).astype(np.float32)

    def contrast(self, key: str) -> None:
        return None

    def taken(self, order: np.ndarray) -> InMemory:
        """The same rows in another order."""
        pick = lambda values: [values[i] for i in order]  # noqa: E731
        return replace(
            self, ids=pick(self.ids), groups=pick(self.groups), texts={s: pick(t) for s, t in self.texts.items()},
            tokens={s: t[order] for s, t in self.tokens.items()},
            matrices={key: sparse.csr_matrix(m[order]) for key, m in self.matrices.items()}, ok=self.ok[order],
            truth={k: v[order] for k, v in self.truth.items()},
        )  # fmt: skip

    def exchanged(self, flip: np.ndarray) -> InMemory:
        """Chosen and rejected exchanged on the rows where `flip` holds."""
        keep, move = sparse.diags((~flip).astype(np.float32)), sparse.diags(flip.astype(np.float32))
        matrices = dict(self.matrices)
        for kind in ("max", "count"):
            a, b = self.matrices["chosen", kind], self.matrices["rejected", kind]
            matrices["chosen", kind] = _clean(keep @ a + move @ b)
            matrices["rejected", kind] = _clean(keep @ b + move @ a)
        a, b = self.texts["chosen"], self.texts["rejected"]
        texts = self.texts | {
            "chosen": [y if f else x for x, y, f in zip(a, b, flip, strict=True)],
            "rejected": [x if f else y for x, y, f in zip(a, b, flip, strict=True)],
        }
        c, r = self.tokens["chosen"], self.tokens["rejected"]
        tokens = self.tokens | {"chosen": np.where(flip, r, c), "rejected": np.where(flip, c, r)}
        return replace(self, matrices=matrices, texts=texts, tokens=tokens)


def _clean(matrix: Any) -> Matrix:
    out = sparse.csr_matrix(matrix)
    out.eliminate_zeros()
    out.sort_indices()
    return out


TOPICS = ("bread", "stars", "taxes", "horses")
#: features of a topic, in prompts and in responses; of a behaviour; and common ones, by what follows
TOPIC, BEHAVIOUR, COMMON = 16, 12, 40
BEHAVIOURS = {"list": "- one\n- two", "sorry": "I'm sorry."}


def planted(
    rows: int = 600,
    rates: dict[tuple[str, str], tuple[float, float]] | None = None,
    base: float = 0.25,
    repeats: int = 1,
    seed: int = 0,
) -> InMemory:
    """Rows of four topics. `rates` gives (topic, behaviour) -> rates in chosen and in rejected; elsewhere both are `base`.

    Args:
        repeats: rows that share a prompt.
    """
    rng = np.random.default_rng(seed)
    rates = rates or {}
    topic = np.repeat(rng.integers(0, len(TOPICS), rows // repeats), repeats)
    n = len(topic)
    asked = [f"Question {i // repeats} about {TOPICS[t]}?" for i, t in enumerate(topic)]
    tokens = {s: rng.integers(*((8, 20) if s == "prompt" else (30, 90)), n) for s in SPANS}
    features = len(TOPICS) * TOPIC + len(BEHAVIOURS) * BEHAVIOUR + COMMON
    shown: dict[str, np.ndarray] = {}
    for b in BEHAVIOURS:
        for i, side in enumerate(("chosen", "rejected")):
            rate = np.array([rates.get((TOPICS[t], b), (base, base))[i] for t in topic])
            shown[f"{side} {b}"] = rng.random(n) < rate
    matrices: dict[tuple[str, str], Matrix] = {}
    for span in SPANS:
        fires = _fires(rng, topic, {b: shown.get(f"{span} {b}", np.zeros(n, bool)) for b in BEHAVIOURS}, features)
        strength = np.where(fires, 1 + rng.random(fires.shape), 0).astype(np.float32)
        count = np.where(fires, rng.integers(2, 6, fires.shape), 0).astype(np.float32)
        matrices[span, "max"], matrices[span, "count"] = sparse.csr_matrix(strength), sparse.csr_matrix(count)
        matrices[span, "peak"] = sparse.csr_matrix(count)
    texts = {"prompt": asked} | {
        side: [_text(rng, TOPICS[t], [b for b in BEHAVIOURS if shown[f"{side} {b}"][i]]) for i, t in enumerate(topic)]
        for side in ("chosen", "rejected")
    }
    ids = [sha256_text(f"{seed} {i}")[:16] for i in range(n)]
    return InMemory(
        ids, [sha256_text(p)[:16] for p in asked], texts, tokens, features, matrices, np.ones(n, bool),
        truth={"topic": topic, **shown},
    )  # fmt: skip


def _fires(rng: np.random.Generator, topic: np.ndarray, shown: dict[str, np.ndarray], features: int) -> np.ndarray:
    """(n, F) which features fire: those of the topic mostly together, those of a behaviour when it is shown."""
    n, at = len(topic), 0
    fires = rng.random((n, features)) < 0.04
    for t in range(len(TOPICS)):
        fires[:, at : at + TOPIC] |= (topic == t)[:, None] & (rng.random((n, TOPIC)) < 0.7)
        at += TOPIC
    for present in shown.values():
        fires[:, at : at + BEHAVIOUR] |= present[:, None] & (rng.random((n, BEHAVIOUR)) < 0.8)
        at += BEHAVIOUR
    fires[:, at:] |= rng.random((n, features - at)) < 0.3
    return fires


def behaviour_features(name: str) -> set[int]:
    start = len(TOPICS) * TOPIC + list(BEHAVIOURS).index(name) * BEHAVIOUR
    return set(range(start, start + BEHAVIOUR))


def _text(rng: np.random.Generator, topic: str, shown: list[str]) -> str:
    words = " ".join(rng.choice(["warm", "round", "small", "green", "early", "quiet"], size=6))
    return f"On {topic}: {words}.\n\n" + "\n\n".join(BEHAVIOURS[b] for b in shown)
