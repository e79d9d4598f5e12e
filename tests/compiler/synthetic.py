"""Evidence made in memory with planted concepts: what the compiler must find is known by construction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from tiltc.evidence import SPANS, Adapter, AttentionProbe, Manifest, Recipe, Reconstruction, SampledManifest
from tiltc.plan import DataPin, ModelPin, SaePin

#: concept text that the std detectors see, and the two features that fire on it
PLANTS: dict[str, tuple[str, tuple[int, int]]] = {
    "std.style.bold": ("This is a **key** point.", (3, 4)),
    "std.style.emoji": ("Nice 🎉", (7, 8)),
    "std.stance.apology": ("I'm sorry for the confusion.", (11, 12)),
    "std.stance.flattery": ("What a great question!", (15, 16)),
}


@dataclass(frozen=True)
class SyntheticContrast:
    """The reader's interface of a contrast set."""

    labels: np.ndarray
    activations: sparse.csr_matrix
    pooled: np.ndarray

    @property
    def table(self) -> pa.Table:
        return pa.table({"pair": [f"{i % (len(self.labels) // 2)}" for i in range(len(self.labels))]})

    def matrix(self, kind: str) -> sparse.csr_matrix:
        return self.activations

    def residuals(self) -> np.ndarray:
        return self.pooled


@dataclass(frozen=True)
class SyntheticEvidence:
    """The reader's interface over arrays in memory."""

    manifest: Manifest
    table: pa.Table
    ok: np.ndarray
    matrices: dict[str, sparse.csr_matrix]
    pooled: dict[str, np.ndarray]
    #: tool -> its token scores
    read: Any = field(default_factory=dict)
    #: request -> (n, 2) nats
    likelihoods: dict[str, np.ndarray] = field(default_factory=dict)
    #: the tensor of every attention probe that is asked for, None for evidence without any
    probe: np.ndarray | None = None
    #: the adapter of every recipe, None for evidence without any
    bend: Adapter | None = None
    #: recipe -> its manifest; digest -> the contrast set
    recipes: dict[str, SampledManifest] = field(default_factory=dict)
    contrasts: dict[str, SyntheticContrast] = field(default_factory=dict)

    def matrix(self, span: str, kind: str = "max") -> sparse.csr_matrix:
        return self.matrices.get(f"{span}.{kind}", self.matrices[span])

    def tokens(self, key: str) -> Any:
        return self.read.get(key)

    def residuals(self, side: str) -> np.ndarray:
        return self.pooled[side]

    def likelihood(self, key: str) -> np.ndarray | None:
        return self.likelihoods.get(key)

    def attention(self, key: str) -> AttentionProbe | None:
        return None if self.probe is None else AttentionProbe(self.probe, np.zeros(0), "0" * 64)

    def adapter(self, key: str) -> Adapter | None:
        """The adapter that every recipe gave."""
        return self.bend

    def contrast(self, key: str) -> SyntheticContrast | None:
        return self.contrasts.get(key)

    def sampled(self, key: str) -> SampledManifest | None:
        return self.recipes.get(key)


def evidence(
    pairs: int = 600,
    rates: dict[str, tuple[float, float]] | None = None,
    seed: int = 0,
    features: int = 64,
    fvu: float = 0.2,
    prompts: list[str] | None = None,
    firing: float = 0.25,
) -> SyntheticEvidence:
    """`rates` gives each planted concept's rate in chosen and in rejected; everything else is noise."""
    rates = {"std.style.bold": (0.5, 0.2)} if rates is None else rates
    rng = np.random.default_rng(seed)
    asked = prompts or [f"Question number {i}?" for i in range(pairs)]
    sides = {s: [_respond(rng, rates, i) for _ in range(pairs)] for i, s in enumerate(("chosen", "rejected"))}
    matrices = {s: _activations(rng, [w for _, w in v], features, firing) for s, v in sides.items()}
    matrices["prompt"] = _activations(rng, [set() for _ in range(pairs)], features, firing)
    pooled = {s: _residuals(rng, [w for _, w in v]) for s, v in sides.items()}
    texts = {s: [t for t, _ in v] for s, v in sides.items()}
    manifest = Manifest(
        request={"data": "synthetic"},
        model=ModelPin(name="tiny", digest="m" * 64, layers=2, width=16),
        sae=SaePin(name="tiny-sae", digest="s" * 64, hook="blocks.1.hook_resid_pre", width=16, features=features),
        data=DataPin(name="synthetic", digest="d" * 64, rows=pairs),
        template="t" * 64,
        max_length=1024,
        dtype="float32",
        shards=(),
        reconstruction=Reconstruction(fvu=fvu, l0=8.0, tokens=1000),
        digest=f"{seed:064d}",
    )
    return SyntheticEvidence(manifest, _table(asked, texts), np.ones(pairs, dtype=bool), matrices, pooled)


