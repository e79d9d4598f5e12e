"""Data sets: built in, a local file, or the hub, read into pairs with an identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiltc.data.kinds import given
from tiltc.datafile import data_sha256, read_data
from tiltc.evidence import local_path
from tiltc.pairs import Message, Pair, Row, Text, ids_digest, normalise, plain_text
from tiltc.plan import DataPin
from tiltc.spec import FileRef, HubRef
from tiltc_runtime import embedded
from tiltc_runtime.refused import Refused, refuse

__all__ = ["Message", "Pair", "Pairs", "RawRows", "Text", "load_pairs", "plain_text", "read_rows"]


@dataclass(frozen=True)
class RawRows:
    """Rows as they were found. `name` is for pins: never a path. `file_sha256` is given for local files."""

    rows: list[Row]
    name: str
    file_sha256: str | None = None


@dataclass(frozen=True)
class Pairs:
    """All pairs of a data set in its order, and its pin."""

    pairs: list[Pair]
    pin: DataPin


def load_pairs(ref: str | HubRef | FileRef, folder: Path | None = None) -> Pairs:
    """Read a data set and bring its rows into one form.

    Args:
        folder: what a relative path is relative to, before the working directory.

    Raises:
        Refused: T514 to T518.
    """
    raw = read_rows(ref, folder)
    pairs, found = normalise(raw.rows, raw.name)
    if pairs is None:
        raise Refused(found)
    digest = ids_digest(pair.row_id for pair in pairs)
    return Pairs(pairs, DataPin(name=raw.name, digest=digest, rows=len(pairs), file_sha256=raw.file_sha256))


def read_rows(ref: str | HubRef | FileRef, folder: Path | None = None) -> RawRows:
    """Read a data set as it is. `rows: N` takes the first N.

    Raises:
        Refused: T514 unreadable, T518 empty.
    """
    if isinstance(ref, HubRef):
        raw = RawRows(_from_hub(ref), f"hub:{ref.hub}@{ref.revision or 'main'}")
    elif (path := local_path(ref, folder)) is not None:
        raw = RawRows(_from_file(path), path.name, data_sha256(path))
    else:
        name = ref if isinstance(ref, str) else ref.file
        raw = RawRows(_from_file(_asset(name)), name)
    limit = None if isinstance(ref, str) else ref.rows
    if not raw.rows:
        refuse("T518", f"{raw.name} has no rows")
    return RawRows(raw.rows[:limit], raw.name, raw.file_sha256)


def _asset(ref: str) -> Path:
    path = embedded.asset(ref, ".parquet")
    if path is None:
        refuse("T514", f"there is no {ref}")
    return path


def _from_file(path: Path) -> list[Row]:
    rows, found = read_data(path)
    if rows is None:
        raise Refused(found)
    return rows


def _from_hub(ref: HubRef) -> list[Row]:
    try:
        from datasets import load_dataset

        data: Any = load_dataset(ref.hub, ref.config, split=ref.split, revision=ref.revision)
        return given(data.select(range(min(ref.rows or len(data), len(data)))).to_list())
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        refuse("T514", f"{ref.hub} can't be read from the hub", notes=(f"{type(error).__name__}: {first[:300]}",))
