"""The audit: what will this data teach? Evidence in, hypotheses out (paper sections 4 and 5; design section 10)."""

from __future__ import annotations

from tiltc.audit.model import Audit

__all__ = ["Audit"]
