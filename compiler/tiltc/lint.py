"""Lint: everything that can be said about a spec without a model, evidence or data."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from tiltc.allow import apply_allows
from tiltc.diagnostics import Diagnostics
from tiltc.parse import SpecFile, parse


def lint(path: str | Path, overrides: Sequence[str] = ()) -> tuple[SpecFile | None, Diagnostics]:
    """Parse a spec or a concept library and check it against itself."""
    file, found = parse(path, overrides, libraries=True)
    if file is None:
        return None, found
    found.extend(_static(file))
    kept, _ = apply_allows(file, found)
    return file, kept


def _static(file: SpecFile) -> Diagnostics:
    """The conflicts that need no evidence."""
    if importlib.util.find_spec("tiltc.check") is None:
        return Diagnostics()
    static = getattr(importlib.import_module("tiltc.check"), "static", None)
    return static(file) if static else Diagnostics()
