"""Findings in SARIF 2.1.0, the format that code scanning reads."""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tiltc.canonical import canonical_json
from tiltc.codes import CODES, Code
from tiltc.diagnostics import Diagnostic, Diagnostics, Label, Severity, Span
from tiltc.printing import printable
from tiltc.render.places import first_line, in_file, in_repository, message

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def render_sarif(found: Diagnostics, subject: str | None = None) -> str:
    """One run. Regions count columns in code points; end columns are exclusive, as in spans.

    Args:
        subject: the file at whose first line findings without a place stand.
    """
    codes = sorted({diagnostic.code for diagnostic in found})
    driver = {"name": "tiltc", "version": _version(), "rules": [_rule(CODES[code]) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(diagnostic, codes.index(diagnostic.code), subject) for diagnostic in found],
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return canonical_json({"$schema": schema, "version": "2.1.0", "runs": [run]})


@cache
def _version() -> str:
    return version("tiltc")


def _rule(code: Code) -> dict[str, Any]:
    return {
        "id": code.code,
        "shortDescription": {"text": code.title},
        "fullDescription": {"text": code.explain.split("\n\n")[0]},
        "help": {"text": code.explain},
        "defaultConfiguration": {"level": _LEVELS[code.severity]},
    }


def _result(diagnostic: Diagnostic, rule: int, subject: str | None) -> dict[str, Any]:
    remarks = [*(f"note: {note}" for note in diagnostic.notes), *(f"help: {help}" for help in diagnostic.helps)]
    text = "\n".join([f"{CODES[diagnostic.code].title}: {message(diagnostic.primary)}", *remarks])
    span = in_file(diagnostic.primary.span) or first_line(subject)
    related = [_related(label, index) for index, label in enumerate(diagnostic.labels) if in_file(label.span)]
    return {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": _plain(text)},
        "locations": [_location(span)] if span else [],
        "relatedLocations": related,
    }


def _related(label: Label, index: int) -> dict[str, Any]:
    assert label.span is not None
    return {"id": index, "message": {"text": _plain(label.text)}, **_location(label.span)}


def _location(span: Span) -> dict[str, Any]:
    region = {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(span.path)}, "region": region}}


def _plain(text: str) -> str:
    """Text in which a viewer finds no link: brackets before a parenthesis are escaped, as SARIF has it."""
    return re.sub(r"\[([^\[\]]*)\](?=\()", r"\\[\1\\]", printable(text))


def _uri(path: str) -> str:
    shown = in_repository(path)
    return Path(shown).as_uri() if os.path.isabs(shown) else quote(shown)  # noqa: PTH117
