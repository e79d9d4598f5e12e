"""Places for formats that know files only."""

from __future__ import annotations

from pathlib import Path

from tiltc.diagnostics import Label, Span
from tiltc.paths import VARIABLE, real, repository
from tiltc.source import COMMAND_LINE


def in_file(span: Span | None) -> Span | None:
    """The span, or None when it points at the command line."""
    return span if span and not span.path.startswith(COMMAND_LINE) else None


def first_line(subject: str | None) -> Span | None:
    """Where a finding without a place is shown: the beginning of the file that was asked about."""
    return Span(subject, 1, 1, 1, 2) if subject else None


def in_repository(path: str) -> str:
    """A path as the repository has it, since who reads a finding elsewhere knows no working folder; else as it is given.

    A file outside of it, or one whose path has a variable in it, stays as it is written.
    """
    root = None if VARIABLE.search(path) else repository(Path(path).parent)
    if root is None:
        return Path(path).as_posix()
    # the folder's links are followed and the file's are not: it is the link that is in the repository
    file = real(Path(path).parent) / Path(path).name
    return file.relative_to(root).as_posix()


def message(label: Label) -> str:
    """The label's text, with the part of the command line that it is about."""
    if label.span and not in_file(label.span):
        return f"`{label.span.path}`: {label.text}"
    return label.text
