"""Write evidence of any size at realistic sparsity, without a model: for measuring what an audit or a compile costs.

    python -m benchmarks.synthetic_evidence OUT --pairs 260000 --features 65536 --seed 0

How often features fire, on how many tokens and how strongly follows evidence of real pairs (SmolLM2, 4,096 features):
firing rates are log-normal, wider for larger dictionaries, so that a few features fire on most texts and most on under
0.1%; counts and maxima follow the quantiles below. Features of a topic fire together, rows have one to three topics, lengths
are log-normal, one prompt in twenty is that of the row before.

Planted: each of the first `--plant` topics has a block of response features that fires together, in its topic at the two
rates of `--lean` (chosen, rejected), elsewhere at `ELSEWHERE` in both. `truth.json` names topic, features and rates.

Shards are made one at a time from their number and the seed: the same arguments give the same bytes, and a call that was
killed goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tiltc.canonical import canonical_json, digest, sha256_text
from tiltc.evidence import ROW_SCHEMA, SPANS, Manifest, Reconstruction, ShardPin
from tiltc.plan import DataPin, ModelPin, SaePin
from tiltc_runtime.disk import MARK, arrow_schema, mark_whole, save_residuals, save_spans, whole_shard
from tiltc_runtime.spans import Sparse

SHARD, WIDTH, LONGEST = 4096, 8, 1024
#: distinct features of a span beside those of topics and blocks, and tokens of a span of middle length
DISTINCT = {"prompt": 450, "chosen": 820, "rejected": 820}
TOKENS = {"prompt": 60, "chosen": 250, "rejected": 250}
#: topics, features of each, and how often one of them fires: in the row's first topic, in its others
TOPICS, TOPIC_FEATURES, FIRST, OTHERS = 400, 60, 0.5, 0.25
#: features of a planted block, how many of them fire when it does, and how often it does in other topics
BLOCK_FEATURES, BLOCK_FIRES, ELSEWHERE = 40, 0.7, 0.1
#: quantiles of what real features do where they fire: tokens per draw of the feature, and max activation
AT = (0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1)
COUNTS = (1, 1, 1, 1.4, 3, 5.5, 8, 17, 60, 120)
MAXIMA = (4.25, 4.36, 4.88, 6, 9.7, 19.1, 27, 45, 66.5, 104)
#: steps of the look-up tables: of which feature is drawn, and of quantiles
STEPS, LEVELS = 1 << 23, 1 << 16
WORDS = (
    *("river", "stone", "lamp", "garden", "copper", "violet", "market", "thunder", "paper", "salt", "window", "harbor"),
    *("meadow", "engine", "velvet", "ladder", "pollen", "glacier", "orchard", "saddle", "lantern", "pepper"),
    *("marble", "feather"),
)
ANSWERS = {"chosen": "this way", "rejected": "that way"}


@dataclass(frozen=True)
class Asked:
    """What decides every byte."""

    pairs: int
    features: int
    seed: int = 0
    plant: int = 10
    lean: tuple[float, float] = (0.6, 0.2)

    @property
    def request(self) -> dict[str, str | int | None]:
        lean = "-".join(map(str, self.lean))
        return {"data": f"synthetic:{self.features}-{self.seed}-{self.plant}-{lean}", "rows": self.pairs}


@dataclass(frozen=True)
class World:
    """What all shards share. `draws` leads from a uniform number to a feature, `amount` says how many a span draws."""

    asked: Asked
    draws: np.ndarray
    amount: dict[str, float]
    #: (topics, features of a topic), (planted, features of a block)
    topics: np.ndarray
    blocks: np.ndarray
    counts: np.ndarray
    maxima: np.ndarray


def world_of(asked: Asked) -> World:
    rng = np.random.default_rng([asked.seed, asked.features])
    # the spread of log rates: 1.5 at 4,096 features as measured, growing with the dictionary
    spread = max(1.0, 1.5 + 0.4 * np.log2(asked.features / 4096))
    rate = rng.lognormal(0.0, spread, asked.features)
    rate = np.minimum(rate, fitting(rate, DISTINCT["chosen"]))
    edges = np.rint(STEPS * np.cumsum(rate) / rate.sum()).astype(np.int64)
    size, block = (min(n, max(1, asked.features // 16)) for n in (TOPIC_FEATURES, BLOCK_FEATURES))
    return World(
        asked,
        np.repeat(np.arange(asked.features, dtype=np.uint32), np.diff(edges, prepend=0)),
        {span: rate.sum() * scale_for(rate, n) for span, n in DISTINCT.items()},
        np.stack([rng.choice(asked.features, size, replace=False) for _ in range(TOPICS)]),
        np.stack([rng.choice(asked.features, block, replace=False) for _ in range(asked.plant)]),
        np.rint(np.interp((np.arange(LEVELS) + 0.5) / LEVELS, AT, COUNTS)).astype(np.uint16),
        np.interp((np.arange(LEVELS) + 0.5) / LEVELS, AT, MAXIMA).astype(np.float16),
    )


def scale_for(rate: np.ndarray, distinct: float) -> float:
    """The factor on rates at which so many distinct features fire on average; at most 30% of them."""
    wanted, low, high = min(distinct, 0.3 * len(rate)), 0.0, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - np.exp(-rate * middle)).sum() < wanted else (low, middle)
    return low


def fitting(rate: np.ndarray, distinct: float) -> float:
    """The rate of a feature that fires on 96% of texts: more frequent ones would be drawn over and over."""
    return 3.2 / scale_for(rate, distinct)


def row_topics(rng: np.random.Generator, rows: int) -> np.ndarray:
    """(rows, 3) topics, -1 for none; some are asked about more often."""
    share = 1 / (np.arange(TOPICS) + 20)
    topics = rng.choice(TOPICS, (rows, 3), p=share / share.sum())
    topics[:, 1:][rng.random((rows, 2)) < 0.5] = -1
    return topics[asking(rows)]


def asking(rows: int) -> np.ndarray:
    """(rows,) the row whose prompt a row has: its own, or that of the row before."""
    return np.arange(rows) - (np.arange(rows) % 20 == 19)


def fires(
    world: World, rng: np.random.Generator, topics: np.ndarray, span: str, tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR of all that fires on a span: pointers (n + 1), features (nnz), and how often each was drawn (nnz)."""
    features = world.asked.features
    amount = world.amount[span] * (tokens / TOKENS[span]) ** 0.5
    row = np.repeat(np.arange(len(topics), dtype=np.uint32) * np.uint32(features), rng.poisson(amount))
    drawn = row + world.draws.take(rng.integers(0, len(world.draws), len(row), dtype=np.uint32))
    parts = [drawn, *(hits(rng, r, own, p, features) for r, own, p in boosted(world, rng, topics, span))]
    # sorting four-byte keys: np.unique goes by hash, and takes several times as long
    keys = np.sort(np.concatenate(parts))
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])).astype(np.int32)
    first = keys[starts]
    begins = np.arange(len(topics), dtype=np.uint32) * np.uint32(features)
    pointers = np.append(np.searchsorted(first, begins), len(first))
    first -= np.repeat(begins, np.diff(pointers))
    return pointers, first, np.diff(starts, append=np.int32(len(keys)))


