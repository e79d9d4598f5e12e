"""The rows of JSON files as they are written there, for giving them back with nothing read into them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tiltc.data.kinds import json_objects, kind_of, opened, utf8
from tiltc.data.places import place_of

_BREAK, _BETWEEN = re.compile(r"[\r\n]+\s*"), re.compile(r"[\s,]*")


def json_texts(path: Path, split: str | None = None) -> list[str] | None:
    """The text of every row on a line of its own, for a data set that was read as JSON; None for others.

    Numbers, escapes, repeated keys and the order of keys are those of the file, which no parsed value keeps.

    Raises:
        Unreadable, OSError: the data set can't be read.
    """
    files = place_of(path, split).files
    texts = [_texts(file) for file in files]
    return None if None in texts else [text for each in texts for text in each or ()]


def _texts(file: Path) -> list[str] | None:
    kind = kind_of(file)
    if kind not in (".jsonl", ".ndjson", ".json"):
        return None
    with opened(file) as raw:
        data = utf8(raw)
        if kind != ".json":
            return _lines(data)
        text = data.read().decode("utf-8-sig")
    if text.lstrip().startswith("["):
        return list(_elements(text))
    try:
        json.loads(text)
    except ValueError:
        return _lines(text.encode().splitlines(keepends=True))
    # rows within an object, such as the lists of several splits
    return None


def _lines(lines: Iterable[bytes]) -> list[str]:
    return [line.decode("utf-8-sig").strip() for _, line, row in json_objects(lines) if isinstance(row, dict)]


def _elements(text: str) -> Iterator[str]:
    """The objects of a JSON array, each on one line: a line break never stands within a JSON string."""
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    while (at := _past(_BETWEEN, text, at)) < len(text) and text[at] != "]":
        value, end = decoder.raw_decode(text, at)
        if isinstance(value, dict):
            yield _BREAK.sub(" ", text[at:end])
        at = end


def _past(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def with_keys(text: str, keys: Iterable[tuple[str, object]]) -> str:
    """The text of a JSON object with more keys at its end.

    Raises:
        ValueError: a value is not finite.
    """
    body = text.rstrip()[:-1].rstrip()
    more = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False, allow_nan=False)}" for k, v in keys]
    return body + (", " if body.strip() != "{" else "") + ", ".join(more) + "}"
