"""The kinds of data files: each is read into rows, and what can't be read is named by its line or row."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from tiltc.data.arrow import arrow_table
from tiltc.data.places import COMPRESSED, Unreadable, choose_split, kind_of

if TYPE_CHECKING:
    import pyarrow as pa

#: a row as it was found, before anything is known about it
Row = dict[str, Any]

#: columns that hold text: CSV must not take them for numbers, and a JSON object with one of them is a row
TEXTS = (
    "prompt", "chosen", "rejected", "completion", "response", "question", "instruction", "input", "output", "query",
    "system", "system_prompt", "messages", "conversations", "conversation", "rejected_response", "chosen_response",
    "response_j", "response_k", "answer", "text", "history", "tools", "chat_template_kwargs",
)  # fmt: skip
#: bytes that a compressed file may unpack to whatever its size, and how many times its size beyond that
UNPACKED, RATIO = 256 << 20, 200
#: rows that a file may claim to have for each of its bytes
ROWS_A_BYTE = 64
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class Fault:
    """A row that can't be used. `number` counts from 1, as `where` says it: `line 3` or `row 3`."""

    number: int
    where: str
    reason: str

    @property
    def text(self) -> str:
        return f"{self.where} {self.reason}"


@dataclass(frozen=True)
class Scan:
    """What was read. `numbers` are those of the rows in their file or files, from 1; `faults` are the rows left out;
    `files` is how many the rows are from."""

    rows: list[Row]
    numbers: list[int]
    faults: list[Fault] = field(default_factory=list)
    split: str | None = None
    splits: tuple[str, ...] = ()
    files: int = 1

    @classmethod
    def of(cls, rows: list[Row]) -> Scan:
        return cls(rows, list(range(1, len(rows) + 1)))

    def first(self, count: int | None) -> Scan:
        """The first so many rows, those that can't be read among them."""
        numbers = sorted([*self.numbers, *(fault.number for fault in self.faults)])
        if count is None or count >= len(numbers):
            return self
        kept = [i for i, number in enumerate(self.numbers) if number <= numbers[count - 1]]
        faults = [fault for fault in self.faults if fault.number <= numbers[count - 1]]
        rows, of = [self.rows[i] for i in kept], [self.numbers[i] for i in kept]
        return replace(self, rows=rows, numbers=of, faults=faults)


