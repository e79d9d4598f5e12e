"""Scores A(x, y) = log p(y | x; instructed or steered) - log p(y | x) of the frozen model: what is asked for, by name.

The residual forms of `inoculate` and `steer` take their offsets from them (`tiltc_runtime.likelihood` computes them).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiltc.canonical import canonical_json, sha256_text

if TYPE_CHECKING:
    import numpy as np

#: the folder of log p(y | x) itself, from which all scores are differences
CLEAN = "clean"
#: file of a likelihood folder
SCORES = "scores.parquet"


@dataclass(frozen=True)
class Instructed:
    """The model is told to show the concept: `text` stands at the end of the last user turn."""

    text: str

    @property
    def key(self) -> str:
        return prompt_key(self.text)

    @property
    def pins(self) -> dict[str, Any]:
        """What a `LikelihoodManifest` says of the request."""
        return {"kind": "prompt", "sha256": sha256_text(self.text)}


@dataclass(frozen=True, eq=False)
class Steered:
    """`size` times `vector` (d,) is added to the output of decoder layer `layer` from the last user turn on.

    Layers count from 0; -1 is what enters layer 0.
    """

    vector: np.ndarray
    layer: int
    size: float

    @property
    def key(self) -> str:
        return steer_key(self.vector, self.layer, self.size)

    @property
    def pins(self) -> dict[str, Any]:
        """What a `LikelihoodManifest` says of the request."""
        return {"kind": "steer", "layer": self.layer, "size": float(self.size), "sha256": vector_digest(self.vector)}


@dataclass(frozen=True, eq=False)
class Adapted:
    """`size` times what an adapter (r, 2d + 1) says (`plan.Steering`) is added to the output of decoder layer `layer`, on the
    first `ends` and the last `ends` tokens of a response."""

    adapter: np.ndarray
    layer: int
    size: float
    ends: int

    @property
    def key(self) -> str:
        return f"reft-{sha256_text(canonical_json([self._digest, self.layer, float(self.size)]))[:20]}"

    @property
    def pins(self) -> dict[str, Any]:
        """What a `LikelihoodManifest` says of the request."""
        return {"kind": "reft", "layer": self.layer, "size": float(self.size), "sha256": self._digest}

    @property
    def _digest(self) -> str:
        """Of the adapter, and of where it is added."""
        return sha256_text(canonical_json([vector_digest(self.adapter), list(self.adapter.shape), self.ends]))


Request = Instructed | Steered | Adapted


def prompt_key(text: str) -> str:
    """The name of the scores under an instruction."""
    return f"prompt-{sha256_text(text)[:20]}"


def steer_key(vector: np.ndarray, layer: int, size: float) -> str:
    """The name of the scores under a vector (d,), of which the float32 values count."""
    return f"steer-{sha256_text(canonical_json([vector_digest(vector), layer, float(size)]))[:20]}"


def vector_digest(vector: np.ndarray) -> str:
    """sha256 of the float32 bytes of a vector or another array, little-endian."""
    import numpy as np

    return hashlib.sha256(np.asarray(vector, dtype="<f4").tobytes()).hexdigest()


def read_scores(folder: Path) -> np.ndarray:
    """(n, 2) float64 of a likelihood folder, chosen and rejected; NaN where there is none.

    Raises:
        OSError, ValueError: the file is missing or damaged.
    """
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(folder / SCORES, columns=["chosen", "rejected"])
    return np.column_stack([np.asarray(table.column(side).to_numpy(), np.float64) for side in ("chosen", "rejected")])
