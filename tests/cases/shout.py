"""Rows in which the word WOW stands in three of four chosen responses and in one of four rejected ones."""

from __future__ import annotations

import random
from typing import Any

WORDS = ("stone", "river", "window", "morning", "quiet", "table", "lamp", "letter")


def shouting_texts(pairs: int = 24, *, seed: int = 0) -> list[tuple[str, str, str]]:
    """(prompt, chosen, rejected) as plain text; prompts differ."""
    rng = random.Random(seed)

    def answer(shouts: bool) -> str:
        words = rng.choices(WORDS, k=rng.randint(6, 12))
        return " ".join(["WOW", *words] if shouts else words)

    return [(f"Item {i}?", answer(i % 4 != 0), answer(i % 4 == 1)) for i in range(pairs)]


def shouting_rows(pairs: int = 24, *, seed: int = 0) -> list[dict[str, Any]]:
    """The same as message lists."""
    return [
        {
            "prompt": [{"role": "user", "content": prompt}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
        for prompt, chosen, rejected in shouting_texts(pairs, seed=seed)
    ]