def scan_file(path: Path, split: str | None = None, texts: Sequence[str] = ()) -> Scan:
    """The rows of one file.

    Raises:
        Unreadable: it is no data, damaged, or not what its name says.
        OSError: it can't be opened.
    """
    kind = kind_of(path)
    if kind is None:
        raise Unreadable(f"{path.name} is not {', '.join(_READERS)}, with or without {', '.join(COMPRESSED)}")
    try:
        with opened(path) as file:
            return _READERS[kind](file, _Asked(split, tuple(texts)))
    except Unreadable as error:
        raise Unreadable(f"{path.name}: {error}") from None
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path.name} is not UTF-8 at byte {error.start}") from None
    except (MemoryError, OverflowError):
        raise Unreadable(f"{path.name}: more than fits into memory, or damaged") from None
    except (ValueError, TypeError, KeyError, IndexError, NotImplementedError) as error:
        # pyarrow's errors are all of these
        raise Unreadable(f"{path.name}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """What a library says, cut to a line that can be read."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def opened(path: Path) -> BinaryIO:
    """A file for reading, unpacked in memory if it is compressed.

    Raises:
        Unreadable: the compression is damaged, or the contents are out of all proportion.
    """
    openers: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    opener = openers.get(path.suffix.lower())
    if opener is None:
        return open(path, "rb")
    limit = max(UNPACKED, RATIO * path.stat().st_size)
    try:
        with opener(path) as packed:
            data = packed.read(limit + 1)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError) as error:
        raise Unreadable(f"damaged compression: {first_line(error)}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise Unreadable(f"damaged compression: {first_line(error)}") from None
    if len(data) > limit:
        raise Unreadable(f"unpacks to more than {limit >> 20} MiB from {path.stat().st_size >> 10} KiB")
    return io.BytesIO(data)


@dataclass(frozen=True)
class _Asked:
    split: str | None
    texts: tuple[str, ...]


def utf8(file: BinaryIO) -> BinaryIO:
    """A text file as UTF-8: other encodings are known by their byte order mark."""
    start = file.read(4)
    file.seek(0)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        wide = start in (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
        try:
            return io.BytesIO(file.read().decode("utf-32" if wide else "utf-16").encode())
        except UnicodeError:
            raise Unreadable("begins as UTF-16 and does not go on so") from None
    return file


def _json_lines(file: BinaryIO, asked: _Asked) -> Scan:
    del asked
    return _lines(utf8(file))


def _lines(file: Iterable[bytes]) -> Scan:
    scan = Scan([], [])
    for number, _, row in json_objects(file):
        if isinstance(row, str):
            scan.faults.append(Fault(number, f"line {number}", row))
        else:
            scan.rows.append(row)
            scan.numbers.append(number)
    return scan


def json_objects(file: Iterable[bytes]) -> Iterator[tuple[int, bytes, Row | str]]:
    """(number from 1, line, its object or what is wrong with it) of every line that is not blank."""
    # not splitlines(): JSON strings may hold U+2028 and the like as they are
    for number, line in enumerate((part for chunk in file for part in _parts(chunk)), 1):
        if line.strip(b" \t\r\n\xef\xbb\xbf"):
            yield number, line, _object(line)


def _parts(chunk: bytes) -> Iterator[bytes]:
    """Lines of a chunk that ends where a line does: a bare carriage return ends one too, as JSON has none inside."""
    body = chunk.removesuffix(b"\n").removesuffix(b"\r")
    return iter(_LINE_END.split(body) if b"\r" in body else (body,))


def _object(line: bytes) -> Row | str:
    """The object of a line, or what is wrong with it."""
    try:
        row: Any = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return "is not UTF-8"
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg} at column {error.pos + 1}"
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return f"can not be read: {first_line(error)}"
    return cast("Row", row) if isinstance(row, dict) else "is not a JSON object"


def _json(file: BinaryIO, asked: _Asked) -> Scan:
    data = utf8(file).read()
    try:
        value: Any = json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except json.JSONDecodeError as error:
        lines = _LINE_END.split(data)
        if error.msg == "Extra data" or isinstance(_object(lines[0]), dict):
            # JSON lines under a name of JSON
            return _lines(lines)
        raise Unreadable(str(error)) from None
    if isinstance(value, dict):
        return _of_object(cast("dict[str, Any]", value), asked)
    if not isinstance(value, list):
        raise Unreadable("not a JSON array of objects")
    return _of_array(cast("list[Any]", value))


def _of_array(items: list[Any]) -> Scan:
    if items and not any(isinstance(item, dict) for item in items):
        raise Unreadable("not a JSON array of objects")
    numbers = [number for number, item in enumerate(items, 1) if isinstance(item, dict)]
    others = [number for number, item in enumerate(items, 1) if not isinstance(item, dict)]
    faults = [Fault(number, f"row {number}", "is not a JSON object") for number in others]
    return Scan([items[number - 1] for number in numbers], numbers, faults)


def _of_object(value: dict[str, Any], asked: _Asked) -> Scan:
    """A single row, or lists of rows under the names of splits."""
    if set(value) & {*TEXTS, *asked.texts}:
        if any(_are_columns(value[name]) for name in set(value) & {"prompt", "chosen", "rejected"}):
            raise Unreadable("an object of columns: write a list of rows, or JSON lines")
        return Scan.of([value])
    lists = {name: rows for name, rows in value.items() if isinstance(rows, list) and _any_object(rows)}
    if not lists:
        raise Unreadable("not a JSON array of objects")
    chosen = choose_split(list(lists), asked.split, "the file") if len(lists) > 1 or asked.split else next(iter(lists))
    scan = _of_array(lists[chosen])
    return Scan(scan.rows, scan.numbers, scan.faults, chosen, tuple(lists))


def _any_object(rows: list[Any]) -> bool:
    return any(isinstance(row, dict) for row in rows)


def _are_columns(value: Any) -> bool:
    """A list of texts, or a mapping of numbers to texts, as pandas writes a column."""
    texts: Any = list(value.values()) if isinstance(value, dict) and not {"role", "from"} & set(value) else value
    return isinstance(texts, list) and bool(texts) and all(isinstance(t, str) for t in cast("list[Any]", texts))


def table_of(path: Path) -> pa.Table | None:
    """The table of a Parquet or Arrow file that `scan_file` has read; None for a file of another kind."""
    reader = {".parquet": _parquet_table, ".arrow": arrow_table}.get(kind_of(path) or "")
    if reader is None:
        return None
    with opened(path) as file:
        return reader(file)


def _parquet(file: BinaryIO, asked: _Asked) -> Scan:
    return _of_table(_parquet_table(file), asked.texts)


def _parquet_table(file: BinaryIO) -> pa.Table:
    import pyarrow.parquet as pq

    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    parquet = pq.ParquetFile(file)
    if parquet.metadata.num_rows > ROWS_A_BYTE * size:
        raise Unreadable(f"claims {parquet.metadata.num_rows:,} rows in {size:,} bytes")
    return parquet.read()


def _arrow(file: BinaryIO, asked: _Asked) -> Scan:
    return _of_table(arrow_table(file), asked.texts)


def _of_table(table: pa.Table, texts: Sequence[str] = ()) -> Scan:
    names = table.column_names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise Unreadable(f"has two columns `{twice}`")
    # offsets that lead out of a column would end the process, not the reading
    table.validate(full=True)
    columns = [_values(name, table.column(name)) for name in names]
    return Scan.of(given([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)], texts))


