"""Data sets: built in, a local file or folder, or the hub, read into pairs with an identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiltc.data.kinds import Row, Scan, first_line, given
from tiltc.datafile import data_sha256, read_pairs, split_of
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import local_path
from tiltc.pairs import Message, Pair, Taken, Text, Wish, ids_digest, plain_text, take
from tiltc.plan import DataPin
from tiltc.spec import FileRef, HubRef
from tiltc_runtime import embedded
from tiltc_runtime.refused import Refused, refuse

__all__ = ["Message", "Pair", "Pairs", "Text", "load_pairs", "plain_text"]


@dataclass(frozen=True)
class Pairs:
    """All pairs of a data set in its order, its pin, in a line how its rows were read, and what there is to say of them."""

    pairs: list[Pair]
    pin: DataPin
    line: str = ""
    found: Diagnostics = field(default_factory=Diagnostics)


def load_pairs(ref: str | HubRef | FileRef, folder: Path | None = None) -> Pairs:
    """Read a data set and bring its rows into one form. `rows: N` takes the first N. Pins never hold a path.

    Args:
        folder: what a relative path is relative to, before the working directory.

    Raises:
        Refused: T514 to T518, T550, T552.
    """
    sha256 = None
    if isinstance(ref, HubRef):
        name = f"hub:{ref.hub}@{ref.revision or 'main'}"
        taken, found = take(Scan.of(_from_hub(ref)), name, Wish.of(ref))
    elif (path := local_path(ref, folder)) is not None:
        name = path.name
        taken, found = read_pairs(path, ref)
        sha256 = data_sha256(path, split_of(ref)) if taken is not None else None
    else:
        name = ref if isinstance(ref, str) else ref.file
        taken, found = read_pairs(_asset(name), ref, name)
    if taken is None:
        raise Refused(found)
    return _pinned(taken, name, sha256, found)


def _pinned(taken: Taken, name: str, sha256: str | None, found: Diagnostics) -> Pairs:
    digest = ids_digest(pair.row_id for pair in taken.pairs)
    pin = DataPin(name=name, digest=digest, rows=len(taken.pairs), file_sha256=sha256)
    return Pairs(taken.pairs, pin, taken.line, found)


def _asset(ref: str) -> Path:
    path = embedded.asset(ref, ".parquet")
    if path is None:
        refuse("T514", f"there is no {ref}")
    return path


def _from_hub(ref: HubRef) -> list[Row]:
    try:
        from datasets import load_dataset

        # written so, a folder of this name beside the spec is not taken for it
        data: Any = load_dataset(f"hf://datasets/{ref.hub}", ref.config, split=ref.split, revision=ref.revision)
        rows: list[Row] = given(data.select(range(min(ref.rows or len(data), len(data)))).to_list())
    except Exception as error:
        notes = (f"{type(error).__name__}: {first_line(error)}",)
        refuse("T514", f"{ref.hub} can't be read from the hub", notes=notes)
    if not rows:
        refuse("T518", f"{ref.hub} has no rows")
    return rows
