"""The questions that a contrast asks under all of its system prompts: a builtin set, or a data file with a `prompt`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeGuard

from tiltc.datafile import standing_rows
from tiltc.diagnostics import Diagnostics, Span

#: sets that come with the runtime
BUILTIN_QUESTIONS = ("builtin:general", "builtin:safety")
#: bad rows of a file after which no more are told
MOST_FAULTS = 20
#: half of a character, which is no Unicode text
SURROGATE = re.compile("[\ud800-\udfff]")


def is_builtin(questions: str) -> bool:
    return questions.startswith("builtin:")


def read_questions(file: Path, at: Span | None = None) -> tuple[tuple[str, ...] | None, Diagnostics]:
    """The questions in a data file, repeats left out. Bad rows are reported (T547), as is a file without any."""
    found = Diagnostics()
    read: list[str] = []
    for place, row in standing_rows(file, "T547", found, at, MOST_FAULTS):
        question = row.get("prompt")
        if is_text(question):
            read.append(question)
        elif len(found) < MOST_FAULTS:
            found.add("T547", at, f"{place}: no text under `prompt`")
    if not read and not found.failed:
        found.add("T547", at, f"{file.name} holds no question")
    return (None if found.failed else tuple(dict.fromkeys(read))), found


def is_text(value: Any) -> TypeGuard[str]:
    """A text that is not blank and that can be written down."""
    return isinstance(value, str) and bool(value.strip()) and not SURROGATE.search(value)
