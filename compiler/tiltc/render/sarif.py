"""Findings in SARIF 2.1.0, the format that code scanning reads."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tiltc.canonical import canonical_json
from tiltc.codes import CODES, Code
from tiltc.diagnostics import Diagnostic, Diagnostics, Label, Severity, Span
from tiltc.render.places import in_file, message

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


def render_sarif(found: Diagnostics) -> str:
    """One run. Regions count columns in code points; end columns are exclusive, as in spans."""
    codes = sorted({diagnostic.code for diagnostic in found})
    driver = {"name": "tiltc", "version": _version(), "rules": [_rule(CODES[code]) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(diagnostic, codes.index(diagnostic.code)) for diagnostic in found],
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


def _result(diagnostic: Diagnostic, rule: int) -> dict[str, Any]:
    remarks = [*(f"note: {note}" for note in diagnostic.notes), *(f"help: {help}" for help in diagnostic.helps)]
    text = "\n".join([f"{CODES[diagnostic.code].title}: {message(diagnostic.primary)}", *remarks])
    span = in_file(diagnostic.primary.span)
    related = [_related(label, index) for index, label in enumerate(diagnostic.labels) if in_file(label.span)]
    return {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": text},
        "locations": [_location(span)] if span else [],
        "relatedLocations": related,
    }


def _related(label: Label, index: int) -> dict[str, Any]:
    assert label.span is not None
    return {"id": index, "message": {"text": label.text}, **_location(label.span)}


def _location(span: Span) -> dict[str, Any]:
    region = {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(span.path)}, "region": region}}


def _uri(path: str) -> str:
    return Path(path).as_uri() if os.path.isabs(path) else quote(Path(path).as_posix())  # noqa: PTH117
