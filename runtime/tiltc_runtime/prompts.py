"""The prompts that rollouts answer: a builtin set, or a file of the user's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tiltc.canonical import canonical_json, sha256_text
from tiltc.diagnostics import Diagnostics

Message = dict[str, str]
#: sets inside `builtin/prompts.jsonl`
BUILTIN = ("general", "safety")


@dataclass(frozen=True)
class Prompt:
    """The conversation up to the response, oldest message first."""

    messages: tuple[Message, ...]

    @property
    def key(self) -> str:
        """sha256[:16] of the messages: seeds and caches go by it."""
        return sha256_text(canonical_json(list(self.messages)))[:16]

    @property
    def text(self) -> str:
        """What a reader, or a gate's detector, sees: the messages' contents."""
        return "\n\n".join(message["content"] for message in self.messages)


def read_prompts(name: str) -> tuple[tuple[Prompt, ...] | None, Diagnostics]:
    """`builtin:<set>`, or a .jsonl or .parquet file with `prompt` or `messages`; repeats are left out. Finds T651."""
    found = Diagnostics()
    try:
        prompts = tuple(_unique(_prompt(row, i) for i, row in enumerate(_rows(name), 1)))
    except (OSError, ValueError) as problem:
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


def _rows(name: str) -> Iterator[dict[str, Any]]:
    if name.startswith("builtin:"):
        return _builtin(name.removeprefix("builtin:"))
    path = Path(name)
    if path.suffix == ".jsonl":
        return _json_rows(path.read_text(encoding="utf-8"))
    if path.suffix == ".parquet":
        return _parquet_rows(path)
    raise ValueError(f"prompts are read from .jsonl and .parquet files, not from {path.name!r}")


def _builtin(wanted: str) -> Iterator[dict[str, Any]]:
    if wanted not in BUILTIN:
        raise ValueError(f"builtin prompt sets are {' and '.join(BUILTIN)}")
    text = resources.files("tiltc_runtime").joinpath("builtin/prompts.jsonl").read_text(encoding="utf-8")
    return (row for row in _json_rows(text) if row["set"] == wanted)


def _json_rows(text: str) -> Iterator[dict[str, Any]]:
    # not splitlines(): JSON strings may hold U+2028 and the like as they are
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not an object")
            yield row


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as problem:
        raise ValueError(str(problem)) from None
    yield from table.select([c for c in ("prompt", "messages") if c in table.column_names]).to_pylist()


def _prompt(row: dict[str, Any], number: int) -> Prompt:
    value = row.get("prompt") or row.get("messages")
    if isinstance(value, str) and value.strip():
        return Prompt(({"role": "user", "content": value},))
    if not isinstance(value, list) or not value or not all(_is_message(message) for message in value):
        raise ValueError(f"row {number} has neither `prompt` (text or messages) nor `messages`")
    messages = [{"role": message["role"], "content": message["content"]} for message in value]
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages:
        raise ValueError(f"row {number} has no message to answer")
    return Prompt(tuple(messages))


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


def _unique(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    seen: set[str] = set()
    for prompt in prompts:
        if prompt.key not in seen:
            seen.add(prompt.key)
            yield prompt
