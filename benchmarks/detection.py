"""How well does each tool detect a concept on texts it was not fitted on? With a bag of words as the floor.

    python -m benchmarks.detection [--per-concept 160] [--characters 1600] [--out FILE]

Reads the shared contrast sets (two texts of a pair stay in one half), fits every tool on half A and prints AUROC with its
95% interval on half B, as a Markdown table. A vector's score of a text is the largest projection of its tokens, as a spec's
readout has it; `--out` also has the mean over tokens, on which vectors are fitted. Skips with a message where the shared data
is absent (`TILTC_SHARED_DATA`, default `../shared/data`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STYLE, CAA, PERSONA = "style_pairs_alpacaeval.jsonl", "caa.jsonl", "anthropic_persona.jsonl"
EMOTION, SCENARIO = "goemotions.jsonl", "repe_emotion_scenarios.jsonl"
#: family -> sets: (name, file, concept in the file)
FAMILIES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "style": (
        ("std.style.bold", STYLE, "bold"),
        ("std.style.heading", STYLE, "header"),
        ("std.style.list", STYLE, "list"),
        ("std.style.table", STYLE, "table"),
        ("std.style.emoji", STYLE, "emoji"),
        ("std.style.bare-url", STYLE, "url"),
        ("std.style.code", STYLE, "code"),
        ("std.style.em-dash", STYLE, "em_dash"),
        ("std.style.horizontal-rule", STYLE, "horizontal_rule"),
        ("std.style.exclamation", STYLE, "exclamation"),
    ),
    "stance": (
        ("std.stance.ai-disclaimer", STYLE, "ai_disclaimer"),
        ("std.stance.warm-opener", STYLE, "warm_opener"),
        ("std.stance.closing-offer", STYLE, "closing_offer"),
    ),
    "refusal": (
        ("refusal (style pairs)", STYLE, "refusal"),
        ("refusal (XSTest)", "xstest_refusals.jsonl", ""),
        ("refusal (CAA)", CAA, "caa/refusal"),
    ),
    "sycophancy": (("sycophancy (CAA)", CAA, "caa/sycophancy"),),
    "emotion": tuple(
        [(f"{name} (scenarios)", SCENARIO, f"scenario/{name}") for name in ("anger", "fear", "happiness", "sadness")]
        + [
            (f"{name} (GoEmotions)", EMOTION, f"emotion/{name}")
            for name in ("admiration", "anger", "gratitude", "sadness")
        ]
    ),
    "verbosity": (
        ("verbose by prompt", "prompted_verbosity.jsonl", ""),
        ("padding", "judicator_manipulations.jsonl", "padding"),
    ),
    "persona": tuple(
        (name, PERSONA, f"persona/{name}")
        for name in ("agreeableness", "conscientiousness", "extraversion", "neuroticism", "openness", "narcissism")
    ),
}
#: concepts without a shared contrast set, labelled by their own detector on the texts of the first three families
BY_DETECTOR = ("std.stance.hedging", "std.stance.apology")
VECTORS = ("direction", "probe", "probe-pairwise")
TOOLS = ("sae", *VECTORS, "attention", "words")


@dataclass(frozen=True)
class Read:
    """Texts with everything that the tools are fitted to."""

    texts: Any
    #: (N, d) residuals of all tokens, and the tokens of each text
    tokens: Any
    sizes: list[int]
    responses: list[str]


def rows_of(file: Path, concept: str, most: int, characters: int) -> list[dict[str, Any]]:
    """At most `most` rows, whole pairs at a time, in a fixed random order.

    Pairs with a text of more than `characters` are left out: a label holds for a whole text, so none may be cut.
    """
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows = [r for r in rows if not concept or concept == r["concept"] or concept == r["concept"].rpartition("/")[2]]
    pairs: dict[str, list[dict[str, Any]]] = {}
    for i, row in enumerate(rows):
        pairs.setdefault(row["pair"] or f"row-{i}", []).append(row)
    names = sorted(pairs)
    random.Random(0).shuffle(names)
    picked: list[dict[str, Any]] = []
    for name in names:
        if len(picked) >= most:
            break
        if any(len(r["response"]) > characters for r in pairs[name]):
            continue
        picked += [{**r, "pair": name} for r in pairs[name] if r["response"].strip()]
    return picked


def read(model: Any, sae: Any, rows: list[dict[str, Any]]) -> Read:
    """One pass over the texts: SAE features, mean residuals, and the residual of every response token."""
    from tiltc.canonical import sha256_text
    from tiltc.fit import Labelled
    from tiltc.stats import halves
    from tiltc_runtime.activations import Reader
    from tiltc_runtime.probes import Kept
    from tiltc_runtime.tokens import encode_response

    encoded = [encode_response(model.tokenizer, row["prompt"], row["response"], 2048) for row in rows]
    rows = [row for row, e in zip(rows, encoded, strict=True) if e.responses and e.responses[0]]
    items = [(e.prompt, (e.responses[0],)) for e in encoded if e.responses and e.responses[0]]
    kept = Kept(items, sae.config.d_in)
    reading = Reader(model, sae).read(items, kept)
    half = halves(np.array([sha256_text(row["pair"]) for row in rows]))
    label = np.array([bool(row["label"]) for row in rows])
    activations = reading.responses.matrix(reading.responses.max, sae.config.d_sae).tocsc()
    texts = Labelled(activations, reading.residuals.astype(float), label, half)
    return Read(texts, kept.residuals, kept.sizes, [row["response"] for row in rows])


def measure(read: Read) -> dict[str, Any]:
    """AUROC (value, low, high) of every tool on half B."""
    from tiltc.fit import resolve_group, vector

    texts, out = read.texts, {}
    found = resolve_group(texts, texts.activations)
    for detection in found.detection if found else ():
        if detection.tool == "sae":
            out["sae"] = (detection.auroc.value, detection.auroc.low, detection.auroc.high)
    out.setdefault("sae", (0.5, 0.0, 1.0))
    for tool in VECTORS:
        values = vector(texts, tool)
        out[f"{tool}, mean"] = area(texts.residuals @ values, texts)
        out[tool] = area(largest(read, values), texts)
    out["attention"] = area(attention(read), texts)
    out["words"] = area(bag_of_words(read.responses, texts.label, texts.half), texts)
    return out | {"texts": len(texts.label), "positives": int(texts.label.sum())}


def area(scores: np.ndarray, texts: Any) -> tuple[float, float, float]:
    from tiltc.stats import auroc

    found = auroc(scores[~texts.half], texts.label[~texts.half])
    return found.value, found.low, found.high


def largest(read: Read, vector: np.ndarray) -> np.ndarray:
    """(n,) the largest projection of a text's tokens (paper section 2.2)."""
    projected = read.tokens.numpy() @ np.asarray(vector, dtype=np.float32)
    return np.array([part.max() for part in np.split(projected, np.cumsum(read.sizes)[:-1])])


