"""From what an audit pins back to what a spec may say: model, SAE and data by reference."""

from __future__ import annotations

import json
import re

from tiltc.audit.model import Audit
from tiltc.figures import one_line

_BAD = re.compile("[\u061c\u200b\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
#: a last part that names a split rather than a configuration
_SPLIT = re.compile(r"(train|test|valid|validation|dev|eval)([._-].*)?")
#: text that YAML reads as itself without quotes, in a mapping in braces too
_PLAIN = re.compile(r"[A-Za-z./][A-Za-z0-9._/-]*|[a-z]+:[A-Za-z0-9._/-]+")
_WORD = re.compile(r"(?i)y|n|yes|no|on|off|true|false|null")

NEXT_TO_SPEC = "a path relative to this file"


def plain(text: object) -> str:
    """Free text on one line, with nothing in it that a spec may not hold."""
    return _BAD.sub("\ufffd", one_line(text))


def scalar(text: object) -> str:
    """A string as YAML reads it back, in double quotes unless it is a plain word."""
    line = plain(text)
    fine = _PLAIN.fullmatch(line) and not _WORD.fullmatch(line)
    return line if fine else json.dumps(line, ensure_ascii=False)


def references(audit: Audit) -> str:
    """The lines `model:`, `sae:` and `data:` (and `train:` where the harvest cut texts elsewhere than the default)."""
    asked = audit.request
    rows = asked.get("rows")
    lines = [
        "model: " + _weights(str(asked.get("model") or audit.model.name)),
        "sae: " + _sae(str(asked.get("sae") or audit.sae.name)),
        "data: " + _data(str(asked.get("data") or audit.data.name), rows),
    ]
    length = asked.get("max_length")
    return "\n".join([*lines, *([f"train: {{max_length: {length}}}"] if length else [])]) + "\n"


def _weights(name: str) -> str:
    if name.startswith("builtin:"):
        return scalar(name)
    if _on_hub(name):
        return _braces(_hub(name, split=False))
    return f"{scalar('./' + name.removeprefix('local:'))}  # {NEXT_TO_SPEC}"


def _sae(name: str) -> str:
    if name.startswith("release:"):
        release, _, key = name.removeprefix("release:").partition("/")
        return _braces({"release": release, "id": key})
    if name.startswith("builtin:"):
        return scalar(name)
    return f"{scalar('./' + name.removeprefix('local:'))}  # {NEXT_TO_SPEC}"


def _data(name: str, rows: object) -> str:
    count = {"rows": rows} if rows is not None else {}
    if name.startswith("builtin:"):
        return scalar(name)
    if _on_hub(name):
        return _braces(_hub(name, split=True) | count)
    return f"{_braces({'file': name.removeprefix('local:')} | count)}  # {NEXT_TO_SPEC}"


def _on_hub(name: str) -> bool:
    return name.startswith("hub:") or (not name.startswith("local:") and "/" in name)


def _hub(name: str, split: bool) -> dict[str, object]:
    """`hub:owner/name@revision/config/split`, of which the last two may be missing."""
    hub, _, rest = name.removeprefix("hub:").partition("@")
    revision, *parts = rest.split("/") if split else [rest]
    out: dict[str, object] = {"hub": hub}
    if revision and revision != "main":
        out["revision"] = revision
    if parts and _SPLIT.fullmatch(parts[-1]):
        out["split"] = parts.pop()
    return out | ({"config": "/".join(parts)} if parts else {})


def _braces(values: dict[str, object]) -> str:
    return (
        "{"
        + ", ".join(f"{key}: {value if isinstance(value, int) else scalar(value)}" for key, value in values.items())
        + "}"
    )
