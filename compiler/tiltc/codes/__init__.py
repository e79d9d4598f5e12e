"""The registry of diagnostic codes. One file a stage; a code is never reused."""

from __future__ import annotations

from tiltc.codes.auditing import AUDITING
from tiltc.codes.code import Code
from tiltc.codes.conflict import CONFLICT
from tiltc.codes.effect import EFFECT
from tiltc.codes.resolving import RESOLVING
from tiltc.codes.solving import SOLVING
from tiltc.codes.stale import STALE
from tiltc.codes.syntax import SYNTAX

__all__ = ["CODES", "Code"]

CODES: dict[str, Code] = {
    c.code: c for family in (SYNTAX, RESOLVING, CONFLICT, SOLVING, STALE, EFFECT, AUDITING) for c in family
}
