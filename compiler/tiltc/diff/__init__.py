"""What changes between two plans, as a reviewer wants to read it: `diff` compares, `render` prints."""

from __future__ import annotations

from tiltc.diff.page import render
from tiltc.diff.plans import Change, ConceptDiff, ForecastDiff, PlanDiff, diff
from tiltc.diff.rows import RowChange, RowsDiff, compare_rows

__all__ = [
    "Change",
    "ConceptDiff",
    "ForecastDiff",
    "PlanDiff",
    "RowChange",
    "RowsDiff",
    "compare_rows",
    "diff",
    "render",
]
