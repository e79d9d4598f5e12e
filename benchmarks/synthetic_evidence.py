"""Write evidence of any size at realistic sparsity, without a model: for measuring what an audit costs.

    python -m benchmarks.synthetic_evidence OUT --pairs 260000 --features 65536

Firing probabilities have a heavy tail, as in evidence of real pairs (a few features on most texts, most on few), features
of a topic fire together, rows have one to three topics, lengths are log-normal. In the first topics a block of response
features leans to chosen: what is planted is written to `truth.json`. Shards are made one at a time from their number and the
seed, so the bytes are the same whatever else is asked for.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tiltc.canonical import canonical_json, digest, sha256_text
from tiltc.evidence import ROW_SCHEMA, Manifest, Reconstruction, ShardPin
from tiltc.plan import DataPin, ModelPin, SaePin
from tiltc_runtime.disk import mark_whole, save_residuals, save_spans, save_table, whole_shard
from tiltc_runtime.spans import Sparse

SHARD, WIDTH = 4096, 8
TOPICS, TOPIC_FEATURES, BLOCK_FEATURES = 400, 120, 40
#: distinct features of the background per span, at 65,536 features; fewer at fewer
BACKGROUND = {"prompt": 420, "chosen": 780, "rejected": 780}
#: topics in which a block of response features is more often in chosen, and how often on either side
PLANTED, RATES = 10, {"chosen": 0.6, "rejected": 0.2}
WORDS = [
    "river",
    "stone",
    "lamp",
    "garden",
    "copper",
    "violet",
    "market",
    "thunder",
    "paper",
    "salt",
    "window",
    "harbor",
]


class World:
    """What all shards share: how often each feature fires, and which features a topic has."""

    def __init__(self, features: int, seed: int) -> None:
        rng = np.random.default_rng([seed, features])
        self.features, self.seed = features, seed
        # Pareto weights: with a tail exponent of 0.9 a few hundred features make up half of what fires
        weight = rng.pareto(0.9, features) + 0.02
        ladder = np.cumsum(np.minimum(weight, np.quantile(weight, 0.999)))
        # a table of a million equal steps of probability: a look-up instead of a search
        steps = (np.arange(1 << 20) + 0.5) / (1 << 20)
        self.table = np.searchsorted(ladder / ladder[-1], steps).astype(np.int32)
        size = min(TOPIC_FEATURES, features // 8)
        self.topics = np.stack([rng.choice(features, size, replace=False) for _ in range(TOPICS)])
        block = min(BLOCK_FEATURES, features // 16)
        self.blocks = np.stack([rng.choice(features, block, replace=False) for _ in range(PLANTED)])

    def background(self, rng: np.random.Generator, rows: int, span: str) -> tuple[np.ndarray, np.ndarray]:
        """(row, feature) drawn with replacement: the distinct ones fire."""
        most = BACKGROUND[span] * min(1.0, (self.features / 65_536) ** 0.5)
        counts = rng.poisson(1.6 * most, rows)
        return np.repeat(np.arange(rows), counts), self.table[rng.integers(0, len(self.table), int(counts.sum()))]


def fires(world: World, rng: np.random.Generator, topics: np.ndarray, span: str) -> tuple[np.ndarray, np.ndarray]:
    """(row, feature) of all that fires on a span, ascending and distinct."""
    rows = len(topics)
    row, feature = world.background(rng, rows, span)
    parts = [row.astype(np.int64) * world.features + feature]
    for slot in range(topics.shape[1]):
        has = np.flatnonzero(topics[:, slot] >= 0)
        own = world.topics[topics[has, slot]]
        hit = rng.random(own.shape) < (0.5 if slot == 0 else 0.25)
        parts.append((has[:, None] * world.features + own)[hit])
    if span in RATES:
        has = np.flatnonzero((topics[:, 0] >= 0) & (topics[:, 0] < PLANTED))
        has = has[rng.random(len(has)) < RATES[span]]
        own = world.blocks[topics[has, 0]]
        parts.append((has[:, None] * world.features + own)[rng.random(own.shape) < 0.7])
    # sorting four-byte keys: np.unique goes by hash, and takes several times as long
    keys = np.sort(np.concatenate(parts).astype(np.uint32))
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])].astype(np.int64)
    return keys // world.features, keys % world.features


def span_arrays(world: World, rng: np.random.Generator, topics: np.ndarray, span: str, tokens: np.ndarray) -> Sparse:
    row, feature = fires(world, rng, topics, span)
    count = np.minimum(1 + rng.geometric(0.45, len(row)), tokens[row])
    most = np.minimum(4.3 + rng.exponential(3.0, len(row)), 60.0)
    peak = (rng.random(len(row)) * tokens[row]).astype(np.uint16)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(topics)))])
    return Sparse(pointers, feature, most, count, peak)


def write_shard(world: World, folder: Path, number: int, rows: int) -> ShardPin:
    done = whole_shard(folder)
    if done is not None:
        return done
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([world.seed, world.features, number])
    topics = rng.integers(0, TOPICS, (rows, 3))
    topics[:, 1:][rng.random((rows, 2)) < 0.5] = -1
    tokens = {
        s: np.clip(rng.lognormal(4.0 if s == "prompt" else 5.4, 0.5, rows), 8, 1024).astype(int) for s in BACKGROUND
    }
    for span in BACKGROUND:
        save_spans(folder, span, span_arrays(world, rng, topics, span, tokens[span]))
    save_residuals(folder, rng.standard_normal((rows, 2, WIDTH)).astype(np.float32))
    save_table(folder, [row_of(number * SHARD + i, topics[i], tokens, i) for i in range(rows)], ROW_SCHEMA)
    mark_whole(folder, folder.name, rows)
    pin = whole_shard(folder)
    assert pin is not None
    return pin


def row_of(index: int, topics: np.ndarray, tokens: dict[str, np.ndarray], i: int) -> dict[str, Any]:
    # one row in twenty repeats the prompt of the row before
    asked = f"{WORDS[topics[0] % len(WORDS)]} {topics[0]}: question {index - (index % 20 == 19)}"
    answer = [" ".join(WORDS[(index * step + k * k) % len(WORDS)] for k in range(6)) for step in (5, 7)]
    return {
        "row_id": sha256_text(f"row {index}")[:16], "group": sha256_text(asked)[:16], "status": "ok", "prompt": asked,
        "chosen": f"{answer[0]} {index}", "rejected": f"{answer[1]} {index}",
        **{f"{s}_tokens": int(tokens[s][i]) for s in tokens}, **{f"{s}_cut": False for s in ("chosen", "rejected")},
        **{f"{s}_starts": [] for s in tokens},
    }  # fmt: skip


def generate(out: Path, pairs: int, features: int, seed: int) -> Manifest:
    world = World(features, seed)
    pins: list[ShardPin] = []
    for number, start in enumerate(range(0, pairs, SHARD)):
        pins.append(write_shard(world, out / "shards" / f"{number:05d}", number, min(SHARD, pairs - start)))
    truth = {f"topic {t}": [int(f) for f in np.sort(world.blocks[t])] for t in range(PLANTED)}
    (out / "truth.json").write_text(canonical_json(truth), encoding="utf-8")
    name = f"synthetic-{pairs}x{features}-{seed}"
    manifest = Manifest(
        request={"data": f"local:{name}"},
        model=ModelPin(name="local:none", digest=sha256_text("no model"), layers=2, width=WIDTH),
        sae=SaePin(name="local:none", digest=sha256_text(name), hook="blocks.1.hook_resid_pre", width=WIDTH, features=features),
        data=DataPin(name=f"{name}.parquet", digest=sha256_text(name), rows=pairs),
        template="", max_length=1024, dtype="float32", shards=tuple(pins),
        reconstruction=Reconstruction(fvu=0.15, l0=50.0, tokens=pairs), digest="",
    )  # fmt: skip
    manifest = manifest.model_copy(update={"digest": digest(manifest)})
    (out / "manifest.json").write_text(canonical_json(manifest), encoding="utf-8")
    return manifest


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("out", type=Path)
    flags.add_argument("--pairs", type=int, default=2000)
    flags.add_argument("--features", type=int, default=65_536)
    flags.add_argument("--seed", type=int, default=0)
    args = flags.parse_args()
    began = time.perf_counter()
    generate(args.out, args.pairs, args.features, args.seed)
    size = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    seconds = time.perf_counter() - began
    print(f"{args.pairs} pairs in {seconds:.1f} s, {size / 1e9:.2f} GB, {args.pairs / seconds:.0f} pairs/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
