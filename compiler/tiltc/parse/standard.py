"""The `std` library: read once a process, and copied for each spec."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tiltc.parse.specfile import Definition
from tiltc.spec import ConceptFile

#: What the library's files are called in messages: `std/style.yaml`.
PREFIX = "std"

_FOLDER = Path(__file__).parent.parent / "std"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def standard_library() -> dict[str, Definition]:
    """Every concept that ships with tiltc, by name."""
    return dict(_read())


@cache
def _read() -> dict[str, Definition]:
    return {
        name: Definition(name, concept, f"{PREFIX}/{file.name}", _FOLDER, ("concepts", name))
        for file in sorted(_FOLDER.glob("*.yaml"))
        for name, concept in _content(file).concepts.items()
    }


def _content(file: Path) -> ConceptFile:
    raw: Any = yaml.load(file.read_bytes(), Loader=_LOADER)
    # strict models take JSON lists for tuples, but not Python lists
    return ConceptFile.model_validate_json(json.dumps(raw))
