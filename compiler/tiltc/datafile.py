"""Data files, whatever they are kept in, read into rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tiltc.canonical import canonical_json, sha256_file, sha256_text
from tiltc.data.kinds import TEXTS, Fault, Row, Scan, scan_file
from tiltc.data.places import Unreadable, is_data, kind_of, place_of
from tiltc.data.take import Taken, Wish, take
from tiltc.diagnostics import Diagnostics, Span
from tiltc.spec import FileRef, HubRef

__all__ = [
    "TEXTS", "Fault", "Row", "Scan", "Unreadable", "data_sha256", "is_data", "read_data", "read_pairs", "scan_as",
    "scan_data", "split_of",
]  # fmt: skip

#: (where it stands, the row)
StandingRows = list[tuple[str, Row]]
#: at most this many rows are named in a finding
NAMED = 5


def scan_data(path: Path, split: str | None = None, texts: Sequence[str] = ()) -> Scan:
    """All rows of a data set that can be read, and which can't.

    JSON lines (.jsonl, .ndjson), JSON, Parquet, Arrow, CSV and TSV, as they are or in .gz, .bz2 or .xz; a folder of shards of
    one kind; what `save_to_disk` of `datasets` leaves, of a Dataset or a DatasetDict.

    Args:
        split: of a data set that has several; by default the only one, or `train`.
        texts: columns of CSV that hold text whatever it looks like, beside `TEXTS`.

    Raises:
        Unreadable: the whole can't be read. The message begins with the name of the file or folder.
    """
    try:
        place = place_of(path, split)
        scans = [
            scan_file(file, split if len(place.files) == 1 and not place.split else None, texts) for file in place.files
        ]
    except (OSError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        raise Unreadable(f"can't read {path.name}: {reason}") from None
    if len(scans) == 1:
        only = scans[0]
        return replace(only, split=place.split or only.split, splits=place.splits or only.splits)
    return _joined(scans, [file.name for file in place.files], place.split, place.splits)


def read_data(path: Path, split: str | None = None) -> tuple[list[Row] | None, Diagnostics]:
    """All rows of a data set, as `scan_data` finds them. T514 when one of them, or the whole, can't be read."""
    found = Diagnostics()
    try:
        scan = scan_data(path, split)
    except Unreadable as error:
        found.add("T514", None, str(error))
        return None, found
    if scan.faults:
        rest = [fault.text for fault in scan.faults[1:NAMED]]
        more = [f"{len(scan.faults)} of {len(scan.rows) + len(scan.faults)} can't be read"] if rest else []
        found.add("T514", None, f"{path.name}: {scan.faults[0].text}", notes=[*rest, *more])
        return None, found
    return scan.rows, found


def read_pairs(path: Path, ref: str | FileRef | HubRef, name: str = "") -> tuple[Taken | None, Diagnostics]:
    """The pairs of a local data set, read as a reference says: its split, columns, first rows, and what may be left out.

    Args:
        name: of the data set, for findings; by default that of its file.

    Findings: T514 unreadable, T518 empty, and those of `take`.
    """
    scan, found = scan_as(path, ref, name)
    return (None, found) if scan is None else take(scan, name or path.name, Wish.of(ref))


def scan_as(path: Path, ref: str | FileRef | HubRef, name: str = "") -> tuple[Scan | None, Diagnostics]:
    """The rows that a reference is about, before they are taken for anything. Findings: T514 unreadable, T518 empty."""
    found = Diagnostics()
    texts = () if isinstance(ref, str) else tuple(ref.columns.values())
    try:
        scan = scan_data(path, split_of(ref), texts).first(None if isinstance(ref, str) else ref.rows)
    except Unreadable as error:
        found.add("T514", None, str(error))
        return None, found
    if not scan.rows and not scan.faults:
        found.add("T518", None, f"{name or path.name} has no rows")
        return None, found
    return scan, found


def split_of(ref: object) -> str | None:
    """The split of a file or folder that a reference asks for."""
    return ref.split if isinstance(ref, FileRef) else None


def standing_rows(path: Path, code: str, found: Diagnostics, at: Span | None, most: int | None = None) -> StandingRows:
    """The rows of a file with where each stands, such as `cats.jsonl:3`; what can't be read is reported under `code`.

    Args:
        most: rows that can't be read are reported up to so many.
    """
    try:
        scan = scan_data(path)
    except Unreadable as error:
        found.add(code, at, str(error))
        return []
    for fault in scan.faults[:most]:
        found.add(code, at, f"{path.name}:{fault.number}: {fault.reason}")
    return [(f"{path.name}:{number}", row) for number, row in zip(scan.numbers, scan.rows, strict=True)]


def data_sha256(path: Path, split: str | None = None) -> str:
    """sha256 of a file's bytes; of a folder, over the names and hashes of its data files.

    Args:
        split: of a folder that has several: its files are those that count, and no others.

    Raises:
        OSError: a file can't be read.
    """
    if path.is_file():
        return sha256_file(path)
    try:
        files = place_of(path, split).files
    except Unreadable:
        # nobody says which of its files are meant: each may be
        files = tuple(sorted(file for file in path.rglob("*") if kind_of(file) and file.is_file()))
    return sha256_text(canonical_json([[file.relative_to(path).as_posix(), sha256_file(file)] for file in files]))


def _joined(scans: Sequence[Scan], names: Sequence[str], split: str | None, splits: tuple[str, ...]) -> Scan:
    """Shards one after the other; rows are numbered through, faults keep the place in their file."""
    rows = [row for scan in scans for row in scan.rows]
    numbers: list[int] = []
    faults: list[Fault] = []
    before = 0
    for scan, name in zip(scans, names, strict=True):
        numbers += [before + number for number in scan.numbers]
        faults += [Fault(before + f.number, f"{name}: {f.where}", f.reason) for f in scan.faults]
        before += max([0, *scan.numbers[-1:], *(f.number for f in scan.faults[-1:])])
    return Scan(rows, numbers, faults, split, splits, len(scans))
