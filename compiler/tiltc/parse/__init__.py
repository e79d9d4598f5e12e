"""Text to a typed spec whose names are all known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from tiltc.diagnostics import Diagnostics
from tiltc.parse.document import MOST, Document
from tiltc.parse.library import Library, with_keepers
from tiltc.parse.overrides import apply_overrides
from tiltc.parse.rules import RULES
from tiltc.parse.rules.features import without_sae
from tiltc.parse.specfile import Definition, SpecFile
from tiltc.parse.validate import validate_library, validate_spec
from tiltc.parse.variables import check_variables
from tiltc.paths import readable_roots, real
from tiltc.source import read
from tiltc.spec import Spec

__all__ = ["Definition", "SpecFile", "parse"]


def parse(
    path: str | Path, overrides: Sequence[str] = (), *, libraries: bool = False
) -> tuple[SpecFile | None, Diagnostics]:
    """Read a spec, apply `--set` overrides, merge the libraries it extends and check its names.

    Args:
        path: the spec file; spans show it as given.
        overrides: `dotted.path=value` texts, values in YAML.
        libraries: take a concept library as well, as a spec without signals.

    Returns:
        The spec file, or None when any finding is an error.
    """
    # a link may lead to a stranger's file, which must not be read aloud
    linked = real(path) != Path(os.path.abspath(path))  # noqa: PTH100
    source, found = read(Path(path), str(path), ours=linked)
    if source is None:
        return None, found
    document = Document.of(source)
    applied = apply_overrides(document, overrides, found)
    check_variables(document, found)
    spec = _library(document, found) if libraries and _is_library(document) else validate_spec(document, found)
    if spec is None or found.failed:
        return None, found
    library = Library(found, roots=readable_roots(Path(path).parent))
    library.add(document, spec)
    if found.failed:
        return None, found
    definitions = with_keepers(library.definitions)
    spec_file = SpecFile(str(path), spec, definitions, library.sources, applied, document.overridden, library.names)
    spec_file = without_sae(spec_file)
    for rule in RULES:
        found.extend(islice(rule(spec_file), MOST))
    return (None if found.failed else spec_file), found


def _is_library(document: Document) -> bool:
    """Concepts, and nothing of what a spec can't be without."""
    return "concepts" in document.data and not {"name", "signals"} & document.data.keys()


def _library(document: Document, found: Diagnostics) -> Spec | None:
    content = validate_library(document, found)
    if content is None:
        return None
    return Spec.model_construct(
        tiltc=content.tiltc, name="", extends=content.extends, concepts=content.concepts, signals=()
    )
