"""What single tokens of the responses show: read in a second pass, once it is known what to look for.

    tokens/<key>/tool.json                          `TokenPin`: the tool, and the evidence that it read
    tokens/<key>/00000/{side}.indptr.npy  int64   (n + 1)   tokens before each of the shard's rows, side chosen | rejected
    tokens/<key>/00000/{side}.values.npy  float16 (T, k)    k figures a token: activations of features, or one projection or logit
    tokens/<key>/00000/shard.json                   `ShardPin`

Shards are those of the evidence. Rows that are not read have no tokens; a sink has 0 activation, and a projection or logit of -inf.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from tiltc.canonical import canonical_json, sha256_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np


Side = Literal["chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")


class TokenTool(BaseModel):
    """What is read off every token: activations of some features, or the projection on one vector of unit length."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: tuple[int, ...] = ()
    vector: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> TokenTool:
        if bool(self.features) == bool(self.vector):
            raise ValueError("a tool reads features or a vector")
        return self

    @property
    def key(self) -> str:
        return sha256_text(canonical_json(self.model_dump(mode="json")))[:24]

    @property
    def width(self) -> int:
        """k: figures a token."""
        return len(self.features) or 1


class AttentionTool(BaseModel):
    """The logit of an attention probe on every token: the key of its recipe, and the sha256 of its file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str
    sha256: str

    @property
    def key(self) -> str:
        return sha256_text(canonical_json(self))[:24]

    @property
    def width(self) -> int:
        return 1


Tool = TokenTool | AttentionTool


class TokenPin(BaseModel):
    """What was read off which evidence: `of` is the digest of its manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tool: Tool
    of: str


@dataclass(frozen=True)
class TokenScores:
    """Figures of all response tokens of an evidence folder: chosen responses of all rows, then rejected ones."""

    shards: tuple[Path, ...]

    @cached_property
    def indptr(self) -> np.ndarray:
        """(2n + 1,) int64: tokens before each response."""
        import numpy as np

        sizes = [np.diff(_load(shard, f"{side}.indptr")) for side in SIDES for shard in self.shards]
        return np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)

    @cached_property
    def values(self) -> np.ndarray:
        """(T, k) float32"""
        import numpy as np

        return np.concatenate(
            [np.asarray(_load(shard, f"{side}.values"), np.float32) for side in SIDES for shard in self.shards]
        )

    def most(self, without: np.ndarray | None = None) -> np.ndarray:
        """(2n, k) float64: the max over the tokens of each response, of those that are not `without` (T,).

        Where none is left, activations are 0, and a projection is the least that any response has.
        """
        import numpy as np

        whole = self._most(self.values)
        out = whole if without is None else self._most(np.where(without[:, None], -np.inf, self.values))
        least = np.where(np.isfinite(whole), whole, np.inf).min(axis=0, initial=np.inf)
        # activations are never negative
        floor = np.where((self.values.min(axis=0, initial=0.0) >= 0) | ~np.isfinite(least), 0.0, least)
        return np.where(np.isfinite(out), out, floor)

    def _most(self, values: np.ndarray) -> np.ndarray:
        import numpy as np

        out = np.full((len(self.indptr) - 1, values.shape[1]), -np.inf)
        some = np.diff(self.indptr) > 0
        out[some] = np.maximum.reduceat(values, self.indptr[:-1][some], axis=0)
        return out


def _load(folder: Path, name: str) -> np.ndarray:
    import numpy as np

    return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)


def token_scores(folder: Path, key: str, shards: Sequence[str]) -> TokenScores | None:
    """The scores of a tool in an evidence folder, None unless every shard is there."""
    places = tuple(folder / "tokens" / key / name for name in shards)
    return TokenScores(places) if places and all((place / "shard.json").is_file() for place in places) else None