def with_answers(base: SyntheticEvidence, recipe: Recipe, concept: str, *, unfiltered: bool) -> SyntheticEvidence:
    """The same evidence with sampled answers, 40 a side, of which the positive ones show one of `PLANTS`."""
    rng = np.random.default_rng(8)
    wanted: list[set[str]] = [{concept}] * 40 + [set()] * 40
    labels = np.array([1] * 40 + [0] * 40, dtype=np.int8)
    pin = base.manifest
    made = SampledManifest(
        recipe=recipe, model=pin.model.digest, template=pin.template, dtype=pin.dtype, answers=80, positives=40,
        negatives=40, unfiltered=unfiltered, contrast="c" * 64, files={}, digest="",
    )  # fmt: skip
    contrast = SyntheticContrast(labels, _activations(rng, wanted, pin.sae.features, 0.25), _residuals(rng, wanted))
    return replace(base, recipes={recipe.key: made}, contrasts={made.contrast: contrast})


def swapped(base: SyntheticEvidence, seed: int) -> SyntheticEvidence:
    """The same pairs with chosen and rejected exchanged at random: no preference is left, whatever the texts hold."""
    flip = np.random.default_rng(seed).random(len(base.ok)) < 0.5
    keep = sparse.diags((~flip).astype(float)), sparse.diags(flip.astype(float))
    a, b = base.matrices["chosen"], base.matrices["rejected"]
    matrices = base.matrices | {
        "chosen": (keep[0] @ a + keep[1] @ b).tocsr(),
        "rejected": (keep[0] @ b + keep[1] @ a).tocsr(),
    }
    pick = lambda one, two: [y if f else x for x, y, f in zip(one, two, flip, strict=True)]  # noqa: E731
    texts = {s: base.table.column(s).to_pylist() for s in ("chosen", "rejected")}
    texts = {"chosen": pick(texts["chosen"], texts["rejected"]), "rejected": pick(texts["rejected"], texts["chosen"])}
    pooled = {
        "chosen": np.where(flip[:, None], base.pooled["rejected"], base.pooled["chosen"]),
        "rejected": np.where(flip[:, None], base.pooled["chosen"], base.pooled["rejected"]),
    }
    manifest = base.manifest.model_copy(update={"digest": f"{seed + 1:064d}"})
    return SyntheticEvidence(
        manifest, _table(base.table.column("prompt").to_pylist(), texts), base.ok, matrices, pooled
    )


def _respond(rng: np.random.Generator, rates: dict[str, tuple[float, float]], side: int) -> tuple[str, set[str]]:
    wanted = {c for c, r in rates.items() if rng.random() < r[side]}
    filler = " ".join(rng.choice(["water", "light", "music", "garden", "number", "river"], size=rng.integers(5, 12)))
    return " ".join([f"It is about {filler}.", *(PLANTS[c][0] for c in sorted(wanted))]), wanted


def _activations(rng: np.random.Generator, wanted: list[set[str]], features: int, firing: float) -> sparse.csr_matrix:
    noise = sparse.random(len(wanted), features, firing, "csc", np.float32, rng)
    columns = [noise[:, i] for i in range(features)]
    for concept, (_, ids) in PLANTS.items():
        present = np.array([concept in w for w in wanted])
        for feature in ids:
            hit = present & (rng.random(len(wanted)) < 0.95)
            columns[feature] = sparse.csc_matrix(np.where(hit, 2 + rng.random(len(wanted)), 0)[:, None])
    return sparse.hstack(columns).tocsr().astype(np.float32)


def _residuals(rng: np.random.Generator, wanted: list[set[str]]) -> np.ndarray:
    out = rng.normal(size=(len(wanted), 16))
    for axis, concept in enumerate(PLANTS):
        out[:, axis] += 4.0 * np.array([concept in w for w in wanted])
    return out.astype(np.float32)


def _table(prompts: list[str], texts: dict[str, list[str]]) -> pa.Table:
    count = len(prompts)
    tokens = {s: pa.array([len(t.split()) for t in texts[s]], pa.int32()) for s in texts}
    from tiltc.canonical import sha256_text

    return pa.table(
        {
            "row_id": [f"{i:016x}" for i in range(count)],
            "group": [sha256_text(p)[:16] for p in prompts],
            "status": ["ok"] * count,
            "prompt": prompts,
            "chosen": texts["chosen"],
            "rejected": texts["rejected"],
            "prompt_tokens": pa.array([5] * count, pa.int32()),
            "chosen_tokens": tokens["chosen"],
            "rejected_tokens": tokens["rejected"],
            "chosen_cut": [False] * count,
            "rejected_cut": [False] * count,
            **{f"{span}_starts": pa.array([[]] * count, pa.list_(pa.int32())) for span in SPANS},
        }
    )


def spec_text(signals: str, extra: str = "") -> str:
    return f"tiltc: 1\nname: test\n{extra}signals:\n{signals}"
