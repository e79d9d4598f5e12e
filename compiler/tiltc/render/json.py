"""Findings for programs."""

from __future__ import annotations

from typing import Any

from tiltc.canonical import canonical_json
from tiltc.codes import CODES
from tiltc.diagnostics import Diagnostic, Diagnostics, Label, Severity


def render_json(found: Diagnostics) -> str:
    """`{"diagnostics": [...], "errors": n, "warnings": n}`; places count from 1, end columns are exclusive."""
    return canonical_json(
        {
            "diagnostics": [_diagnostic(diagnostic) for diagnostic in found],
            "errors": sum(d.severity is Severity.ERROR for d in found),
            "warnings": sum(d.severity is Severity.WARNING for d in found),
        }
    )


def _diagnostic(diagnostic: Diagnostic) -> dict[str, Any]:
    return {
        "code": diagnostic.code,
        "title": CODES[diagnostic.code].title,
        "severity": diagnostic.severity.value,
        "message": diagnostic.primary.text,
        "span": diagnostic.primary.span._asdict() if diagnostic.primary.span else None,
        "labels": [_label(label) for label in diagnostic.labels],
        "notes": list(diagnostic.notes),
        "helps": list(diagnostic.helps),
    }


def _label(label: Label) -> dict[str, Any]:
    return {"span": label.span._asdict() if label.span else None, "text": label.text}
