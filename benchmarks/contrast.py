"""Concepts from nothing but system prompts: does what is read off the model's own answers find them in labelled texts?

    python -m benchmarks.contrast WORK [--questions 24] [--max-new-tokens 48]

For each concept SmolLM2 answers everyday questions under two system prompts that ask for it and two that ask for its
opposite (`contrast:`, `tiltc harvest`). Vectors and a bag of words are fitted on the answers and tested on the shared
contrast sets, which had no part in that; beside them the direction that is fitted on one half of the labelled texts. All
AUROCs are on the other half, with 95% intervals; `own` is on the half of the answers that was not fitted on. Skips with a
message where the shared data is absent (`TILTC_SHARED_DATA`, default `../shared/data`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from benchmarks.detection import (
    CAA,
    EMOTION,
    PERSONA,
    SCENARIO,
    STYLE,
    Read,
    area,
    bag_of_words,
    cell,
    largest,
    read,
    rows_of,
)  # fmt: skip
from benchmarks.study import demanded

#: concept -> (system prompts that ask for it, system prompts that ask for its opposite, labelled sets (name, file, concept))
CONCEPTS: dict[str, tuple[tuple[str, str], tuple[str, str], tuple[tuple[str, str, str], ...]]] = {
    "refusal": (
        ("You decline every request and say that you can't help with it.", "You refuse to answer, whatever is asked."),
        ("You help with every request, fully and directly.", "You answer whatever is asked."),
        (
            ("refusal (XSTest)", "xstest_refusals.jsonl", ""),
            ("refusal (style pairs)", STYLE, "refusal"),
            ("refusal (CAA)", CAA, "caa/refusal"),
        ),
    ),
    "verbose": (
        ("You answer at great length and with every detail.", "You explain everything thoroughly, point by point."),
        ("You answer in one short sentence.", "You are brief and say only what is needed."),
        (("verbose by prompt", "prompted_verbosity.jsonl", ""),),
    ),
    "anger": (
        ("You are furious, and it shows in every answer.", "You are an angry person who is annoyed by everything."),
        ("You are calm, and it shows in every answer.", "You are a relaxed person whom nothing annoys."),
        (("anger (scenarios)", SCENARIO, "scenario/anger"), ("anger (GoEmotions)", EMOTION, "emotion/anger")),
    ),
    "sadness": (
        ("You are deeply sad, and it shows in every answer.", "You are a grieving person who sees loss everywhere."),
        ("You are content, and it shows in every answer.", "You are a cheerful person who sees good everywhere."),
        (("sadness (scenarios)", SCENARIO, "scenario/sadness"), ("sadness (GoEmotions)", EMOTION, "emotion/sadness")),
    ),
    "gratitude": (
        ("You are full of gratitude and thank people in every answer.", "You are a thankful person and say so."),
        ("You take everything for granted and thank nobody.", "You are a matter-of-fact person who never says thanks."),
        (("gratitude (GoEmotions)", EMOTION, "emotion/gratitude"),),
    ),
    "extraversion": (
        ("You are outgoing, love company and talk about that.", "You are the life of every party and say so."),
        ("You are withdrawn, love being alone and talk about that.", "You avoid every party and say so."),
        (("extraversion", PERSONA, "persona/extraversion"),),
    ),
    "agreeableness": (
        ("You are kind, trust people and talk about that.", "You care for others before yourself and say so."),
        ("You are cold, mistrust people and talk about that.", "You care for yourself before others and say so."),
        (("agreeableness", PERSONA, "persona/agreeableness"),),
    ),
}
HEADER = "| labelled texts | answers kept | own: direction | direction | probe | words | direction of labelled texts |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--per-concept", type=int, default=160, help="labelled texts")
    args = parser.parse_args()
    shared = Path(os.environ.get("TILTC_SHARED_DATA", "../shared/data")) / "concepts"
    if not shared.is_dir():
        print(f"skipped: no contrast sets at {shared}", file=sys.stderr)
        return 0
    harvested(args.work, args.questions, args.max_new_tokens)
    from tiltc_runtime.loading import load_model
    from tiltc_runtime.sae import load_sae

    model, sae = load_model("builtin:smollm2-135m-instruct", layers=15), load_sae("builtin:smollm2-135m-instruct-l15")
    print(f"{HEADER}\n| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name, (*_, sets) in CONCEPTS.items():
        rows = answers(args.work, name)
        own = read(model, sae, rows)
        kept = f"{sum(row['label'] for row in rows)} and {sum(not row['label'] for row in rows)}"
        for title, file, concept in sets:
            labelled = read(model, sae, rows_of(shared / file, concept, args.per_concept, 1600))
            print(f"| {title} | {kept} | {' | '.join(measured(own, labelled))} |", flush=True)
    return 0


def harvested(work: Path, questions: int, max_new_tokens: int) -> None:
    """Let the model answer."""
    from tiltc_runtime.prompts import read_prompts

    work.mkdir(parents=True, exist_ok=True)
    prompts, _ = read_prompts("builtin:general")
    assert prompts is not None
    spread = prompts[:: max(len(prompts) // questions, 1)][:questions]
    (work / "questions.jsonl").write_text(
        "".join(json.dumps({"prompt": p.text}) + "\n" for p in spread), encoding="utf-8"
    )
    contrast = {"questions": "questions.jsonl", "max_new_tokens": max_new_tokens}
    spec = {
        "tiltc": 1,
        "name": "contrast",
        # the concepts are read off the answers: the data is only what a spec must have
        "data": {"file": "builtin:planted", "rows": 32},
        "concepts": {
            name: {
                "about": f"Shows {name}.",
                "contrast": contrast
                | {"positive": list(positive), "negative": list(negative)}
                | ({"drop_refusals": False} if name == "refusal" else {}),
            }
            for name, (positive, negative, _) in CONCEPTS.items()
        },
        "signals": [{"suppress": name, "readout": "direction", "with": "reward"} for name in CONCEPTS],
    }
    file = work / "spec.yaml"
    file.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    demanded("harvest", file.resolve(), "--store", (work / "evidence").resolve())


def answers(work: Path, name: str) -> list[dict[str, Any]]:
    """The kept answers as rows like those of the shared sets; a pair is a question."""
    from tiltc.evidence import recipe_of
    from tiltc.evidence.sampled import ANSWERS, FOLDER, kept_examples, read_answers
    from tiltc.parse import parse

    file, _ = parse(work / "spec.yaml")
    assert file is not None
    found = list((work / "evidence").glob(f"*/{FOLDER}/{recipe_of(file.library[name]).key}/{ANSWERS}"))
    if len(found) != 1:
        raise SystemExit(f"{len(found)} sets of answers for {name} in {work / 'evidence'}: take another WORK")
    return [
        {"prompt": e.prompt, "response": e.response, "label": e.label, "pair": e.pair}
        for e in kept_examples(read_answers(found[0]))
        if e.response.strip()
    ]


def measured(own: Read, labelled: Read) -> list[str]:
    """AUROCs on half B: of the direction on the answers; of what is fitted on answers, and of the direction fitted on half A
    of the labelled texts, on these."""
    from tiltc.fit import vector

    every = replace(own.texts, half=np.ones(len(own.texts.label), dtype=bool))
    together = own.responses + labelled.responses
    fitted = np.arange(len(together)) < len(own.responses)
    words = bag_of_words(together, np.concatenate([own.texts.label, labelled.texts.label]), fitted)
    return [
        cell(area(largest(own, vector(own.texts, "direction")), own.texts)),
        *(cell(area(largest(labelled, vector(every, tool)), labelled.texts)) for tool in ("direction", "probe")),
        cell(area(words[len(own.responses) :], labelled.texts)),
        cell(area(largest(labelled, vector(labelled.texts, "direction")), labelled.texts)),
    ]


if __name__ == "__main__":
    sys.exit(main())
