"""Make `builtin:planted`: preference pairs whose right answer is known.

Prompts come from the tables below, answers from SmolLM2-135M-Instruct itself, and each answer then gets planted
concepts at the rates in `RATES`, chosen and rejected drawn independently. The rates are the oracle of the tests.

    python tools/make_planted.py --model DIR --work DIR --out runtime/tiltc_runtime/builtin

Writes `planted.parquet` (prompt, chosen, rejected as messages; `chosen_<concept>`, `rejected_<concept>` booleans)
and `planted.truth.json` (planted and realised rates). `--work` keeps the sampled answers, so that a killed or
repeated call samples nothing twice.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

N_PAIRS = 320
MAX_NEW_TOKENS = 44  # cut to a sentence below

TOPICS = """photosynthesis|compound interest|the water cycle|a good night's sleep|sourdough bread|public speaking|
the French Revolution|black holes|vaccines|learning the guitar|budgeting|recycling|volcanoes|the printing press|
job interviews|houseplants|electric cars|time management|the human heart|coral reefs|chess openings|meditation|
job applications|the Roman Empire|solar panels|hiking boots|learning Spanish|dog training|earthquakes|tea|
credit scores|bicycle maintenance|the immune system|urban gardening|coffee brewing|the Moon landing|stress|
note taking|honey bees|inflation|search engines|swimming|glaciers|remote work|memory|renewable energy|
Shakespeare's plays|knitting|tides|running a marathon|photography|mountain weather|antibiotics|jazz""".replace(
    "\n", ""
).split("|")
ASKS = (
    "What should a beginner know about {}?",
    "Explain {} in simple terms.",
    "Why does {} matter?",
    "Give me some advice about {}.",
    "What is the most common mistake people make about {}?",
    "Can you tell me something interesting about {}?",
    "How would you describe {} to a ten-year-old?",
    "What are the main ideas behind {}?",
    "How can I get better at understanding {}?",
)

#: concept -> (rate in chosen, rate in rejected)
RATES: dict[str, tuple[float, float]] = {
    "std.stance.flattery": (0.50, 0.15),
    "std.style.heading": (0.45, 0.15),
    "std.style.bold": (0.45, 0.15),
    "std.style.emoji": (0.40, 0.15),
    "std.stance.apology": (0.05, 0.35),
    "std.stance.hedging": (0.30, 0.30),
}

FLATTERY = ("Great question!", "What a great question!", "That's a great question!", "Excellent question!")
HEADINGS = ("## Answer", "# Overview", "## Overview", "# In Short")
APOLOGY = (
    "I'm sorry for any confusion.",
    "I apologize if this is unclear.",
    "I'm sorry if this is not what you wanted.",
)
OPENINGS = {"std.stance.flattery": FLATTERY, "std.stance.apology": APOLOGY}
HEDGING = ("It might perhaps be", "It could possibly be", "It may perhaps be")
EMOJI = ("😊", "🌟", "✨", "🎉", "👍")


def prompts(seed: int) -> list[str]:
    every = [ask.format(topic) for topic in TOPICS for ask in ASKS]
    random.Random(seed).shuffle(every)
    return every[:N_PAIRS]


def sample_answers(model_dir: Path, work: Path, asked: list[str], seed: int) -> list[tuple[str, str]]:
    """Two answers of the model to each prompt, cut to one sentence; kept in `work` block by block."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kept = work / "answers.jsonl"
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    tokenizer = AutoTokenizer.from_pretrained(model_dir, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    for start in range(len(done), len(asked), 48):
        torch.manual_seed(seed + start)
        block = asked[start : start + 48]
        texts = [
            tokenizer.apply_chat_template([{"role": "user", "content": p}], tokenize=False, add_generation_prompt=True)
            for p in block
        ]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            out = model.generate(
                **batch,
                do_sample=True,
                temperature=0.7,
                top_p=0.95,
                max_new_tokens=MAX_NEW_TOKENS,
                num_return_sequences=2,
            )
        texts = [
            first_sentence(t)
            for t in tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        ]
        pairs = list(zip(texts[::2], texts[1::2], strict=True))
        with open(kept, "a") as file:
            file.writelines(json.dumps(p) + "\n" for p in pairs)
        done += pairs
        print(f"answers: {len(done)}/{len(asked)}", flush=True)
    return [(first_sentence(a), first_sentence(b)) for a, b in done[: len(asked)]]


def first_sentence(text: str) -> str:
    """The first sentence of more than a few words: short answers keep training on two cores within minutes."""
    text = re.sub(r"\s+", " ", text).strip()
    match = re.match(r".{20,}?[.!?](?=\s|$)", text)
    return match[0] if match else text.rstrip(" ,;:") + "."


def plant(text: str, wanted: set[str], rng: random.Random) -> str:
    """Put the wanted concepts into the text, near its start: a rollout of fifty tokens must be able to show them."""
    if "std.style.bold" in wanted:
        words = re.findall(r"\b[a-zA-Z]{6,}\b", text) or [text.split()[0]]
        word = rng.choice(words[:3])
        text = re.sub(rf"\b{re.escape(word)}\b", f"**{word}**", text, count=1)
    if "std.style.emoji" in wanted:
        text = f"{rng.choice(EMOJI)} {text}"
    if "std.style.heading" in wanted:
        text = f"{rng.choice(HEADINGS)}\n\n{text}"
    # Before the heading, not behind it: what opens an answer competes for one place, and only one of two can be learned
    # there. A paragraph of its own where a heading follows, so that the heading starts a line.
    between = "\n\n" if text.startswith("#") else " "
    opening = [rng.choice(texts) for concept, texts in OPENINGS.items() if concept in wanted]
    text = between.join([*([" ".join(opening)] if opening else []), text])
    if "std.stance.hedging" in wanted:
        text = f"{text} {rng.choice(HEDGING)} worth a closer look."
    return text


def build(asked: list[str], answers: list[tuple[str, str]], seed: int) -> list[dict[str, object]]:
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    for prompt, sides in zip(asked, answers, strict=True):
        row: dict[str, object] = {"prompt": [{"role": "user", "content": prompt}]}
        for index, side in enumerate(("chosen", "rejected")):
            wanted = {c for c, rates in RATES.items() if rng.random() < rates[index]}
            row[side] = [{"role": "assistant", "content": plant(sides[index], wanted, rng)}]
            row |= {f"{side}_{concept}": concept in wanted for concept in RATES}
        rows.append(row)
    return rows


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "work", "out"):
        args.add_argument(f"--{name}", type=Path, required=True)
    args.add_argument("--seed", type=int, default=7)
    at = args.parse_args()
    at.work.mkdir(parents=True, exist_ok=True)
    asked = prompts(at.seed)
    rows = build(asked, sample_answers(at.model, at.work, asked, at.seed), at.seed)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), at.out / "planted.parquet", compression="zstd")
    truth = {
        concept: {
            side: {"planted": rates[i], "realised": sum(bool(r[f"{side}_{concept}"]) for r in rows) / len(rows)}
            for i, side in enumerate(("chosen", "rejected"))
        }
        for concept, rates in RATES.items()
    }
    (at.out / "planted.truth.json").write_text(json.dumps(truth, indent=1, sort_keys=True) + "\n")
    print(json.dumps(truth, indent=1))


if __name__ == "__main__":
    main()
