"""Reading a spec or library file: bytes to text to nodes, with every refusal a diagnostic."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tiltc.diagnostics import Diagnostics, Span
from tiltc.paths import kind
from tiltc.source.compose import MOST_VALUES, compose
from tiltc.source.nodes import Entry, MappingNode, Node, Route, Scalar, count, descend

#: Bytes. A spec is written by hand; anything larger was given by mistake.
LARGEST = 1_000_000

_LINE_BREAK = re.compile(r"\r\n|\n|\r")
#: Not printable in YAML, line breaks only some readers know, and direction marks that make text read as what it is not.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)

#: The key that a spec and a concept library have, and hardly any other file.
_MARK = re.compile(rb"""(?:\A(?:\xef\xbb\xbf)?|[\r\n])\{?[ \t]*["']?tiltc["']?[ \t]*:""")


@dataclass(frozen=True)
class SourceFile:
    """A file that was read: its path as the user gave it, its text and its node tree."""

    path: str
    text: str
    root: MappingNode
    #: where it is; `path` may have `${VAR}` in it
    file: Path | None = None

    @property
    def folder(self) -> Path:
        """What paths in the file are relative to."""
        return (self.file or Path(self.path)).parent

    @cached_property
    def lines(self) -> list[str]:
        return split_lines(self.text)

    @cached_property
    def values(self) -> int:
        """Scalars and collections in it."""
        return count(self.root)

    def at(self, route: Route, key: bool = False) -> Span:
        """The place of the value at a route, or of its key; of the nearest parent that is there when it is not."""
        steps = list(descend(self.root, route))
        if not steps:
            return self.root.span
        last = steps[-1]
        if not isinstance(last, Entry):
            return last.span
        return last.key.span if key or len(steps) < len(route) else last.value.span

    def node(self, route: Route) -> Node | None:
        """What stands at a route, or None when there is nothing."""
        steps = list(descend(self.root, route))
        last = steps[-1] if len(steps) == len(route) and steps else None
        return last.value if isinstance(last, Entry) else last

    def written(self, route: Route) -> str | None:
        """The scalar at a route as it is written, or None when there is none."""
        node = self.node(route)
        return node.text if isinstance(node, Scalar) else None


#: Begins the path of spans that point at a `--set` of the command line and not at a file.
COMMAND_LINE = "--set "


def override_span(written: str, key: bool = False) -> Span:
    """The place of the value of an override as typed after `--set`, or of its path."""
    path, equals, value = written.partition("=")
    first = len(COMMAND_LINE) + 1
    if not key and equals:
        first, path = first + len(path) + 1, value
    return Span(COMMAND_LINE + written, 1, first, 1, first + max(len(path), 1))


def split_lines(text: str) -> list[str]:
    """The lines of a text, at the line breaks that positions count."""
    return _LINE_BREAK.split(text)


def read(
    file: Path, path: str, at: Span | None = None, ours: bool = False, most: int = MOST_VALUES
) -> tuple[SourceFile | None, Diagnostics]:
    """Read a file.

    Args:
        file: where it is.
        path: what to call it in messages.
        at: the place that names the file, for findings about the file as a whole.
        ours: refuse a file that does not say `tiltc:` (T115), without a word of what it holds.
        most: scalars and collections that it may have.
    """
    found = Diagnostics()
    text = read_text(file, path, found, at, ours)
    root = compose(path, text, found, most) if text is not None else None
    return (SourceFile(path, text, root, file), found) if text is not None and root is not None else (None, found)


def read_text(file: Path, path: str, found: Diagnostics, at: Span | None = None, ours: bool = False) -> str | None:
    """The text of a file without its byte order mark, or None with the reason among the findings."""
    content = _bytes(file, path, found, at)
    if content is None:
        return None
    if ours and not _MARK.search(content):
        helps = ["a concept library has `tiltc: 1` and `concepts:`"]
        found.add("T115", at, f"`{path}` says no `tiltc: 1`", helps=helps)
        return None
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8").removeprefix("\ufeff")
        byte = content[error.start]
        found.add("T103", _after(path, before), f"byte 0x{byte:02x} is not UTF-8", helps=["save the file as UTF-8"])
        return None
    return text if _clean(path, text, found) else None


def _bytes(file: Path, path: str, found: Diagnostics, at: Span | None) -> bytes | None:
    if kind(file) == "other":
        found.add("T117", at, f"`{path}` is a pipe or a device")
        return None
    try:
        with open(file, "rb", opener=_unwaiting) as stream:
            size = os.fstat(stream.fileno()).st_size
            content = b"" if size > LARGEST else stream.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        found.add("T101", at, f"cannot read `{path}`: {reason[0].lower()}{reason[1:]}")
        return None
    if size <= LARGEST and len(content) <= LARGEST:
        return content
    more = f"{size:,}" if size > LARGEST else f"more than {LARGEST:,}"
    found.add("T102", at, f"`{path}` has {more} bytes", notes=[f"a spec or library may have {LARGEST:,}"])
    return None


def _unwaiting(path: str, flags: int) -> int:
    # what became a pipe since it was looked at must not keep us waiting
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _clean(path: str, text: str, found: Diagnostics) -> bool:
    match = _FORBIDDEN.search(text)
    if match is None:
        return True
    name = f"U+{ord(match[0]):04X}"
    help = f'write it as an escape in double quotes: "\\u{ord(match[0]):04x}"'
    found.add("T104", _after(path, text[: match.start()]), f"{name} cannot be seen by a reviewer", helps=[help])
    return False


def _after(path: str, before: str) -> Span:
    """The one-character place that follows a text."""
    lines = split_lines(before)
    return Span(path, len(lines), len(lines[-1]) + 1, len(lines), len(lines[-1]) + 2)
