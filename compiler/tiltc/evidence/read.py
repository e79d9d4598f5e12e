"""Reading an evidence folder: memory-mapped, shard by shard or all at once, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tiltc.evidence.attention import AttentionProbe, read_probe
from tiltc.evidence.layout import ContrastManifest, Manifest
from tiltc.evidence.likelihood import read_scores
from tiltc.evidence.reft import Adapter, read_adapter
from tiltc.evidence.sampled import FOLDER as SAMPLED
from tiltc.evidence.sampled import SampledManifest
from tiltc.evidence.token_scores import TokenScores, token_scores
from tiltc.evidence.trained import FILE, Differences, read_differences

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from scipy.sparse import csr_matrix

SpanName = Literal["prompt", "chosen", "rejected", "response"]
Kind = Literal["max", "count", "peak"]


@dataclass(frozen=True)
class Shard:
    """One folder of rows: a shard of an evidence folder, or a contrast set."""

    folder: Path
    features: int

    @cached_property
    def table(self) -> pa.Table:
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / "rows.parquet")

    def array(self, name: str) -> np.ndarray:
        """A memory-mapped array: `chosen.max`, `residual`, ...

        Raises:
            ValueError: the file is cut short or no array.
        """
        import numpy as np

        try:
            return np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{name}.npy: {error}") from None

    def matrix(self, span: SpanName, kind: Kind) -> csr_matrix:
        """(n, F) float32: per row and feature, the max activation, the number of tokens on which it fired, or the
        number of the token of its max activation.

        All three have the same entries. Those of `peak` may be 0 and then mean the span's first token.
        """
        return _stack([self], span, kind, self.features)


@dataclass(frozen=True)
class ContrastSet:
    """The evidence of a contrast set: one response a row."""

    folder: Path
    manifest: ContrastManifest
    features: int

    @cached_property
    def _shard(self) -> Shard:
        return Shard(self.folder, self.features)

    @property
    def table(self) -> pa.Table:
        return self._shard.table

    @property
    def labels(self) -> np.ndarray:
        """(n,) int8"""
        return self.table.column("label").to_numpy()

    def matrix(self, kind: Kind) -> csr_matrix:
        """(n, F) float32 over the response tokens."""
        return self._shard.matrix("response", kind)

    def residuals(self) -> np.ndarray:
        """(n, d) float32: mean residual over the response tokens."""
        return _as_float(self._shard.array("residual"))


@dataclass(frozen=True)
class Evidence:
    """An opened evidence folder. Rows are in the order of the data set; N of them."""

    folder: Path
    manifest: Manifest

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        return tuple(
            Shard(self.folder / "shards" / pin.name, self.manifest.sae.features) for pin in self.manifest.shards
        )

    @cached_property
    def table(self) -> pa.Table:
        """`ROW_SCHEMA`, N rows."""
        import pyarrow as pa

        return pa.concat_tables([shard.table for shard in self.shards]).combine_chunks()

    @cached_property
    def differences(self) -> Differences:
        """Rows whose tokens and text differ.

        Raises:
            ValueError: what is kept of it is not what was written.
        """
        shards = zip(self.manifest.shards, self.shards, strict=True)
        return read_differences(shard.folder / FILE for pin, shard in shards if FILE in pin.files)

    @cached_property
    def ok(self) -> np.ndarray:
        """(N,) bool: pairs of which both responses have features."""
        return self._with_status("ok")

    @cached_property
    def read(self) -> np.ndarray:
        """(N,) bool: rows whose chosen response has features: pairs, and single responses."""
        return self._with_status("ok", "single")

    def _with_status(self, *wanted: str) -> np.ndarray:
        import numpy as np

        return np.array([s in wanted for s in self.table.column("status").to_pylist()], dtype=bool)

    def matrix(self, span: SpanName, kind: Kind) -> csr_matrix:
        """(N, F) float32: per row and feature, the span's max activation, the tokens on which it fired, or the token
        of the max activation; see `Shard.matrix`.

        Rows that are not ok are empty. For data that does not fit into memory, walk `shards` instead.
        """
        return _stack(self.shards, span, kind, self.manifest.sae.features)

    def residuals(self, side: Literal["chosen", "rejected"]) -> np.ndarray:
        """(N, d) float32: mean residual over the tokens of one response."""
        import numpy as np

        at = ("chosen", "rejected").index(side)
        return np.concatenate([_as_float(shard.array("residual")[:, at]) for shard in self.shards])

    def contrast(self, digest: str) -> ContrastSet | None:
        """The contrast set whose rows have this digest (`contrast_digest`), or None if it was not harvested."""
        folder = self.folder / "contrast" / digest
        file = folder / "manifest.json"
        if not file.is_file():
            return None
        manifest = ContrastManifest.model_validate_json(file.read_bytes())
        return ContrastSet(folder, manifest, self.manifest.sae.features)

    def sampled(self, key: str) -> SampledManifest | None:
        """What is known of the contrast set that a recipe (`Recipe.key`) gave, None if it was not harvested."""
        file = self.folder / SAMPLED / key / "manifest.json"
        return SampledManifest.model_validate_json(file.read_bytes()) if file.is_file() else None

    def tokens(self, key: str) -> TokenScores | None:
        """Figures of every response token for the tool with this key (`TokenTool.key`), None if it was not harvested."""
        return token_scores(self.folder, key, [pin.name for pin in self.manifest.shards])

    def attention(self, key: str) -> AttentionProbe | None:
        """The attention probe that was fitted by the recipe with this key, None if it was not harvested."""
        return read_probe(self.folder, key)

    def adapter(self, key: str) -> Adapter | None:
        """The ReFT adapter that was fitted by the recipe with this key, None if it was not harvested."""
        return read_adapter(self.folder, key)

    def likelihood(self, key: str) -> np.ndarray | None:
        """(N, 2) float64, chosen and rejected: what an instruction (`prompt_key`), a vector (`steer_key`) or an adapter adds to
        the log-likelihood of the responses, in nats; NaN where not available. None if it was not harvested.

        `CLEAN` gives the log-likelihoods without either.
        """
        folder = self.folder / "likelihood" / key
        return read_scores(folder) if (folder / "manifest.json").is_file() else None

    def __iter__(self) -> Iterator[Shard]:
        return iter(self.shards)


def _as_float(array: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.asarray(array, dtype=np.float32)


def _stack(shards: Sequence[Shard], span: SpanName, kind: Kind, features: int) -> csr_matrix:
    """One CSR matrix over all shards: sizes are taken first, so nothing is held twice."""
    import numpy as np
    from scipy.sparse import csr_matrix

    pointers = [shard.array(f"{span}.indptr") for shard in shards]
    sizes = [int(p[-1]) for p in pointers]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    wide = np.int64 if starts[-1] > np.iinfo(np.int32).max else np.int32
    indptr = np.concatenate([[0], *(p[1:] + s for p, s in zip(pointers, starts, strict=False))]).astype(wide)

    def gather(name: str, dtype: type[np.generic]) -> np.ndarray:
        out = np.empty(int(starts[-1]), dtype=dtype)
        for shard, start, size in zip(shards, starts, sizes, strict=False):
            out[start : start + size] = shard.array(f"{span}.{name}")
        return out

    matrix = csr_matrix((gather(kind, np.float32), gather("indices", wide), indptr), shape=(len(indptr) - 1, features))
    matrix.has_sorted_indices = True
    return matrix