def boosted(world: World, rng: np.random.Generator, topics: np.ndarray, span: str) -> list[Any]:
    """(rows, features of each, probability) of what topics and planted blocks add."""
    out: list[Any] = []
    for slot in range(topics.shape[1]):
        has = np.flatnonzero(topics[:, slot] >= 0)
        out.append((has, world.topics[topics[has, slot]], OTHERS if slot else FIRST))
    for number, block in enumerate(world.blocks) if span != "prompt" else ():
        rate = np.where(topics[:, 0] == number, world.asked.lean[span == "rejected"], ELSEWHERE)
        has = np.flatnonzero(rng.random(len(topics)) < rate)
        out.append((has, np.broadcast_to(block, (len(has), len(block))), BLOCK_FIRES))
    return out


def hits(rng: np.random.Generator, rows: np.ndarray, own: np.ndarray, p: float, features: int) -> np.ndarray:
    return (rows[:, None] * features + own)[rng.random(own.shape) < p].astype(np.uint32)


def span_arrays(world: World, rng: np.random.Generator, topics: np.ndarray, span: str, tokens: np.ndarray) -> Sparse:
    pointers, feature, drawn = fires(world, rng, topics, span, tokens)
    sink = int(span == "prompt")
    most = np.repeat((tokens - sink).astype(np.uint32), np.diff(pointers))
    level = rng.integers(0, LEVELS, (3, len(feature)), dtype=np.uint16)
    count = np.minimum(world.counts.take(level[0]) * drawn.astype(np.uint32), most).astype(np.uint16)
    peak = (sink + ((level[1] * most) >> np.uint32(16))).astype(np.uint16)
    return Sparse(pointers, feature, world.maxima.take(level[2]), count, peak)


def picked(sparse: Sparse, rows: np.ndarray) -> Sparse:
    sizes = np.diff(sparse.indptr)[rows]
    pointers = np.append(0, np.cumsum(sizes))
    at = np.arange(pointers[-1]) + np.repeat(sparse.indptr[rows] - pointers[:-1], sizes)
    return Sparse(pointers, sparse.indices[at], sparse.max[at], sparse.count[at], sparse.peak[at])


