"""A spec on its way to being typed: plain values, and the place each of them came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tiltc.diagnostics import Diagnostics, Label, Span
from tiltc.source import Route, SourceFile, override_span, plain
from tiltc.source.compose import MOST

__all__ = ["MOST", "Document"]


@dataclass
class Document:
    """The values of a file with `--set` applied. `overridden` maps a route to the override as typed."""

    source: SourceFile
    data: dict[str, Any]
    overridden: dict[Route, str] = field(default_factory=dict[Route, str])

    @classmethod
    def of(cls, source: SourceFile) -> Document:
        return cls(source, plain(source.root))

    def label(self, route: Route, text: str, key: bool = False) -> Label:
        """A label at a route: its place in the file, or the override that put it there."""
        for changed, written in self.overridden.items():
            if route[: len(changed)] == changed:
                return Label(override_span(written, key and route == changed), text)
        return Label(self.source.at(route, key), text)

    def report(
        self,
        found: Diagnostics,
        code: str,
        route: Route,
        text: str,
        *,
        key: bool = False,
        helps: list[str] | None = None,
    ) -> None:
        label = self.label(route, text, key)
        found.add(code, label.span, label.text, helps=helps or ())

    def key_of(self, route: Route) -> Span:
        return self.source.at(route, key=True)