def attention(read: Read) -> np.ndarray:
    """(n,) the largest logit of a text's tokens, of a probe fitted on half A."""
    import torch

    from tiltc.evidence import ProbeRecipe
    from tiltc_runtime.attention import fit_probe, token_reads

    parts = read.tokens.split(read.sizes)
    inside = [i for i in range(len(parts)) if read.texts.half[i]]
    recipe = ProbeRecipe(source="", fit=())
    tensor, _ = fit_probe(
        torch.cat([parts[i] for i in inside]),
        [read.sizes[i] for i in inside],
        [bool(read.texts.label[i]) for i in inside],
        recipe,
    )
    logits = token_reads(tensor)
    return np.array([float(logits(part).max()) for part in parts])


def bag_of_words(responses: list[str], label: np.ndarray, half: np.ndarray) -> np.ndarray:
    """The floor: scores (n,) of a logistic regression on word counts, fitted on half A."""
    from tiltc.fit import _logistic

    counts: list[dict[str, int]] = []
    for text in responses:
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
    return (x - x[half].mean(0)) @ _logistic(x[half] - x[half].mean(0), label[half])


def joined(parts: list[Read], label: np.ndarray) -> Read:
    import torch
    from scipy import sparse

    from tiltc.fit import Labelled

    texts = Labelled(
        sparse.vstack([p.texts.activations for p in parts]).tocsc(),
        np.concatenate([p.texts.residuals for p in parts]),
        label,
        np.concatenate([p.texts.half for p in parts]),
    )
    tokens = torch.cat([p.tokens for p in parts])
    return Read(texts, tokens, [n for p in parts for n in p.sizes], [r for p in parts for r in p.responses])


def line(name: str, row: dict[str, Any]) -> str:
    return f"| {name} | {row['texts']} | {' | '.join(cell(row[tool]) for tool in TOOLS)} |"


def cell(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.3f} ({found[1]:.2f} to {found[2]:.2f})"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--per-concept", type=int, default=160)
    arguments.add_argument("--characters", type=int, default=1600, help="longest text that is read")
    arguments.add_argument("--families", default=",".join(FAMILIES))
    arguments.add_argument("--out", type=Path)
    args = arguments.parse_args()
    shared = Path(os.environ.get("TILTC_SHARED_DATA", "../shared/data")) / "concepts"
    if not shared.is_dir():
        print(f"skipped: no contrast sets at {shared}", file=sys.stderr)
        return 0
    from tiltc.detectors import present
    from tiltc.std import concepts
    from tiltc_runtime.loading import load_model
    from tiltc_runtime.sae import load_sae

    model = load_model("builtin:smollm2-135m-instruct", layers=15)
    sae = load_sae("builtin:smollm2-135m-instruct-l15")
    results: dict[str, dict[str, Any]] = {}
    long: list[Read] = []
    print(f"| concept | texts | {' | '.join(TOOLS)} |\n| --- | --: | {' | '.join('---' for _ in TOOLS)} |", flush=True)
    for family in args.families.split(","):
        for name, file, concept in FAMILIES[family]:
            found = read(model, sae, rows_of(shared / file, concept, args.per_concept, args.characters))
            results[name] = measure(found) | {"family": family}
            print(line(name, results[name]), flush=True)
            if file == STYLE or file.startswith("xstest"):
                long.append(found)
    for name in BY_DETECTOR if long else ():
        label = present(concepts(name.split(".")[1])[name], [r for part in long for r in part.responses])
        results[name] = measure(joined(long, np.asarray(label, dtype=bool))) | {"family": "own detector"}
        print(line(f"{name} (own detector)", results[name]), flush=True)
    for family in dict.fromkeys(row["family"] for row in results.values()):
        rows = [row for row in results.values() if row["family"] == family]
        medians = " | ".join(f"{np.median([row[tool][0] for row in rows]):.3f}" for tool in TOOLS)
        print(f"| **median, {family}** | | {medians} |")
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
