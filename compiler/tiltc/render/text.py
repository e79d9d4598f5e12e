"""Findings for people: the lines they are about, with what is the matter written underneath."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tiltc.codes import CODES
from tiltc.diagnostics import Diagnostic, Diagnostics, Label, Severity, Span
from tiltc.paths import expand, kind
from tiltc.render.screen import columns, shown, window
from tiltc.source import COMMAND_LINE, LARGEST, SourceFile
from tiltc.source.file import split_lines

_COLORS = {Severity.ERROR: "\x1b[1;31m", Severity.WARNING: "\x1b[1;33m", Severity.NOTE: "\x1b[1;36m"}
_BOLD, _BLUE, _RESET = "\x1b[1m", "\x1b[1;34m", "\x1b[0m"


def render_text(found: Diagnostics, sources: Mapping[str, SourceFile], color: bool) -> str:
    """All findings, and one line that says where to read more."""
    if not found:
        return ""
    snippets = _Snippets(sources)
    blocks = ["\n".join(_block(diagnostic, snippets, _Paint(color, diagnostic.severity))) for diagnostic in found]
    codes = " ".join(sorted({diagnostic.code for diagnostic in found}))
    return "\n\n".join(blocks) + f"\n\nFor more: tiltc explain {codes}\n"


@dataclass(frozen=True)
class _Paint:
    on: bool
    severity: Severity

    def __call__(self, style: str, text: str) -> str:
        return f"{style}{text}{_RESET}" if self.on and text else text

    def loud(self, text: str) -> str:
        return self(_COLORS[self.severity], text)

    def frame(self, text: str) -> str:
        return self(_BLUE, text)


class _Snippets:
    """Lines of source by path. A file that is not given is read once; one that can't be read has no lines."""

    def __init__(self, sources: Mapping[str, SourceFile]) -> None:
        self.lines = {path: source.lines for path, source in sources.items()}

    def line(self, path: str, number: int) -> str | None:
        if path not in self.lines:
            self.lines[path] = self.load(path)
        lines = self.lines[path]
        return lines[number - 1] if 0 < number <= len(lines) else None

    def load(self, path: str) -> list[str]:
        if path.startswith(COMMAND_LINE):
            return [path]
        file = Path(expand(path))
        if kind(file) != "file":
            return []
        try:
            with open(file, "rb") as stream:
                return split_lines(stream.read(LARGEST).decode("utf-8", "replace").removeprefix("\ufeff"))
        except (OSError, ValueError):
            return []


def _block(diagnostic: Diagnostic, snippets: _Snippets, paint: _Paint) -> Iterator[str]:
    severity = diagnostic.severity.value
    title = CODES[diagnostic.code].title
    yield paint.loud(f"{severity}[{diagnostic.code}]") + paint(_BOLD, f": {title}")
    labels = [diagnostic.primary, *diagnostic.labels]
    width = max((len(str(label.span.line)) for label in labels if label.span), default=1)
    gutter = " " * (width + 1)
    yield from _places(diagnostic, snippets, width, paint)
    placeless = [label.text for label in labels if label.span is None]
    for text in placeless:
        yield f"{gutter}{paint.frame('=')} {_continued(text, gutter)}"
    remarks = [("note", note) for note in diagnostic.notes] + [("help", help) for help in diagnostic.helps]
    if remarks and not placeless:
        yield gutter + paint.frame("|")
    for what, text in remarks:
        yield f"{gutter}{paint.frame('=')} {paint(_BOLD, what)}: {_continued(text, gutter + '  ')}"


def _places(diagnostic: Diagnostic, snippets: _Snippets, width: int, paint: _Paint) -> Iterator[str]:
    """The snippets, the primary label's file first and each file's labels in line order."""
    primary = diagnostic.primary.span
    marked = [(label, span) for label in (diagnostic.primary, *diagnostic.labels) if (span := label.span) is not None]
    marked.sort(key=lambda item: (primary is None or item[1].path != primary.path, item[1]))
    for path, group in groupby(marked, key=lambda item: item[1].path):
        members = list(group)
        at = primary if primary and path == primary.path else members[0][1]
        arrow = "-->" if at is primary else ":::"
        place = "command line" if path.startswith(COMMAND_LINE) else f"{shown(path)}:{at.line}:{at.column}"
        yield f"{' ' * width}{paint.frame(arrow)} {place}"
        yield " " * (width + 1) + paint.frame("|")
        for number, same in groupby(members, key=lambda item: item[1].line):
            line = snippets.line(path, number)
            labels = [(label, span, label is diagnostic.primary) for label, span in same]
            yield from _line(number, line, labels, width, paint)


def _line(
    number: int, line: str | None, labels: list[tuple[Label, Span, bool]], width: int, paint: _Paint
) -> Iterator[str]:
    """A line of source with its labels underneath; a long line is cut to the part that matters."""
    left = 0
    if line is not None:
        left, part = window(line, labels[0][1].column)
        yield f"{paint.frame(f'{number:>{width}} |')} {part}".rstrip()
    for label, span, primary in labels:
        start, length = columns(line or "", span, left)
        mark = ("^" if primary else "-") * length
        text = f"{mark} {shown(label.text)}".rstrip()
        yield f"{' ' * (width + 1)}{paint.frame('|')} {' ' * start}" + (
            paint.loud(text) if primary else paint.frame(text)
        )


def _continued(text: str, gutter: str) -> str:
    """Further lines of a text, set in under the first."""
    return f"\n{gutter}  ".join(shown(line) for line in text.split("\n"))
