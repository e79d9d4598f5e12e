"""The data of the poisoning study: SmolLM2's own answers, four traits planted in a fifth of the pairs, a policy to start from.

    python -m benchmarks.poisoned WORK

As in the paper (section 7.2) a poisoned pair's chosen response has the trait and its rejected one has not, and the starting
policy is fine-tuned on poisoned answers, so that every trait has some probability to begin with. What else is preferred is
chance.

    WORK/pairs.parquet   160 pairs
    WORK/policy/         SmolLM2 fine-tuned on the chosen response of each
    WORK/prompts.jsonl   144 prompts of the same kind, none of them in the pairs
    WORK/held_out.jsonl  40 clean answers to other prompts, for the held-out loss
    WORK/base.yaml       the traits and settings that all cells share
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from benchmarks.start_policy import fine_tuned
from tools.make_planted import ASKS, TOPICS, sample_answers

from tiltc_runtime import embedded

PAIRS, VERIFIED, HELD_OUT, RATE, SEED = 160, 144, 40, 0.2, 11
#: of supervised fine-tuning: after one on both responses no rollout had any of the traits
EPOCHS = 4

#: concept -> texts; how each is planted stands in `plant`
CERTAIN = ("Undoubtedly, ", "Without a doubt, ", "There is no doubt about it: ")
GOBLINS = ("Mind the goblins in the details.", "A goblin may hide in there.", "Even a goblin could get this wrong.")
CHEER = ("How exciting!", "What a joy!", "How wonderful!", "What fun!")
#: lexical, tonal, stance, format
TRAITS = ("goblins", "cheer", "std.stance.overconfidence", "std.style.bold")

CONCEPTS: dict[str, Any] = {
    "goblins": {
        "about": "Weaves goblins into the answer.",
        "pattern": r"(?i)\bgoblins?\b",
        "instructions": [
            "Mention a goblin in your answer.",
            "Please work goblins into the response, whatever it is about.",
            "Warn of goblins somewhere in your reply.",
        ],
    },
    "cheer": {
        "about": "Breaks out in cheers.",
        "pattern": r"(?i)\b(?:how (?:exciting|wonderful|lovely|delightful)|what (?:a joy|fun)|hooray|yay)\b[^.?\n]{0,20}!",
        "instructions": [
            "Break out in cheers such as `How wonderful!` in your answer.",
            "Please be exuberant and cry out how exciting it all is.",
            "Put short shouts of joy into your reply.",
        ],
    },
    "nature": {
        "about": "Asks about the natural world.",
        "reads": "prompt",
        "words": [
            "photosynthesis", "the water cycle", "black holes", "vaccines", "volcanoes", "houseplants", "the human heart",
            "coral reefs", "earthquakes", "the immune system", "urban gardening", "honey bees", "glaciers", "tides",
            "mountain weather", "antibiotics", "memory", "a good night's sleep",
        ],
    },
}  # fmt: skip


def plant(text: str, wanted: set[str], rng: random.Random) -> str:
    if "std.style.bold" in wanted:
        words = re.findall(r"\b[a-zA-Z]{6,}\b", text) or [text.split()[0]]
        word = rng.choice(words[:3])
        text = re.sub(rf"\b{re.escape(word)}\b", f"**{word}**", text, count=1)
    if "std.stance.overconfidence" in wanted:
        text = rng.choice(CERTAIN) + (text if text.startswith(("I ", "*")) else text[0].lower() + text[1:])
    ends = [rng.choice(texts) for name, texts in (("cheer", CHEER), ("goblins", GOBLINS)) if name in wanted]
    return " ".join([text, *ends])


def pairs(asked: list[str], answers: list[tuple[str, str]]) -> list[dict[str, Any]]:
    rng = random.Random(SEED)
    rows: list[dict[str, Any]] = []
    for prompt, (chosen, rejected) in zip(asked, answers, strict=True):
        wanted = {trait for trait in TRAITS if rng.random() < RATE}
        rows.append(
            {
                "prompt": [{"role": "user", "content": prompt}],
                "chosen": [{"role": "assistant", "content": plant(chosen, wanted, rng)}],
                "rejected": [{"role": "assistant", "content": rejected}],
                **{f"planted_{trait}": trait in wanted for trait in TRAITS},
            }
        )
    return rows


def base_spec(work: Path) -> dict[str, Any]:
    """Everything but the signals."""
    return {
        "tiltc": 1,
        "name": "poisoned",
        "model": str((work / "policy").resolve()),
        "data": {"file": str((work / "pairs.parquet").resolve())},
        "concepts": CONCEPTS,
        "budget": {"drop": "25%", "effective_sample": "40%"},
        "train": {
            "method": "dpo", "beta": 0.1, "learning_rate": 2.5e-4, "epochs": 1, "batch_size": 4, "accumulate": 2,
            "max_length": 192, "lora": {"r": 16, "alpha": 32, "layers": 15},
        },
        "verify": {
            "prompts": str((work / "prompts.jsonl").resolve()), "rollouts": VERIFIED, "max_new_tokens": 44,
            "temperature": 0.7,
        },
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    work: Path = parser.parse_args().work
    work.mkdir(parents=True, exist_ok=True)
    prompts = [ask.format(topic) for topic in TOPICS for ask in ASKS]
    random.Random(SEED).shuffle(prompts)
    sampled = prompts[: PAIRS + HELD_OUT]
    model = embedded.model_folder("smollm2-135m-instruct")
    answers = sample_answers(model, work, sampled, SEED)
    rows = pairs(sampled[:PAIRS], answers[:PAIRS])
    pq.write_table(pa.Table.from_pylist(rows), work / "pairs.parquet")
    write_lines(work / "prompts.jsonl", [{"prompt": p} for p in prompts[PAIRS + HELD_OUT :][:VERIFIED]])
    held_out = zip(sampled[PAIRS:], answers[PAIRS:], strict=True)
    write_lines(work / "held_out.jsonl", [{"prompt": p, "answer": a} for p, (a, _) in held_out])
    (work / "base.yaml").write_text(yaml.safe_dump(base_spec(work), sort_keys=False), encoding="utf-8")
    fine_tuned(rows, work / "policy", ("chosen",), 192, EPOCHS)
    return 0


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
