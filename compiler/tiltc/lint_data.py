"""Lint of data: how the rows of a file are read, and what is wrong with them, without a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tiltc.allow import apply_allows
from tiltc.datafile import read_data, read_pairs
from tiltc.diagnostics import Diagnostic, Diagnostics
from tiltc.evidence.find import local_path
from tiltc.parse import SpecFile
from tiltc.parse.library import leads_out
from tiltc.paths import found_at, leads_outside, outside
from tiltc.promptrows import asked_of
from tiltc.questions import is_builtin
from tiltc.spec import FileRef


def lint_data(path: Path) -> tuple[str | None, Diagnostics]:
    """In a line how the rows of a data set are read, None where they can't be. Findings: those of `read_pairs`."""
    taken, found = read_pairs(path, path.name)
    return (None if taken is None else taken.line), found


def lint_data_of(file: SpecFile) -> tuple[str | None, Diagnostics]:
    """The same of the data that a spec names, at its place in the spec; T651 where its prompts can't be read.

    Data that is not local is not looked at. A spec may come from a stranger: T116 for data and prompts outside of its
    repository, of which nothing is read.
    """
    ref, placed = file.spec.data, Diagnostics(list(_outside(file)))
    if placed:
        return None, placed
    placed.extend(_prompts(file))
    path = local_path(ref, file.folder)
    taken, found = read_pairs(path, ref) if path is not None else (None, Diagnostics())
    for d in found:
        placed.add(d.code, file.at(("data",)), d.primary.text, notes=d.notes, helps=d.helps)
    kept, _ = apply_allows(file, placed, ())
    return (None if taken is None else taken.line), kept


def _outside(file: SpecFile) -> Iterator[Diagnostic]:
    for ref, route in ((file.spec.data, ("data",)), (file.spec.verify.prompts, ("verify", "prompts"))):
        text = ref.file if isinstance(ref, FileRef) else ref
        path = local_path(ref, file.folder)
        if isinstance(text, str) and path is not None and _reaches_out(text, path, file):
            yield leads_out(file.at(route), text)


def _reaches_out(text: str, path: Path, file: SpecFile) -> bool:
    """Whether a path, or a link in the folder that it names, leads out."""
    if leads_outside(text, file.folder, file.roots):
        return True
    return path.is_dir() and any(outside(inner, file.roots) for inner in path.rglob("*") if inner.is_symlink())


def _prompts(file: SpecFile) -> Diagnostics:
    """Can the file of `verify.prompts` be asked?"""
    name, found = file.spec.verify.prompts, Diagnostics()
    if is_builtin(name):
        return found
    rows, said = read_data(found_at(name, file.folder))
    faults = [d.primary.text for d in said if d.severity == "error"]
    try:
        asked = [asked_of(row, number) for number, row in enumerate(rows or (), 1)]
    except ValueError as problem:
        faults.append(str(problem))
    else:
        faults += [] if asked or faults else ["it holds no prompt"]
    if faults:
        found.add("T651", file.at(("verify", "prompts")), f"`verify.prompts: {name}`", notes=faults)
    return found
