"""Kept contents that carry their own digest, bound to the name that they are kept under.

A byte that changed, an end that is missing, and the contents of another name are all told from what was written. Who
wrote the file could write another: seals guard against faults and mix-ups, pins against the rest.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tiltc.canonical import canonical_json, sha256_text

#: of a digest, in a line among many of one file
SHORT = 32


def sealed_bytes(name: str, content: bytes) -> bytes:
    """A line with the digest, then the content."""
    return f"{_of_bytes(name, content)}\n".encode() + content


def unsealed_bytes(name: str, data: bytes) -> bytes | None:
    """The content, if it is what was sealed under this name."""
    digest, _, content = data.partition(b"\n")
    return content if digest == _of_bytes(name, content).encode() else None


def _of_bytes(name: str, content: bytes) -> str:
    return hashlib.sha256(name.encode() + b"\0" + content).hexdigest()


def sealed_line(name: str, value: Any) -> str:
    """A value as one line of ASCII JSON with its seal."""
    return json.dumps({"seal": _of_value(name, value), "value": value}, ensure_ascii=True, sort_keys=True) + "\n"


def unsealed_line(name: str, line: bytes) -> Any:
    """The value of a line that was sealed under this name; None for any other line."""
    try:
        read: Any = json.loads(line)
        return read["value"] if read["seal"] == _of_value(name, read["value"]) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _of_value(name: str, value: Any) -> str:
    return sha256_text(f"{name}\0{json.dumps(value, ensure_ascii=True, sort_keys=True)}")[:SHORT]


def sealed_object(value: dict[str, Any]) -> str:
    """An object as canonical JSON, with its digest in a field of its own."""
    return canonical_json({**value, "digest": sha256_text(canonical_json(value))})


def unsealed_object(data: bytes) -> dict[str, Any]:
    """The object that `sealed_object` wrote, without its digest.

    Raises:
        ValueError: it is no such object, or not what was written.
    """
    value = parsed(data)
    if not isinstance(value, dict) or "digest" not in value:
        raise ValueError("it has no digest")
    written = value.pop("digest")
    if written != sha256_text(canonical_json(value)):
        raise ValueError("its digest does not fit its content")
    return value


def parsed(data: bytes) -> Any:
    """The value of JSON. Raises ValueError, and no other error, for what is none."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
