"""Under GitHub Actions a line of a log can be a command to the runner: only those that are meant get through."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from typing import TextIO

#: A command of today stands at the beginning of a line, blanks before it or not; one of old anywhere.
_COMMAND = re.compile(r"(?:^|(?<=\r))([^\S\r\n]*:)(?=:)", re.MULTILINE)
_LINE_END = re.compile(r"[\r\n]")
_OLD = "##["


class Commands(str):
    """Text whose lines are commands on purpose."""

    __slots__ = ()


class Json(str):
    """Text that is JSON: what is escaped in it means the same to who reads it."""

    __slots__ = ()


def guarded(stream: TextIO) -> TextIO:
    """The stream as it is, or, where a runner reads it, one that breaks commands which other text would give."""
    return cast("TextIO", _Guarded(stream)) if os.environ.get("GITHUB_ACTIONS") else stream


class _Guarded:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        #: what the line that is being written holds so far
        self._line = ""

    def write(self, text: str) -> int:
        if not isinstance(text, Commands):
            text = self._broken(text)
        self._line = _LINE_END.split(self._line + text)[-1][-200:]
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def _broken(self, text: str) -> str:
        if isinstance(text, Json):
            return text.replace(_OLD, "##\\u005b")  # the same to who reads JSON
        if self._line.strip() == ":" and text.startswith(":"):
            text = f" {text}"
        fresh = not self._line.strip()
        broken = _COMMAND.sub(r"\1 ", text if fresh else f"\0{text}")
        return (broken if fresh else broken[1:]).replace(_OLD, "## [")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