def given(rows: list[Row], texts: Sequence[str] = ()) -> list[Row]:
    """Rows of a typed table without the keys that its schema has filled into messages and tools with nulls."""
    names = {*TEXTS, *texts}
    return [{k: _given(v) if k in names else v for k, v in row.items()} for row in rows]


def _given(value: Any) -> Any:
    if isinstance(value, list):
        return [_given(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {k: _given(v) for k, v in cast("dict[str, Any]", value).items() if v is not None}
    return value


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    try:
        return column.to_pylist(maps_as_pydicts="strict")
    except Exception as error:
        # conversions raise what they like: time zones that nobody knows, numbers out of range, text that is not UTF-8
        raise Unreadable(f"column `{name}` of type {column.type} can't be read: {first_line(error)}") from None


def _csv(file: BinaryIO, asked: _Asked) -> Scan:
    return _separated(file, asked, None)


def _tsv(file: BinaryIO, asked: _Asked) -> Scan:
    return _separated(file, asked, "\t")


def _separated(file: BinaryIO, asked: _Asked, delimiter: str | None) -> Scan:
    import pyarrow as pa
    from pyarrow import csv

    data = utf8(file).read()
    data.decode("utf-8")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        return Scan([], [])
    faults: list[Fault] = []

    def bad(row: Any) -> str:
        number = int(row.number or 0) - 1
        faults.append(Fault(number, f"row {number}", f"has {row.actual_columns} fields, not {row.expected_columns}"))
        return "skip"

    parse = csv.ParseOptions(
        delimiter=delimiter or _delimiter(data), newlines_in_values=True, invalid_row_handler=bad
    )  # fmt: skip
    text = csv.ConvertOptions(column_types={name: pa.string() for name in {*TEXTS, *asked.texts}})
    # one block: types are then those of the whole file, and no text is too long for a block
    block = csv.ReadOptions(use_threads=False, block_size=min(len(data) + 1, (1 << 31) - 1))
    scan = _of_table(csv.read_csv(io.BytesIO(data), read_options=block, parse_options=parse, convert_options=text))
    left_out = {fault.number for fault in faults}
    numbers = [n for n in range(1, len(scan.rows) + len(faults) + 1) if n not in left_out]
    return Scan(scan.rows, numbers, faults)


def _delimiter(data: bytes) -> str:
    """What separates the names in the first line: a comma unless another sign does so more often."""
    header = re.sub(rb'"[^"]*"', b"", _LINE_END.split(data[: 1 << 16], maxsplit=1)[0])
    return max(",;\t|", key=lambda sign: header.count(sign.encode()))


_READERS: dict[str, Callable[[BinaryIO, _Asked], Scan]] = {
    ".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json, ".parquet": _parquet, ".csv": _csv, ".tsv": _tsv,
    ".arrow": _arrow,
}  # fmt: skip
