"""How findings look: text with source snippets, JSON, SARIF and GitHub annotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from tiltc.diagnostics import Diagnostics, Severity
from tiltc.source import SourceFile

Format = Literal["text", "json", "sarif", "github"]
FORMATS: tuple[str, ...] = get_args(Format)


def render(
    found: Diagnostics,
    format: str = "text",
    sources: Mapping[str, SourceFile] | None = None,
    color: bool = False,
    subject: str | None = None,
) -> str:
    """All findings as one text, empty when there is nothing to say in the format.

    Args:
        format: one of `FORMATS`.
        sources: files by the path used in spans; others are read from disk for their snippets.
        color: for `text` only.
        subject: the file that was asked about, for formats in which every finding needs a place.
    """
    if format == "json":
        from tiltc.render.json import render_json

        return render_json(found)
    if format == "sarif":
        from tiltc.render.sarif import render_sarif

        return render_sarif(found, subject)
    if format == "github":
        from tiltc.render.github import render_github

        return render_github(found, subject)
    from tiltc.render.text import render_text

    return render_text(found, sources or {}, color)


def count(found: Diagnostics, severity: Severity) -> int:
    return sum(diagnostic.severity is severity for diagnostic in found)


def summary(found: Diagnostics) -> str:
    """`2 errors, 1 warning`, or `no findings`."""
    counts = ((count(found, severity), severity.value) for severity in Severity)
    parts = [f"{number} {word}{'s' if number > 1 else ''}" for number, word in counts if number]
    return ", ".join(parts) or "no findings"
