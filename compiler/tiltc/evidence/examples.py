"""Contrast sets as users write them: rows {prompt, response, label, pair?} of any data file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tiltc.canonical import canonical_json, sha256_text
from tiltc.datafile import Row, standing_rows
from tiltc.diagnostics import Diagnostics, Span
from tiltc.paths import locate
from tiltc.spec import Concept

if TYPE_CHECKING:
    from tiltc.parse import Definition


@dataclass(frozen=True)
class Example:
    """A text that shows a concept (label 1) or does not (0). `pair` is shared by the two sides of a contrast pair."""

    prompt: str
    response: str
    label: int
    pair: str = ""


def contrast_digest(definition: Definition | Concept, folder: Path | None = None) -> str:
    """sha256 of the rows of the examples file that a concept names.

    Args:
        definition: a definition, which knows its folder, or a bare concept.
        folder: what a bare concept's file name is relative to.

    Raises:
        OSError, ValueError: the file can't be read or is no examples file; `read_examples` says why.
    """
    examples, found = read_examples(examples_file(definition, folder))
    if examples is None:
        raise ValueError("; ".join(d.primary.text for d in found))
    return examples_digest(examples)


def examples_file(definition: Definition | Concept, folder: Path | None = None) -> Path:
    """The file that an `examples` concept names."""
    concept = definition if isinstance(definition, Concept) else definition.concept
    base = folder if isinstance(definition, Concept) else definition.folder
    assert concept.examples is not None, "only concepts defined by examples have an examples file"
    return locate(concept.examples, base or Path())


def examples_digest(examples: list[Example]) -> str:
    return sha256_text(canonical_json([[e.prompt, e.response, e.label, e.pair] for e in examples]))


def read_examples(file: Path, at: Span | None = None) -> tuple[list[Example] | None, Diagnostics]:
    """Read an examples file. Every bad row is reported (T519), as is a set that lacks one of the two labels."""
    found = Diagnostics()
    read = [_example(row, place, found, at) for place, row in standing_rows(file, "T519", found, at)]
    examples = [e for e in read if e is not None]
    if not found.failed and {e.label for e in examples} != {0, 1}:
        found.add("T519", at, f"{file.name} needs rows with label 1 and rows with label 0")
    return (None if found.failed else examples), found


def _example(row: Row, place: str, found: Diagnostics, at: Span | None) -> Example | None:
    try:
        return _checked(row)
    except (ValueError, KeyError, TypeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        found.add("T519", at, f"{place}: {reason}")
        return None


def _checked(row: Row) -> Example:
    prompt, response, label, pair = row["prompt"], row["response"], row["label"], row.get("pair", "")
    if not isinstance(prompt, str) or not isinstance(response, str) or not response.strip():
        raise TypeError("`prompt` and `response` must be text, and `response` not empty")
    if label not in (0, 1):
        raise ValueError("`label` must be 0 or 1")
    f"{prompt}{response}".encode()
    return Example(prompt, response, int(label), str(pair) if pair is not None else "")
