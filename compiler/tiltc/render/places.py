"""Places for formats that know files only."""

from __future__ import annotations

from tiltc.diagnostics import Label, Span
from tiltc.source import COMMAND_LINE


def in_file(span: Span | None) -> Span | None:
    """The span, or None when it points at the command line."""
    return span if span and not span.path.startswith(COMMAND_LINE) else None


def message(label: Label) -> str:
    """The label's text, with the part of the command line that it is about."""
    if label.span and not in_file(label.span):
        return f"`{label.span.path}`: {label.text}"
    return label.text
