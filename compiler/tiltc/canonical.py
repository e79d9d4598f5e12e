"""One way to write JSON and one way to hash: everything that is pinned goes through here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tiltc.workflow import Json


def canonical_json(value: Any) -> Json:
    """Sorted, indented JSON with a final newline.

    Raises:
        ValueError: for NaN or infinity.
        TypeError: for anything without a stable JSON form.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True)
    return Json(json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sha256_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(model: BaseModel, without: Iterable[str] = ("digest",)) -> str:
    """sha256 of a model's canonical JSON, leaving out the named fields."""
    dumped = model.model_dump(mode="json", by_alias=True)
    for name in without:
        dumped.pop(name, None)
    return sha256_text(canonical_json(dumped))
