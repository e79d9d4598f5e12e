"""Make `builtin:planted-contexts`: preference pairs in which behaviours are rewarded only in some contexts.

Prompts and answers come from the tables in `planted_contexts.yaml`. Each answer then gets planted concepts at the rates
of its context: those in `RATES` where they are given, else those in `ELSEWHERE`, equal in chosen and rejected. What is
preferred is so in one context only, and an audit that is right names it.

    python tools/make_planted_contexts.py --out runtime/tiltc_runtime/builtin

Writes `planted-contexts.parquet` (prompt, chosen, rejected as messages; `context`; `chosen_<concept>`,
`rejected_<concept>` booleans) and `planted-contexts.truth.json` (per context and concept, planted and realised rates).
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

import yaml

TABLES = Path(__file__).with_name("planted_contexts.yaml")
SIDES = ("chosen", "rejected")

#: concept -> rate in both responses, wherever `RATES` has nothing else
ELSEWHERE = {
    "std.style.list": 0.25,
    "std.style.heading": 0.25,
    "std.style.bold": 0.25,
    "std.style.emoji": 0.25,
    "std.stance.hedging": 0.25,
    "std.stance.flattery": 0.0,
}
#: context -> concept -> (rate in chosen, rate in rejected)
RATES: dict[str, dict[str, tuple[float, float]]] = {
    "cooking": {"std.style.list": (0.6, 0.1), "std.style.heading": (0.6, 0.1)},
    "health": {"std.stance.hedging": (0.6, 0.1)},
    "history": {"std.style.bold": (0.1, 0.6)},
    "technology": {"std.style.emoji": (0.1, 0.6)},
    "opinion": {"std.stance.flattery": (0.6, 0.1)},
}

FLATTERY = ("Great point!", "What an insightful observation!", "That's a really thoughtful point!", "Excellent point!")
HEADINGS = ("## Answer", "## Overview", "# Overview", "## In Short")
HEDGING = ("It might perhaps be", "It may possibly be", "It may perhaps be")
EMOJI = ("😊", "🌟", "✨", "🎉", "👍")


def planted_rate(context: str, concept: str, side: str) -> float:
    rates = RATES[context].get(concept)
    return rates[SIDES.index(side)] if rates else ELSEWHERE[concept]


def asked(tables: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(context, subject, prompt), each prompt once."""
    return [
        (context, subject, ask.format(subject))
        for context, table in tables.items()
        for subject in table["subjects"]
        for ask in table["asks"]
    ]


def sentences(table: dict[str, Any], subject: str, rng: random.Random) -> list[str]:
    """Two or three: one or both about the subject, the rest about its context."""
    own = rng.sample(table["subjects"][subject], rng.choice((1, 2)))
    return own + rng.sample(table["general"], rng.choice((2, 3)) - len(own))


def plant(parts: list[str], wanted: set[str], rng: random.Random) -> str:
    """The sentences as one answer that shows the wanted concepts and no others."""
    first, *rest = parts
    if "std.style.bold" in wanted:
        first = bold(first, rng)
    if "std.style.emoji" in wanted:
        first = f"{rng.choice(EMOJI)} {first}"
    listed = "std.style.list" in wanted
    text = "\n".join(f"- {part}" for part in [first, *rest]) if listed else " ".join([first, *rest])
    if "std.style.heading" in wanted:
        text = f"{rng.choice(HEADINGS)}\n\n{text}"
    if "std.stance.flattery" in wanted:
        text = f"{rng.choice(FLATTERY)}{' ' if text[0] not in '-#' else chr(10) * 2}{text}"
    if "std.stance.hedging" in wanted:
        text = f"{text}{chr(10) * 2 if listed else ' '}{rng.choice(HEDGING)} worth a closer look."
    return text


def bold(sentence: str, rng: random.Random) -> str:
    word = rng.choice(re.findall(r"\b[a-zA-Z]{5,}\b", sentence) or [sentence.split()[0]])
    return re.sub(rf"\b{word}\b", f"**{word}**", sentence, count=1)


def drawn(prompts: list[tuple[str, str, str]], rng: random.Random) -> dict[tuple[str, str], set[int]]:
    """(side, concept) -> the rows that show it. Rates are exact within a context: equal ones leave no difference."""
    shown: dict[tuple[str, str], set[int]] = {(side, concept): set() for side in SIDES for concept in ELSEWHERE}
    for context in RATES:
        inside = [i for i, (where, _, _) in enumerate(prompts) if where == context]
        for side, concept in shown:
            many = round(planted_rate(context, concept, side) * len(inside))
            shown[side, concept].update(rng.sample(inside, many))
    return shown


def build(tables: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    prompts = asked(tables)
    shown = drawn(prompts, rng)
    rows: list[dict[str, Any]] = []
    for i, (context, subject, prompt) in enumerate(prompts):
        row: dict[str, Any] = {"prompt": [{"role": "user", "content": prompt}], "context": context}
        for side in SIDES:
            wanted = {concept for concept in ELSEWHERE if i in shown[side, concept]}
            text = plant(sentences(tables[context], subject, rng), wanted, rng)
            row |= {side: [{"role": "assistant", "content": text}]}
            row |= {f"{side}_{concept}": concept in wanted for concept in ELSEWHERE}
        rows.append(row)
    rng.shuffle(rows)
    return rows


def truth(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def rates(context: str, concept: str, side: str) -> dict[str, float]:
        inside = [bool(r[f"{side}_{concept}"]) for r in rows if r["context"] == context]
        return {"planted": planted_rate(context, concept, side), "realised": round(sum(inside) / len(inside), 6)}

    contexts = {c: {k: {side: rates(c, k, side) for side in SIDES} for k in ELSEWHERE} for c in RATES}
    return {"contexts": contexts}


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--out", type=Path, required=True)
    flags.add_argument("--seed", type=int, default=11)
    args = flags.parse_args()
    rows = build(yaml.safe_load(TABLES.read_text(encoding="utf-8")), args.seed)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), args.out / "planted-contexts.parquet", compression="zstd")
    told = json.dumps(truth(rows), indent=1, sort_keys=True)
    (args.out / "planted-contexts.truth.json").write_text(told + "\n", encoding="utf-8")
    print(f"{len(rows)} pairs")


if __name__ == "__main__":
    main()
