"""The questions that a contrast asks under all of its system prompts: a builtin set, or JSON lines with a `prompt`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiltc.diagnostics import Diagnostics, Span

#: sets that come with the runtime
BUILTIN_QUESTIONS = ("builtin:general", "builtin:safety")
#: bad lines of a file after which no more are read
MOST_FAULTS = 20


def is_builtin(questions: str) -> bool:
    return questions.startswith("builtin:")


def read_questions(file: Path, at: Span | None = None) -> tuple[tuple[str, ...] | None, Diagnostics]:
    """The questions in a file, repeats left out. Bad lines are reported (T547), as is a file without any."""
    found = Diagnostics()
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        found.add("T547", at, f"can't read {file.name}: {error.strerror}")
        return None, found
    read: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and len(found) < MOST_FAULTS:
            read.append(_question(line, f"{file.name}:{number}", found, at))
    if not read:
        found.add("T547", at, f"{file.name} holds no question")
    return (None if found.failed else tuple(dict.fromkeys(read))), found


def _question(line: bytes, place: str, found: Diagnostics, at: Span | None) -> str:
    try:
        row: Any = json.loads(line)
        question = row["prompt"]
        if not isinstance(question, str) or not question.strip():
            raise TypeError
        question.encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        found.add("T547", at, f'{place}: not a JSON object with a text under "prompt"')
        return ""
    return question
