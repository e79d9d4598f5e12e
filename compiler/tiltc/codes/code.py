from __future__ import annotations

from dataclasses import dataclass

from tiltc.diagnostics import Severity


@dataclass(frozen=True)
class Code:
    """A kind of finding. `title` is constant, so that readers learn it by sight; it states the fault, never the fix."""

    code: str
    title: str
    severity: Severity
    #: what `tiltc explain` prints: what it means, why it matters, an example, what to do
    explain: str
