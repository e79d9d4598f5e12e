"""Writing evidence: its arrays and tables, and the marks that say that a shard is whole."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tiltc.canonical import canonical_json
from tiltc.evidence import ShardPin, file_sha256
from tiltc_runtime.spans import Sparse

RESIDUALS = "residual.npy"
MARK = "shard.json"


def disk_full(error: OSError) -> bool:
    """Was it for want of space? numpy's own writer says how many bytes it could write, and no error number."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or (error.errno is None and " written" in str(error))


def save_spans(folder: Path, span: str, sparse: Sparse) -> None:
    """The five arrays of a span, in the types of the evidence layout."""
    arrays = {
        "indptr": sparse.indptr.astype(np.int64),
        "indices": sparse.indices.astype(np.uint32),
        "max": sparse.max.astype(np.float16),
        "count": sparse.count.astype(np.uint16),
        "peak": sparse.peak.astype(np.uint16),
    }
    for part, array in arrays.items():
        np.save(folder / f"{span}.{part}.npy", array, allow_pickle=False)


def save_residuals(folder: Path, residuals: np.ndarray) -> None:
    np.save(folder / RESIDUALS, residuals.astype(np.float16), allow_pickle=False)


def save_table(
    folder: Path, rows: Sequence[dict[str, Any]], schema: Sequence[tuple[str, str, str]], name: str = "rows.parquet"
) -> None:
    """A Parquet file with the columns of a layout schema."""
    table = pa.Table.from_pylist(list(rows), arrow_schema(schema))
    pq.write_table(table, folder / name, compression="zstd")


def arrow_schema(schema: Sequence[tuple[str, str, str]]) -> pa.Schema:
    kinds = {"string": pa.string(), "int32": pa.int32(), "int8": pa.int8(), "bool": pa.bool_(), "double": pa.float64()}
    kinds |= {"list<int32>": pa.list_(pa.int32())}
    return pa.schema([(name, kinds[kind]) for name, kind, _ in schema])


def hashes(folder: Path) -> dict[str, str]:
    """File name -> sha256 of everything in a folder but its mark."""
    return {file.name: file_sha256(file) for file in sorted(folder.iterdir()) if file.name != MARK}


def mark_whole(folder: Path, name: str, rows: int) -> None:
    """Note what a shard consists of, as its last file."""
    pin = ShardPin(name=name, rows=rows, files=hashes(folder))
    (folder / MARK).write_text(canonical_json(pin), encoding="utf-8")


def whole_shard(folder: Path) -> ShardPin | None:
    """The pin of a shard whose files are all as they were written, else None."""
    try:
        pin = ShardPin.model_validate_json((folder / MARK).read_bytes())
        return pin if hashes(folder) == pin.files else None
    except (OSError, ValueError):
        return None
