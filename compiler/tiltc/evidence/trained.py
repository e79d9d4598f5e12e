"""Where the tokens that are trained do not say what the row says: counted by kind, with examples.

    shards/00000/trained.json   `Differences` of the shard's rows; only where there is one

Rows are counted from 1 in the data's order, and once a kind; `unread` counts rows once, whichever of `UNREAD` they show.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

FILE = "trained.json"
#: examples that are kept of a kind
KEPT = 5

Kind = Literal[
    "no_tokens", "left_out", "rewritten", "same_tokens", "header", "prompt", "no_prefix", "no_generation_prompt"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: kinds of rows that are not trained as they read
UNREAD: frozenset[Kind] = frozenset(("no_tokens", "left_out", "rewritten", "same_tokens", "header"))


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Example(Frozen):
    """A row in which it is so: a piece of what the data says, and of what the tokens say."""

    row: int
    side: Literal["prompt", "chosen", "rejected"]
    text: str
    tokens: str


class Difference(Frozen):
    rows: int
    examples: tuple[Example, ...]


class Differences(Frozen):
    """Rows of one or more shards whose tokens and text differ."""

    unread: int = 0
    kinds: dict[Kind, Difference] = {}

    def __bool__(self) -> bool:
        return bool(self.kinds)


def merged(parts: Iterable[Differences]) -> Differences:
    """The differences of all parts, with the first examples."""
    unread = 0
    by_kind: dict[Kind, Difference] = {}
    for part in parts:
        unread += part.unread
        for kind, more in part.kinds.items():
            so_far = by_kind.get(kind, Difference(rows=0, examples=()))
            examples = (*so_far.examples, *more.examples)[:KEPT]
            by_kind[kind] = Difference(rows=so_far.rows + more.rows, examples=examples)
    return Differences(unread=unread, kinds={kind: by_kind[kind] for kind in KINDS if kind in by_kind})


def read_differences(files: Iterable[Path]) -> Differences:
    """What is kept with some shards.

    Raises:
        OSError, ValueError: a file can't be read or is not what was written.
    """
    return merged(Differences.model_validate_json(file.read_bytes()) for file in files)
