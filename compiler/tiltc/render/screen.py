"""Text on a terminal: what is safe to print and how many columns it takes."""

from __future__ import annotations

import unicodedata

from tiltc.diagnostics import Span
from tiltc.printing import printable

#: Columns of a source line that are shown.
WIDEST = 140
_TAB = "    "


def shown(text: str) -> str:
    """Printable text on one line, whose columns can be counted."""
    if text.isascii() and text.isprintable():
        return text
    return printable(text).replace("\t", _TAB).replace("\n", "\u240a")


def width(text: str) -> int:
    """Columns that a printable text takes."""
    return len(text) if text.isascii() else sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if unicodedata.combining(char) or char in "\u200d\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def window(line: str, column: int) -> tuple[int, str]:
    """The part of a line to show so that a column can be seen, and how many characters are cut on its left."""
    left = max(0, column - 1 - WIDEST // 2) if column > WIDEST * 3 // 4 else 0
    cut = line[left : left + WIDEST]
    before = "…" if left else ""
    after = "…" if left + WIDEST < len(line) else ""
    return left, before + shown(cut) + after


def columns(line: str, span: Span, left: int) -> tuple[int, int]:
    """Where a mark under a shown line starts and how long it is. A span of several lines is marked on its first."""
    first = span.column - 1
    last = span.end_column - 1 if span.end_line == span.line else len(line.rstrip())
    start = width(shown(line[left:first])) + (1 if left else 0)
    length = width(shown(line[first : min(max(last, first + 1), left + WIDEST)]))
    return start, max(length, 1)
