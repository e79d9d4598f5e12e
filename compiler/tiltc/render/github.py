"""Findings as GitHub workflow commands, which show as annotations on a pull request."""

from __future__ import annotations

from tiltc.codes import CODES
from tiltc.diagnostics import Diagnostic, Diagnostics, Severity
from tiltc.printing import printable
from tiltc.render.places import first_line, in_file, in_repository, message
from tiltc.workflow import Commands

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render_github(found: Diagnostics, subject: str | None = None) -> str:
    """One line a finding; those without a place stand at the first line of the subject."""
    return Commands("".join(_command(diagnostic, subject) + "\n" for diagnostic in found))


def _command(diagnostic: Diagnostic, subject: str | None) -> str:
    span = in_file(diagnostic.primary.span) or first_line(subject)
    properties = {"title": f"{diagnostic.code} {CODES[diagnostic.code].title}"}
    if span is not None:
        places = {"file": in_repository(span.path), "line": span.line, "endLine": span.end_line, "col": span.column}
        properties = {key: str(value) for key, value in places.items()} | properties
        if span.line == span.end_line:
            properties["endColumn"] = str(span.end_column)
    lines = [
        message(diagnostic.primary),
        *(f"{span.line}: {label.text}" for label in diagnostic.labels if (span := in_file(label.span))),
        *(f"note: {note}" for note in diagnostic.notes),
        *(f"help: {help}" for help in diagnostic.helps),
    ]
    written = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{_LEVELS[diagnostic.severity]} {written}::{_data(chr(10).join(lines))}"


def _data(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
