"""Definitions that can't find anything."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.rules.files import unreadable
from tiltc.parse.specfile import SpecFile

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def odd_names(file: SpecFile) -> Iterator[Diagnostic]:
    """A concept name that can't be typed at a prompt or in a table."""
    for name, definition in file.library.items():
        if definition.own and not _NAME.fullmatch(name):
            label = Label(file.definition_at(name, key=True), "a name has letters, digits, `.`, `_` and `-`")
            yield Diagnostic("T114", label)


def blank_definitions(file: SpecFile) -> Iterator[Diagnostic]:
    """An empty list, or an entry of it that can't match."""
    for name, definition in file.library.items():
        concept = definition.concept
        if not definition.own:
            continue
        if concept.words == () or concept.features == ():
            yield Diagnostic("T126", Label(file.definition_at(name, concept.kind, key=True), "the list is empty"))
        for index, word in enumerate(concept.words or ()):
            if not word.strip():
                yield Diagnostic("T126", Label(file.definition_at(name, "words", index), "this entry is blank"))
        for index, feature in enumerate(concept.features or ()):
            if feature < 0:
                text = "feature ids count from 0"
                yield Diagnostic("T126", Label(file.definition_at(name, "features", index), text))
        for side in ("positive", "negative") if concept.contrast else ():
            for index, text in enumerate(getattr(concept.contrast, side)):
                if not text.strip():
                    label = Label(file.definition_at(name, "contrast", side, index), "this system prompt is blank")
                    yield Diagnostic("T126", label)
        if concept.pattern == "":
            yield Diagnostic("T126", Label(file.definition_at(name, "pattern"), "the pattern is empty"))


def misread_clusters(file: SpecFile) -> Iterator[Diagnostic]:
    """An audit's cluster of prompts that is read in responses, or the reverse."""
    for name, definition in file.library.items():
        key = definition.concept.audit
        if key is None or not definition.own:
            continue
        reads = "prompt" if key.startswith("p-") else "response"
        if definition.concept.reads != reads:
            label = Label(file.definition_at(name, "audit"), f"a cluster of {reads} features")
            yield Diagnostic("T144", label, helps=(f"write `reads: {reads}`",))


def missing_examples(file: SpecFile) -> Iterator[Diagnostic]:
    """An `examples:` file that is not there."""
    for definition in file.library.values():
        text = definition.concept.examples
        if text is not None and definition.own:
            yield from unreadable(file, definition, text, ("examples",), "T143")
