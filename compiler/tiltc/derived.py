"""Results that follow from evidence and a definition alone, kept beside the evidence so that a second compile is quick.

A cache, never an authority: every entry is keyed by the digests of all that it follows from, and deleting the folder
changes nothing but the time. An entry that is not what was written under its name (`seal.py`) is made again.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from tiltc.canonical import canonical_json, sha256_text
from tiltc.files import write_bytes
from tiltc.seal import sealed_bytes, unsealed_bytes

#: raised whenever the meaning of a derived result changes
VERSION = "2"
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Derived:
    """Entries under one folder; `folder=None` keeps nothing."""

    folder: Path | None

    def array(self, key: object, make: Callable[[], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        path = self._path(key, "npy")
        if path is None:
            return make()
        try:
            return np.asarray(np.load(io.BytesIO(_read(path)), allow_pickle=False), dtype=np.float64)
        except (OSError, ValueError, EOFError):
            value, data = make(), io.BytesIO()
            np.save(data, value)
            self._write(path, data.getvalue())
            return value

    def model(self, key: object, kind: type[M], make: Callable[[], M]) -> M:
        path = self._path(key, "json")
        if path is None:
            return make()
        try:
            return kind.model_validate_json(_read(path))
        except (OSError, ValueError, ValidationError):
            value = make()
            self._write(path, canonical_json(value).encode())
            return value

    def _path(self, key: object, ending: str) -> Path | None:
        return (
            None
            if self.folder is None
            else self.folder / f"{sha256_text(canonical_json([VERSION, version('tiltc'), key]))[:32]}.{ending}"
        )

    def _write(self, path: Path, content: bytes) -> None:
        """Best effort: a full or read-only disk costs time, not the compile."""
        with suppress(OSError):
            write_bytes(path, sealed_bytes(path.name, content), flush=False)


def _read(path: Path) -> bytes:
    """Raises OSError, and ValueError for what is not the entry that was written under this name."""
    content = unsealed_bytes(path.name, path.read_bytes())
    if content is None:
        raise ValueError(f"{path.name} is not what was written")
    return content
