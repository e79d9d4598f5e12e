"""Feature labels that others made: Neuronpedia exports, and plain tables."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tiltc.diagnostics import Diagnostics
from tiltc.figures import count, one_line

#: characters of a label, bytes of a file
LONGEST, LARGEST = 200, 1 << 30
_FEATURE, _LABEL = ("index", "feature"), ("description", "explanation", "label")


def read_labels(path: Path, features: int) -> tuple[dict[int, str] | None, Diagnostics]:
    """The first label of each feature; those of features that the SAE doesn't have are left out. Finds T701, T703."""
    found = Diagnostics()
    try:
        pairs = list(_labelled(_records(_text(path))))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError, csv.Error) as problem:
        found.add("T701", None, str(path), notes=[_reason(problem)])
        return None, found
    labels: dict[int, str] = {}
    for feature, label in pairs:
        if 0 <= feature < features:
            labels.setdefault(feature, label)
    if not labels:
        found.add("T701", None, str(path), notes=[_nothing(pairs, features)])
        return None, found
    beyond = sum(not 0 <= feature < features for feature, _ in pairs)
    if beyond:
        note = f"the SAE has {count(features)} features"
        found.add("T703", None, f"{path}: {count(beyond)} of {count(len(pairs))} labels", notes=[note])
    return labels, found


def _reason(problem: Exception) -> str:
    if isinstance(problem, UnicodeDecodeError):
        return "it is not UTF-8"
    return one_line(getattr(problem, "strerror", None) or problem or type(problem).__name__)


def _nothing(pairs: list[tuple[int, str]], features: int) -> str:
    if not pairs:
        return "no record has a feature (`index`, `feature`) and a label (`description`, `explanation`, `label`)"
    return f"its features are {min(f for f, _ in pairs)} to {max(f for f, _ in pairs)}, and the SAE has {features}"


def _text(path: Path) -> str:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError("it is larger than a gigabyte")
    return data.decode("utf-8-sig")


def _records(text: str) -> Iterator[Any]:
    """JSON if it is a document of that, else JSON lines, else a table with a header."""
    if text.lstrip()[:1] not in ("{", "["):
        yield from csv.DictReader(io.StringIO(text, newline=""))
        return
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        yield from _lines(text)
        return
    yield from whole if isinstance(whole, list) else [whole]


def _lines(text: str) -> Iterator[Any]:
    # not splitlines(): JSON texts may hold other line ends than \n
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as problem:
                raise ValueError(f"line {number} is no JSON: {problem.msg}") from problem


def _labelled(records: Iterable[Any], feature: int | None = None) -> Iterator[tuple[int, str]]:
    """(feature, label) of every record; `explanations` inside of a record may leave its feature to it."""
    for record in records:
        if not isinstance(record, Mapping):
            continue
        own = next((n for n in (_number(record.get(key)) for key in _FEATURE) if n is not None), feature)
        label = next((t for t in (_words(record.get(key)) for key in _LABEL) if t), "")
        if own is not None and label:
            yield own, label
        if isinstance(record.get("explanations"), list):
            yield from _labelled(record["explanations"], own)


def _number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _words(value: object) -> str:
    return one_line(value)[:LONGEST] if isinstance(value, str) else ""
