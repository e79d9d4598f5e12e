"""Which files a data set is made of: one file, a folder of shards, or what `datasets` saved to disk."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

#: endings of files that may be compressed as a whole
COMPRESSED = (".gz", ".bz2", ".xz")
#: endings of the kinds of files that hold rows
KINDS = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".arrow")
#: the hub writes the hash of its contents behind the name of a shard
_SHARD = re.compile(r"(?P<before>.*?)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]{6,64})?$")
_SPLITS = frozenset(("train", "test", "validation", "valid", "val", "dev", "eval"))
#: what numbers the files of a split without saying how many there are: train_1, train-part-02, train_b
_NUMBERED = re.compile(r"(?:[._-]?(?:part|shard|chunk))?[._-]?(?:\d+|(?<=[._-])[a-z])$", re.IGNORECASE)


class Unreadable(ValueError):
    """A data set can't be read. The message says what is wrong; it names files, not folders."""


@dataclass(frozen=True)
class Place:
    """The files of a data set in the order of their rows, and the split they are, of those that there are."""

    files: tuple[Path, ...]
    split: str | None = None
    splits: tuple[str, ...] = ()


def kind_of(path: Path) -> str | None:
    """The kind of file that a name stands for: `.jsonl` for `pairs.jsonl.gz`; None where it is no data."""
    name = path.name.lower()
    plain = next((name.removesuffix(end) for end in COMPRESSED if name.endswith(end)), name)
    return next((kind for kind in KINDS if plain.endswith(kind)), None)


def is_data(path: Path) -> bool:
    """Whether a path looks like data by its name, or by what lies in it."""
    if path.is_dir():
        try:
            return bool(place_of(path, None).files)
        except Unreadable:
            return any(kind_of(file) for file in _listed(path)) or (path / "dataset_dict.json").exists()
        except OSError:
            return False
    return kind_of(path) is not None


def place_of(path: Path, split: str | None) -> Place:
    """The files behind a path.

    Raises:
        Unreadable: neither file nor folder, shards missing, several kinds of files, or several splits and none chosen.
        OSError: the path can't be looked at.
    """
    path.stat()
    if path.is_file():
        return Place((path,))
    if not path.is_dir():
        raise Unreadable(f"{path.name} is neither a file nor a folder")
    if (path / "dataset_dict.json").is_file():
        return _of_dict(path, split)
    if (path / "state.json").is_file():
        return Place(_saved(path))
    return _of_folder(path, split)


def choose_split(names: Sequence[str], split: str | None, where: str) -> str:
    """The split that is asked for; without a wish the only one, or `train`.

    Raises:
        Unreadable: there is no such split, or none is asked for and none is `train`.
    """
    wanted = split or (names[0] if len(names) == 1 else "train")
    if wanted in names:
        return wanted
    listed = ", ".join(f"`{name}`" for name in names)
    if split:
        raise Unreadable(f"{where} has no split `{split}`; it has {listed}")
    raise Unreadable(f"{where} has the splits {listed}: choose one, `data: {{file: ..., split: {names[0]}}}`")


def _of_dict(path: Path, split: str | None) -> Place:
    """A DatasetDict as `save_to_disk` leaves it."""
    value = _json(path / "dataset_dict.json")
    found = value.get("splits")
    names = [n for n in cast("list[Any]", found) if _plain_name(n)] if isinstance(found, list) else []
    if not names:
        raise Unreadable(f"{path.name}/dataset_dict.json names no splits")
    chosen = choose_split(names, split, path.name)
    return Place(_saved(path / chosen), chosen, tuple(names))


def _saved(path: Path) -> tuple[Path, ...]:
    """The shards of a data set that `save_to_disk` wrote."""
    state = _json(path / "state.json")
    if state.get("_indices_data_files"):
        raise Unreadable(f"{path.name} keeps a selection beside its rows: flatten_indices() and save it again")
    listed = state.get("_data_files")
    entries = cast("list[Any]", listed) if isinstance(listed, list) else []
    names = [cast("Mapping[str, Any]", e).get("filename") for e in entries if isinstance(e, dict)]
    if not names or not all(_plain_name(name) for name in names):
        raise Unreadable(f"{path.name}/state.json names no files of its folder")
    return _there([path / str(name) for name in names])


def _of_folder(path: Path, split: str | None) -> Place:
    files = _listed(path)
    if not files and (path / "data").is_dir():
        # a clone of a hub repository
        files = _listed(path / "data")
    if not files:
        raise Unreadable(f"{path.name} holds no data: no file in it ends with {', '.join(KINDS)}")
    kinds = sorted({str(kind_of(file)) for file in files})
    if len(kinds) > 1:
        raise Unreadable(
            f"{path.name or path} holds files of several kinds, {' and '.join(kinds)}: name one of the files"
        )
    by_split: dict[str | None, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file), []).append(file)
    if len(by_split) == 1:
        name = next(iter(by_split))
        if split and split != name:
            raise Unreadable(f"{path.name} has no split `{split}`")
        return Place(_whole(files), name)
    names = tuple(name for name in by_split if name is not None)
    if not split and None in by_split:
        raise Unreadable(_beside(path.name, names, by_split[None]))
    chosen = choose_split(names, split, path.name)
    return Place(_whole(by_split[chosen]), chosen, names)


def _beside(folder: str, splits: Sequence[str], others: Sequence[Path]) -> str:
    """Why a folder of splits and other files is not read as one: what is kept for testing would be among the rows."""
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    listed = ", ".join(f"`{name}`" for name in splits)
    chosen = f"`data: {{file: ..., split: {splits[0]}}}`"
    return (
        f"{folder} has files of {listed} and beside them {others[0].name}{more}: choose one, {chosen}, or name a file"
    )


def _listed(folder: Path) -> list[Path]:
    """Data files of a folder by name. What is hidden or begins with an underscore belongs to a program."""
    named = (file for file in folder.iterdir() if kind_of(file) and file.name[0] not in "._")
    return sorted(file for file in named if file.name not in ("dataset_info.json", "dataset_infos.json"))


def _split_of(file: Path) -> str | None:
    """`train` for train-00000-of-00002.parquet, train_2.jsonl and train.jsonl, `train_prefs` for train_prefs.jsonl; None
    where the name says nothing."""
    stem = file.name.partition(".")[0]
    if shard := _SHARD.match(stem):
        return shard["before"]
    name = _NUMBERED.sub("", stem)
    words = re.split(r"[_-]", name.lower())
    return name if {words[0], words[-1]} & _SPLITS else None


def _whole(files: Sequence[Path]) -> tuple[Path, ...]:
    """All shards of a set that says how many it has."""
    shards = [m for m in (_SHARD.match(file.name.partition(".")[0]) for file in files) if m]
    for before, count in sorted({(m["before"], int(m["count"])) for m in shards}):
        there = {int(m["number"]) for m in shards if (m["before"], int(m["count"])) == (before, count)}
        lacking = next((number for number in range(min(count, len(there) + 1)) if number not in there), None)
        if lacking is not None and len(there) < count:
            raise Unreadable(f"{before} has {len(there)} of {count} shards: the first that is missing is {lacking:05d}")
    return _there(files)


def _there(files: Sequence[Path]) -> tuple[Path, ...]:
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise Unreadable(f"{missing.parent.name} lacks {missing.name}, or it is no file")
    return tuple(files)


def _plain_name(value: object) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & set("/\\\0")


def _json(file: Path) -> dict[str, Any]:
    try:
        value: Any = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Unreadable(f"{file.parent.name}/{file.name} is not a JSON object")
    return cast("dict[str, Any]", value)
