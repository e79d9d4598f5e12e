"""Contrasts that can't show anything."""

from __future__ import annotations

from collections.abc import Iterator

from tiltc.detectors import has_detector
from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.rules.files import unreadable
from tiltc.parse.specfile import SpecFile
from tiltc.parse.suggest import did_you_mean
from tiltc.questions import BUILTIN_QUESTIONS, is_builtin
from tiltc.spec import Contrast


def unusable_contrasts(file: SpecFile) -> Iterator[Diagnostic]:
    """Two sides of different number, or one system prompt on both."""
    for name, contrast in _contrasts(file):
        more, fewer = len(contrast.positive), len(contrast.negative)
        if more != fewer:
            label = Label(file.definition_at(name, "contrast", "negative"), f"{fewer} beside {more} positive prompts")
            yield Diagnostic("T145", label)
        for text in dict.fromkeys(contrast.negative):
            if text.strip() in {positive.strip() for positive in contrast.positive}:
                at = file.definition_at(name, "contrast", "negative")
                yield Diagnostic("T145", Label(at, "the same system prompt is on the positive side"))


def unknown_keepers(file: SpecFile) -> Iterator[Diagnostic]:
    """`kept_by` names a concept that is not there, or can't tell of a response whether it shows it."""
    for name, contrast in _contrasts(file):
        if contrast.kept_by is None:
            continue
        at, definition = file.definition_at(name, "contrast", "kept_by"), file.library.get(contrast.kept_by)
        if definition is None:
            helps = tuple(did_you_mean(contrast.kept_by, file.library, most=3))
            yield Diagnostic("T132", Label(at, f"no concept is called `{contrast.kept_by}`"), helps=helps)
        elif definition.concept.reads != "response":
            yield Diagnostic("T145", Label(at, f"`{contrast.kept_by}` reads the prompt"))
        elif not has_detector(definition.concept):
            kind = definition.concept.kind
            yield Diagnostic("T145", Label(at, f"`{contrast.kept_by}` is defined by `{kind}`, which is no detector"))


def missing_questions(file: SpecFile) -> Iterator[Diagnostic]:
    """A `questions:` file or set that is not there."""
    for name, contrast in _contrasts(file):
        text, at = contrast.questions, file.definition_at(name, "contrast", "questions")
        if is_builtin(text):
            if text not in BUILTIN_QUESTIONS:
                helps = tuple(did_you_mean(text, BUILTIN_QUESTIONS))
                yield Diagnostic("T146", Label(at, f"tiltc has no `{text}`"), helps=helps)
        else:
            yield from unreadable(file, file.library[name], text, ("contrast", "questions"), "T146")


def _contrasts(file: SpecFile) -> Iterator[tuple[str, Contrast]]:
    for name, definition in file.library.items():
        if definition.own and definition.concept.contrast is not None:
            yield name, definition.concept.contrast
