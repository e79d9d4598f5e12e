"""What beside the weights decides what a model reads and answers: a digest of each of these files, by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiltc.canonical import sha256_file, sha256_text

#: read by transformers' loaders of models and tokenizers. Chat templates are pinned by themselves
FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "*.model", "*.tiktoken",
)  # fmt: skip
#: of their objects: what says who wrote the file, and what another pin has
SILENT = ("transformers_version", "_name_or_path", "name_or_path", "chat_template")


def settings_digests(folder: Path) -> dict[str, str]:
    """File name -> sha256 of those of a model's folder that decide its tokens, its forward pass and where answers end.

    JSON counts by its contents: white space, the order of keys and the version that wrote it make no difference.
    """
    found = {file.name: file for pattern in FILES for file in folder.glob(pattern) if file.is_file()}
    return {name: json_digest(file) if file.suffix == ".json" else sha256_file(file) for name, file in found.items()}


def json_digest(file: Path) -> str:
    """sha256 of the object in a JSON file without what is `SILENT`; of its bytes where it holds none."""
    try:
        value: Any = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return sha256_file(file)
    if isinstance(value, dict):
        value = {key: one for key, one in value.items() if key not in SILENT}
    return sha256_text(json.dumps(value, sort_keys=True))


def settings_notes(pinned: dict[str, str], found: dict[str, str]) -> list[str]:
    """Which files differ, for a finding; none where nothing was pinned."""
    names = sorted({*pinned, *found}) if pinned else ()
    return [_note(name, pinned.get(name), found.get(name)) for name in names if pinned.get(name) != found.get(name)]


def _note(name: str, pinned: str | None, found: str | None) -> str:
    if found is None:
        return f"{name} is not there"
    if pinned is None:
        return f"{name} was not there"
    return f"{name} pinned: {pinned[:16]}, found: {found[:16]}"
