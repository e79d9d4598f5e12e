"""What a stage has to say: data only. `render.py` knows how it looks, `codes.py` what each code means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

#: Characters of a text of a finding: a name may have a million.
LONGEST = 2000


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Span(NamedTuple):
    """A place in a file. Lines and columns count from 1; the end column is exclusive."""

    # a tuple, since a file of a megabyte has a hundred thousand of them

    path: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Label:
    """A place and what is the matter there. `span` is None for findings that have no place in a file."""

    span: Span | None
    text: str

    def __post_init__(self) -> None:
        if len(self.text) > LONGEST:
            object.__setattr__(self, "text", _cut(self.text))


@dataclass(frozen=True)
class Diagnostic:
    """One finding.

    The title and default severity belong to the code (`codes.py`). `primary` names the user's things, `notes` carry
    evidence, `helps` are edits to make. `severity` overrides the code's own where a stage must.
    """

    code: str
    primary: Label
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    helps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("notes", "helps"):
            if any(len(text) > LONGEST for text in getattr(self, name)):
                object.__setattr__(self, name, tuple(map(_cut, getattr(self, name))))

    @property
    def severity(self) -> Severity:
        from tiltc.codes import CODES

        return CODES[self.code].severity


@dataclass
class Diagnostics:
    """The findings of a stage, in the order found. Sorted by place and without repeats when iterated."""

    found: list[Diagnostic] = field(default_factory=list)

    def add(
        self,
        code: str,
        at: Span | None,
        text: str,
        *,
        labels: Iterable[Label] = (),
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
    ) -> None:
        """Record a finding. `code` must be registered in `codes.py`."""
        self.found.append(Diagnostic(code, Label(at, text), tuple(labels), tuple(notes), tuple(helps)))

    def extend(self, more: Iterable[Diagnostic]) -> None:
        self.found.extend(more)

    @property
    def failed(self) -> bool:
        """True when an error is among the findings, so that the next stage must not start."""
        return any(d.severity is Severity.ERROR for d in self.found)

    def __iter__(self) -> Iterator[Diagnostic]:
        unique = dict.fromkeys(self.found)
        return iter(
            sorted(unique, key=lambda d: (d.primary.span is None, d.primary.span or Span("", 0, 0, 0, 0), d.code))
        )

    def __len__(self) -> int:
        return len(dict.fromkeys(self.found))

    def __bool__(self) -> bool:
        return bool(self.found)
