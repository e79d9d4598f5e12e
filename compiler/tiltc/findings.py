"""Findings as a plan or a report keeps them."""

from __future__ import annotations

from collections.abc import Iterable

from tiltc.codes import CODES
from tiltc.diagnostics import Diagnostic, Severity
from tiltc.plan import Finding

_ORDER = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


def as_findings(found: Iterable[Diagnostic]) -> tuple[Finding, ...]:
    """Findings without their places, errors first; of the same severity in the order in which they are given."""
    return tuple(_finding(d) for d in sorted(found, key=lambda d: _ORDER.index(d.severity)))


def _finding(d: Diagnostic) -> Finding:
    return Finding(
        code=d.code,
        title=CODES[d.code].title,
        severity=str(d.severity),
        text=d.primary.text,
        notes=d.notes,
        helps=d.helps,
    )