def write_shard(world: World, folder: Path, number: int, rows: int) -> ShardPin:
    if (done := whole_shard(folder)) is not None:
        return done
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([world.asked.seed, world.asked.features, number])
    topics = row_topics(rng, rows)
    tokens = {s: np.clip(rng.lognormal(np.log(n), 0.5, rows), 8, LONGEST).astype(np.int64) for s, n in TOKENS.items()}
    tokens["prompt"] = tokens["prompt"][asking(rows)]
    for span in SPANS:
        made = span_arrays(world, rng, topics, span, tokens[span])
        save_spans(folder, span, picked(made, asking(rows)) if span == "prompt" else made)
    save_residuals(folder, rng.standard_normal((rows, 2, WIDTH), dtype=np.float32))
    pq.write_table(texts(number * SHARD, topics, tokens), folder / "rows.parquet", compression="zstd")
    mark_whole(folder, folder.name, rows)
    return ShardPin.model_validate_json((folder / MARK).read_bytes())


def name_of(topic: int) -> str:
    return f"{WORDS[topic // len(WORDS)]} {WORDS[topic % len(WORDS)]}"


def texts(start: int, topics: np.ndarray, tokens: dict[str, np.ndarray]) -> pa.Table:
    """`ROW_SCHEMA`; a prompt names the row's topics, a repeated prompt is that of the row before."""
    n = len(topics)
    about = [" and ".join(name_of(t) for t in row if t >= 0) for row in topics.tolist()]
    prompt = [f"About {a}: question {start + i}?" for i, a in zip(asking(n), about, strict=True)]
    said = {side: [f"{a}, {w} {start + i}." for i, a in enumerate(about)] for side, w in ANSWERS.items()}
    columns: dict[str, Any] = {
        "row_id": [sha256_text(f"row {start + i}")[:16] for i in range(n)],
        "group": [sha256_text(p)[:16] for p in prompt],
        "status": ["ok"] * n,
        "prompt": prompt,
        **said,
        **{f"{span}_tokens": tokens[span] for span in SPANS},
        **{f"{side}_cut": tokens[side] == LONGEST for side in ANSWERS},
        **{f"{span}_starts": [[]] * n for span in SPANS},
    }
    return pa.table(columns, schema=arrow_schema(ROW_SCHEMA))


def generate(out: Path, asked: Asked) -> Manifest:
    """Write the folder; goes on with one that was begun by the same call.

    Raises:
        ValueError: the folder was begun with other arguments.
    """
    begun, request = out / "request.json", canonical_json(asked.request)
    if begun.is_file() and begun.read_text(encoding="utf-8") != request:
        raise ValueError(f"{out} was begun as {json.loads(begun.read_bytes())}")
    out.mkdir(parents=True, exist_ok=True)
    begun.write_text(request, encoding="utf-8")
    world = world_of(asked)
    starts = enumerate(range(0, asked.pairs, SHARD))
    pins = [write_shard(world, out / "shards" / f"{n:05d}", n, min(SHARD, asked.pairs - at)) for n, at in starts]
    (out / "truth.json").write_text(canonical_json(truth(world)), encoding="utf-8")
    made = manifest(asked, pins)
    (out / "manifest.json").write_text(canonical_json(made), encoding="utf-8")
    return made


def truth(world: World) -> list[dict[str, Any]]:
    chosen, rejected = world.asked.lean
    return [
        {"topic": name_of(t), "features": sorted(map(int, block)), "chosen": chosen, "rejected": rejected}
        for t, block in enumerate(world.blocks)
    ]


def manifest(asked: Asked, pins: list[ShardPin]) -> Manifest:
    name = str(asked.request["data"])
    sae = SaePin(
        name=name, digest=sha256_text(name), hook="blocks.1.hook_resid_pre", width=WIDTH, features=asked.features
    )
    bare = Manifest(
        request=asked.request,
        model=ModelPin(name=name, digest=sha256_text("no model"), layers=2, width=WIDTH),
        sae=sae,
        data=DataPin(name=name, digest=sha256_text(f"{name} {asked.pairs}"), rows=asked.pairs),
        template="",
        max_length=LONGEST,
        dtype="float32",
        shards=tuple(pins),
        reconstruction=Reconstruction(fvu=0.18, l0=50.0, tokens=512 * len(pins)),
        digest="",
    )
    return bare.model_copy(update={"digest": digest(bare)})


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("out", type=Path)
    flags.add_argument("--pairs", type=int, default=2000)
    flags.add_argument("--features", type=int, default=65_536, help="at most a million (default: %(default)s)")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--plant", type=int, default=10, help="topics with a planted block (default: %(default)s)")
    flags.add_argument("--lean", type=float, nargs=2, default=(0.6, 0.2), metavar=("CHOSEN", "REJECTED"))
    args = flags.parse_args()
    began = time.perf_counter()
    generate(args.out, Asked(args.pairs, args.features, args.seed, args.plant, tuple(args.lean)))
    seconds = time.perf_counter() - began
    size = sum(f.stat().st_size for f in args.out.rglob("*") if f.is_file())
    print(f"{args.pairs} pairs in {seconds:.1f} s, {size / 1e9:.2f} GB, {args.pairs / seconds:.0f} pairs/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
