"""Lint of data: how the rows of a file are read, and what is wrong with them, without a model."""

from __future__ import annotations

from pathlib import Path

from tiltc.allow import apply_allows
from tiltc.datafile import read_pairs
from tiltc.diagnostics import Diagnostics
from tiltc.evidence.find import local_path
from tiltc.parse import SpecFile


def lint_data(path: Path) -> tuple[str | None, Diagnostics]:
    """In a line how the rows of a data set are read, None where they can't be. Findings: those of `read_pairs`."""
    taken, found = read_pairs(path, path.name)
    return (None if taken is None else taken.line), found


def lint_data_of(file: SpecFile) -> tuple[str | None, Diagnostics]:
    """The same of the data that a spec names, at its place in the spec. Data that is not local is not looked at."""
    ref, placed = file.spec.data, Diagnostics()
    path = local_path(ref, file.folder)
    if path is None:
        return None, placed
    taken, found = read_pairs(path, ref)
    for d in found:
        placed.add(d.code, file.at(("data",)), d.primary.text, notes=d.notes, helps=d.helps)
    kept, _ = apply_allows(file, placed, ())
    return (None if taken is None else taken.line), kept
