"""The data of the gate study: two tones and a topic that half of the prompts ask about, in SmolLM2's own answers.

    python -m benchmarks.gated WORK [--beta 0.1] [--epochs 1] [--learning-rate 1.5e-4] [--opening]

`cheer` stands in a fifth of the chosen responses, whatever the prompt is about: nothing in the data says that it belongs to
nature. `urging` does belong there: in a quarter of the chosen responses about nature, and about anything else in chosen and
rejected ones at the same rate. The starting policy says both everywhere; what else is preferred is chance. Both close an answer, or
with `--opening` open it.

    WORK/pairs.parquet   320 pairs, half of them about nature
    WORK/policy/         SmolLM2 fine-tuned on 160 other answers, a quarter with each tone whatever they are about
    WORK/prompts.jsonl   144 prompts of the same kind, none of them in the pairs
    WORK/held_out.jsonl  60 clean answers to other prompts
    WORK/base.yaml       the concepts and settings that all cells share
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from benchmarks.poisoned import CHEER, CONCEPTS, EPOCHS, write_lines
from benchmarks.start_policy import fine_tuned
from tools.make_planted import ASKS, sample_answers

from tiltc_runtime import embedded

#: of each topic's half: pairs, prompts of the fine-tuning (two answers each), prompts of the held-out answers, verified
PAIRS, TUNED, HELD_OUT, VERIFIED = 160, 40, 30, 72
SEED = 12

URGING = ("You can do this!", "You have got this!", "Believe in yourself!", "Keep going!")
PHRASES = {"cheer": CHEER, "urging": URGING}
#: tone -> about nature? -> rates in chosen and in rejected responses
RATES = {
    "cheer": {True: (0.20, 0.0), False: (0.20, 0.0)},
    "urging": {True: (0.25, 0.0), False: (0.15, 0.15)},
}
#: rate of each tone in what the starting policy is fine-tuned on
TUNED_RATE = 0.25

NATURE, OTHER = (
    topics.replace("\n", "").split("|")
    for topics in (
        """photosynthesis|the water cycle|black holes|volcanoes|coral reefs|earthquakes|the immune system|honey bees|
glaciers|ocean tides|mountain weather|rainforests|migrating birds|whales|fungi|dinosaurs|the Moon|comets|lightning|deserts|
river deltas|hibernation|bats|spiders|ants|seeds|pollination|fossils|the human heart|tree rings|rainbows|hurricanes|octopuses|
wolves|penguins|soil|caves|moss|plankton|butterflies|sharks|the northern lights""",
        """compound interest|sourdough bread|public speaking|the French Revolution|learning the guitar|budgeting|recycling|
the printing press|job interviews|electric cars|time management|chess openings|meditation|job applications|the Roman Empire|
solar panels|hiking boots|learning Spanish|bicycle maintenance|coffee brewing|note taking|inflation|search engines|remote work|
knitting|photography|jazz|pottery|crossword puzzles|mortgages|typography|board games|opera|sewing machines|
fire insurance|elevators|city planning|stand-up comedy|contracts|bridge building|spreadsheets|radio plays""",
    )
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1.5e-4)
    parser.add_argument("--opening", action="store_true", help="the tones open an answer")
    args = parser.parse_args()
    work: Path = args.work
    work.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    # cut into the four parts in each half, then mixed: a part is half about nature
    parts: list[list[str]] = [[], [], [], []]
    for topics in (NATURE, OTHER):
        prompts = [ask.format(topic) for topic in topics for ask in ASKS]
        rng.shuffle(prompts)
        for part, count in zip(parts, (PAIRS, TUNED, HELD_OUT, VERIFIED), strict=True):
            part += [prompts.pop() for _ in range(count)]
    for part in parts:
        rng.shuffle(part)
    paired, tuned, held_out, verified = parts
    sampled = [*paired, *tuned, *held_out]
    answers = dict(
        zip(sampled, sample_answers(embedded.model_folder("smollm2-135m-instruct"), work, sampled, SEED), strict=True)
    )
    rows = [pair(prompt, answers[prompt], rng, args.opening) for prompt in paired]
    pq.write_table(pa.Table.from_pylist(rows), work / "pairs.parquet")
    write_lines(work / "prompts.jsonl", [{"prompt": prompt} for prompt in verified])
    write_lines(work / "held_out.jsonl", [{"prompt": prompt, "answer": answers[prompt][0]} for prompt in held_out])
    train = {"beta": args.beta, "epochs": args.epochs, "learning_rate": args.learning_rate}
    base = base_spec(work, train) | ({"meta": {"opening": True}} if args.opening else {})
    (work / "base.yaml").write_text(yaml.safe_dump(base, sort_keys=False), encoding="utf-8")
    everywhere = dict.fromkeys(RATES, TUNED_RATE)
    teaching = [
        {"prompt": asked(prompt), "chosen": said(plant(answer, drawn(everywhere, rng), rng, args.opening))}
        for prompt in tuned
        for answer in answers[prompt]
    ]
    fine_tuned(teaching, work / "policy", ("chosen",), 192, EPOCHS)
    return 0


def pair(prompt: str, answers: tuple[str, str], rng: random.Random, opening: bool) -> dict[str, Any]:
    natural = any(topic in prompt for topic in NATURE)
    row: dict[str, Any] = {"prompt": asked(prompt)}
    for k, side in enumerate(("chosen", "rejected")):
        wanted = drawn({tone: rates[natural][k] for tone, rates in RATES.items()}, rng)
        row[side] = said(plant(answers[k], wanted, rng, opening))
        row |= {f"{side}_{tone}": tone in wanted for tone in RATES}
    return row


def asked(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def said(answer: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": answer}]


def drawn(rates: dict[str, float], rng: random.Random) -> list[str]:
    return [tone for tone, rate in rates.items() if rng.random() < rate]


def plant(text: str, wanted: list[str], rng: random.Random, opening: bool) -> str:
    phrases = [rng.choice(PHRASES[tone]) for tone in rng.sample(wanted, len(wanted))]
    return " ".join([*phrases, text] if opening else [text, *phrases])


def base_spec(work: Path, train: dict[str, Any]) -> dict[str, Any]:
    """Everything but the signals."""
    return {
        "tiltc": 1,
        "name": "gated",
        "model": str((work / "policy").resolve()),
        "data": {"file": str((work / "pairs.parquet").resolve())},
        "concepts": {
            "cheer": CONCEPTS["cheer"],
            "urging": {
                "about": "Urges the reader on.",
                "pattern": r"(?i)\b(?:you can do (?:this|it)|you (?:have|'ve) got this|believe in yourself|keep going)!",
            },
            "nature": {"about": "Asks about the natural world.", "reads": "prompt", "words": NATURE},
        },
        "budget": {"drop": "25%", "effective_sample": "40%"},
        "train": {
            "method": "dpo", **train, "batch_size": 4, "accumulate": 2, "max_length": 192,
            "lora": {"r": 16, "alpha": 32, "layers": 15},
        },
        "verify": {
            "prompts": str((work / "prompts.jsonl").resolve()), "rollouts": 2 * VERIFIED, "max_new_tokens": 44,
            "temperature": 0.7,
        },
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
