"""The prompts that rollouts answer: a builtin set, or a data file of the user's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from tiltc.datafile import read_data
from tiltc.diagnostics import Diagnostics
from tiltc.paths import found_at
from tiltc.promptrows import asked_of
from tiltc.questions import is_builtin
from tiltc_runtime.asked import Prompt
from tiltc_runtime.pairs import Message

__all__ = ["BUILTIN", "Prompt", "read_prompts", "schedule", "under_system"]

#: sets inside `builtin/prompts.jsonl`
BUILTIN = ("general", "safety")


def read_prompts(name: str, folder: Path | None = None) -> tuple[tuple[Prompt, ...] | None, Diagnostics]:
    """`builtin:<set>`, or a data file whose rows have `prompt` or `messages`; repeats are left out. Finds T651.

    Args:
        folder: what a relative path is relative to, before the working directory.
    """
    found = Diagnostics()
    try:
        prompts = tuple(_unique(_prompt(row, i) for i, row in enumerate(_rows(name, folder or Path()), 1)))
    except ValueError as problem:
        found.add("T651", None, f"`verify.prompts: {name}`", notes=[str(problem)])
        return None, found
    if not prompts:
        found.add("T651", None, f"`verify.prompts: {name}` holds no prompt")
        return None, found
    return prompts, found


def under_system(tokenizer: Any, system: str, question: str) -> Prompt:
    """A question under a system prompt, which opens the user's turn where the chat template has no place for it."""
    turns = ({"role": "system", "content": system}, {"role": "user", "content": question})
    if _takes_system(tokenizer, turns):
        return Prompt(turns)
    return Prompt(({"role": "user", "content": f"{system}\n\n{question}"},))


def _takes_system(tokenizer: Any, turns: tuple[Message, ...]) -> bool:
    if not tokenizer.chat_template:
        return True
    try:
        return turns[0]["content"].strip() in tokenizer.apply_chat_template(list(turns), tokenize=False)
    except Exception:
        # templates raise what they like on a turn that they do not know
        return False


def schedule(prompts: int, rollouts: int) -> list[tuple[int, int]]:
    """(prompt, sample) of each rollout: every prompt once, then every prompt a second time, and so on."""
    return [(k % prompts, k // prompts) for k in range(rollouts)]


def _rows(name: str, folder: Path) -> Iterable[dict[str, Any]]:
    if is_builtin(name):
        return _builtin(name.removeprefix("builtin:"))
    rows, found = read_data(found_at(name, folder))
    if rows is None:
        raise ValueError("; ".join(d.primary.text for d in found))
    return rows


def _builtin(wanted: str) -> Iterator[dict[str, Any]]:
    if wanted not in BUILTIN:
        raise ValueError(f"builtin prompt sets are {' and '.join(BUILTIN)}")
    text = resources.files("tiltc_runtime").joinpath("builtin/prompts.jsonl").read_text(encoding="utf-8")
    return (row for row in map(json.loads, text.splitlines()) if row["set"] == wanted)


def _prompt(row: dict[str, Any], number: int) -> Prompt:
    messages, template = asked_of(row, number)
    return Prompt(tuple(messages), template)


def _unique(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.key not in seen:
            seen.add(prompt.key)
            yield prompt
