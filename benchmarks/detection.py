"""How well does an SAE group detect a concept on rows it was not fitted on? Beside it: direction, probe, bag of words.

    python benchmarks/detection.py [--per-concept 240] [--characters 2000] [--out FILE]

Reads the shared contrast pairs (two texts of a pair stay in one half), fits every tool on half A and prints the AUROC on
half B. Skips with a message where the shared data is absent (`TILTC_SHARED_DATA`, default `../shared/data`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from pathlib import Path

import numpy as np

#: std concept -> (file, concept in the file)
SETS: dict[str, tuple[str, str]] = {
    "std.style.bold": ("style_pairs_alpacaeval.jsonl", "bold"),
    "std.style.heading": ("style_pairs_alpacaeval.jsonl", "header"),
    "std.style.list": ("style_pairs_alpacaeval.jsonl", "list"),
    "std.style.table": ("style_pairs_alpacaeval.jsonl", "table"),
    "std.style.emoji": ("style_pairs_alpacaeval.jsonl", "emoji"),
    "std.style.bare-url": ("style_pairs_alpacaeval.jsonl", "url"),
    "std.style.code": ("style_pairs_alpacaeval.jsonl", "code"),
    "std.style.em-dash": ("style_pairs_alpacaeval.jsonl", "em_dash"),
    "std.style.horizontal-rule": ("style_pairs_alpacaeval.jsonl", "horizontal_rule"),
    "std.style.exclamation": ("style_pairs_alpacaeval.jsonl", "exclamation"),
    "std.stance.ai-disclaimer": ("style_pairs_alpacaeval.jsonl", "ai_disclaimer"),
    "std.stance.warm-opener": ("style_pairs_alpacaeval.jsonl", "warm_opener"),
    "std.stance.closing-offer": ("style_pairs_alpacaeval.jsonl", "closing_offer"),
    "std.safety.refusal (style pairs)": ("style_pairs_alpacaeval.jsonl", "refusal"),
    "std.safety.refusal (XSTest)": ("xstest_refusals.jsonl", ""),
    "std.stance.flattery (CAA sycophancy)": ("caa.jsonl", "sycophancy"),
}
#: concepts without a shared contrast set, labelled by their own detector on the texts above
BY_DETECTOR = ("std.stance.hedging", "std.stance.apology")


def rows_of(file: Path, concept: str, most: int, characters: int) -> list[dict[str, str]]:
    """At most `most` rows, whole pairs at a time, in a fixed random order.

    Pairs with a text of more than `characters` are left out: a label holds for a whole text, so none may be cut.
    """
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows = [r for r in rows if not concept or concept in r["concept"]]
    pairs: dict[str, list[dict[str, str]]] = {}
    for i, row in enumerate(rows):
        pairs.setdefault(row["pair"] or f"row-{i}", []).append(row)
    names = sorted(pairs)
    random.Random(0).shuffle(names)
    picked: list[dict[str, str]] = []
    for name in names:
        if len(picked) >= most:
            break
        if any(len(r["response"]) > characters for r in pairs[name]):
            continue
        picked += [{**r, "pair": name} for r in pairs[name] if r["response"]]
    return picked


def bag_of_words(texts: list[str], label: np.ndarray, half: np.ndarray) -> float:
    """The floor: logistic regression on word counts, fitted on half A, AUROC on half B."""
    from scipy.stats import rankdata

    from tiltc.fit import _logistic

    counts: list[dict[str, int]] = []
    for text in texts:
        words: dict[str, int] = {}
        for word in text.lower().split():
            words[word] = words.get(word, 0) + 1
        counts.append(words)
    frequent: dict[str, int] = {}
    for words, inside in zip(counts, half, strict=True):
        if inside:
            for word in words:
                frequent[word] = frequent.get(word, 0) + 1
    vocabulary = [w for w, n in sorted(frequent.items(), key=lambda kv: (-kv[1], kv[0])) if n >= 3][:1500]
    x = np.array([[np.log1p(words.get(w, 0)) for w in vocabulary] for words in counts])
    scores = (x[~half] - x[half].mean(0)) @ _logistic(x[half] - x[half].mean(0), label[half])
    held = label[~half]
    n, m = held.sum(), (~held).sum()
    return float((rankdata(scores)[held].sum() - n * (n + 1) / 2) / (n * m))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--per-concept", type=int, default=240)
    arguments.add_argument("--characters", type=int, default=2000, help="longest text that is read")
    arguments.add_argument("--out", type=Path)
    args = arguments.parse_args()
    shared = Path(os.environ.get("TILTC_SHARED_DATA", "../shared/data")) / "concepts"
    if not shared.is_dir():
        print(f"skipped: no contrast sets at {shared}", file=sys.stderr)
        return 0
    from tiltc.canonical import sha256_text
    from tiltc.detectors import present
    from tiltc.fit import Labelled
    from tiltc.stats import halves
    from tiltc.std import concepts
    from tiltc_runtime.activations import read_texts
    from tiltc_runtime.loading import load_model
    from tiltc_runtime.sae import load_sae

    model = load_model("builtin:smollm2-135m-instruct", layers=15)
    sae = load_sae("builtin:smollm2-135m-instruct-l15")
    results, seen = [], []
    for name, (file, concept) in SETS.items():
        rows = rows_of(shared / file, concept, args.per_concept, args.characters)
        reading = read_texts(model, sae, [(r["prompt"], r["response"]) for r in rows], max_length=2048)
        half = halves(np.array([sha256_text(r["pair"]) for r in rows]))
        label = np.array([bool(r["label"]) for r in rows])
        activations = reading.max.tocsc()
        seen.append((rows, activations, reading.residuals, half))
        results.append(
            measure(
                name, Labelled(activations, reading.residuals.astype(float), label, half), [r["response"] for r in rows]
            )
        )
    from scipy import sparse

    for name in BY_DETECTOR:
        rows = [r for part in seen for r in part[0]]
        concept = concepts(name.split(".")[1])[name]
        label = present(concept, [r["response"] for r in rows])
        joined = Labelled(
            sparse.vstack([p[1] for p in seen]).tocsc(),
            np.concatenate([p[2] for p in seen]).astype(float),
            label,
            np.concatenate([p[3] for p in seen]),
        )
        results.append(measure(f"{name} (own detector)", joined, [r["response"] for r in rows]))
    style = [r["sae"] for r in results if r["concept"].startswith("std.style")]
    print(f"median over std.style: {np.median(style):.4f}, lowest {min(style):.4f}")
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def measure(name, texts, responses) -> dict:
    from tiltc.fit import resolve_group

    found = resolve_group(texts, texts.activations)
    row: dict = {"concept": name, "rows": len(texts.label), "positives": int(texts.label.sum())}
    for d in found.detection if found else ():
        row |= {d.tool: d.auroc.value, f"{d.tool}_interval": [d.auroc.low, d.auroc.high]}
    row.setdefault("sae", 0.5)
    row["words"] = bag_of_words(responses, texts.label, texts.half)
    row["features"] = [m.feature for m in found.group.members] if found else []
    interval = row.get("sae_interval", [0, 0])
    print(
        f"{name:40s} n={row['rows']:5d} sae {row['sae']:.3f} ({interval[0]:.3f}-{interval[1]:.3f})  "
        f"direction {row.get('direction', 0.5):.3f}  probe {row.get('probe', 0.5):.3f}  words {row['words']:.3f}",
        flush=True,
    )
    return row


if __name__ == "__main__":
    raise SystemExit(main())
