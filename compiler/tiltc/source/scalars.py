"""What a plain YAML scalar means. Narrower than YAML 1.1: no dates, sexagesimal or octal numbers, no infinity."""

from __future__ import annotations

import math
import re

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
#: Integers above this are not exact in JSON readers, so they are left as text and fail where a number is wanted.
_LARGEST = 2**53


def resolve(text: str) -> str | bool | int | float | None:
    """The value of an unquoted scalar.

    `yes`, `no`, `on` and `off` are booleans, as YAML 1.1 readers have it, so that they fail where text is wanted
    instead of meaning one thing here and another elsewhere.
    """
    if text in _NULL:
        return None
    if (word := text.lower()) in _TRUE or word in _FALSE:
        return word in _TRUE
    if len(text) <= 400 and _INTEGER.fullmatch(text):
        return number if abs(number := int(text)) <= _LARGEST else text
    if len(text) <= 400 and _FLOAT.fullmatch(text):
        return number if math.isfinite(number := float(text)) and not _padded(text) else text
    return text


def _padded(text: str) -> bool:
    """True for `010`: eight to some readers and ten to others."""
    return re.fullmatch(r"[-+]?0[0-9]+", text) is not None
