"""One reader for data, whatever it is kept in: the same rows, or a sentence that says what is wrong where."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiltc.datafile import Unreadable, data_sha256, read_data, read_pairs, scan_data
from tiltc.evidence import read_examples
from tiltc.questions import read_questions
from tiltc.spec import FileRef

ROWS = [{"prompt": f"Item {i}?", "chosen": f"yes\u2028{i}", "rejected": f"no {i}"} for i in range(6)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def parquet(path: Path, rows: list[dict[str, Any]] = ROWS, kind: pa.DataType | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if kind is not None:
        table = pa.table({name: table.column(name).cast(kind) for name in table.column_names})
    pq.write_table(table, path)


def arrow(folder: Path, rows: list[dict[str, Any]] = ROWS, shards: int = 2) -> None:
    """A folder as `Dataset.save_to_disk` leaves it."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    size = -(-len(rows) // shards)
    for i, name in enumerate(names):
        table = pa.Table.from_pylist(rows[i * size : (i + 1) * size])
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def saved_splits(folder: Path) -> None:
    for name in ("train", "test"):
        arrow(folder / name, ROWS if name == "train" else ROWS[:1])
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')


def shards(folder: Path) -> None:
    for i in range(3):
        parquet(folder / f"train-{i:05d}-of-00003.parquet", ROWS[2 * i : 2 * i + 2])
    (folder / "README.md").write_text("a data set")


def clone(folder: Path) -> None:
    shards(folder / "data")
    parquet(folder / "data" / "test-00000-of-00001.parquet", ROWS[:1])


WRITTEN: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda p: p.write_text(LINES, "utf-8"),
    "a.ndjson": lambda p: p.write_text(LINES, "utf-8"),
    "A.JSONL": lambda p: p.write_text(LINES, "utf-8"),
    "bom-crlf.jsonl": lambda p: p.write_bytes(b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").encode()),
    "cr.jsonl": lambda p: p.write_bytes(LINES.replace("\n", "\r").encode()),
    "utf16.jsonl": lambda p: p.write_bytes(LINES.encode("utf-16")),
    "a.jsonl.gz": lambda p: p.write_bytes(gzip.compress(LINES.encode())),
    "a.jsonl.bz2": lambda p: p.write_bytes(bz2.compress(LINES.encode())),
    "a.json.xz": lambda p: p.write_bytes(lzma.compress(json.dumps(ROWS).encode())),
    "lines.json": lambda p: p.write_text(LINES, "utf-8"),
    "array.json": lambda p: p.write_text(json.dumps(ROWS)),
    "pretty.json": lambda p: p.write_text(json.dumps({"train": ROWS}, indent=1)),
    "splits.json": lambda p: p.write_text(json.dumps({"test": ROWS[:1], "train": ROWS})),
    "a.parquet": parquet,
    "large.parquet": lambda p: parquet(p, kind=pa.large_string()),
    "dictionary.parquet": lambda p: parquet(p, kind=pa.dictionary(pa.int32(), pa.string())),
    "a.csv": lambda p: p.write_text("prompt,chosen,rejected\n" + "".join(f"{','.join(r.values())}\n" for r in ROWS), "utf-8"),
    "bom-semicolon.csv": lambda p: p.write_text(
        "prompt;chosen;rejected\n" + "".join(f"{';'.join(r.values())}\n" for r in ROWS), "utf-8-sig"
    ),
    "a.tsv": lambda p: p.write_text("prompt\tchosen\trejected\n" + "".join("\t".join(r.values()) + "\n" for r in ROWS), "utf-8"),
    "saved": arrow,
    "saved-splits": saved_splits,
    "shards": shards,
    "clone": clone,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_the_same_rows_from_every_kind_of_file(tmp_path: Path, name: str) -> None:
    """Rows do not depend on what they are kept in."""
    WRITTEN[name](tmp_path / name)
    scan = scan_data(tmp_path / name)
    assert scan.rows == ROWS
    assert scan.numbers == [1, 2, 3, 4, 5, 6]
    assert scan.faults == []


def test_folders_that_datasets_writes(tmp_path: Path) -> None:
    """What `save_to_disk` itself writes, of a Dataset and of a DatasetDict, is read back."""
    from datasets import Dataset, DatasetDict

    Dataset.from_list(ROWS).save_to_disk(tmp_path / "one", num_shards=2)
    DatasetDict({"train": Dataset.from_list(ROWS), "test": Dataset.from_list(ROWS[:2])}).save_to_disk(tmp_path / "two")
    assert scan_data(tmp_path / "one").rows == scan_data(tmp_path / "two").rows == ROWS
    assert scan_data(tmp_path / "two", "test").rows == ROWS[:2]


def test_a_split_is_chosen_and_said(tmp_path: Path) -> None:
    """Of several splits `train` is read and named; where none is `train`, the user is asked."""
    saved_splits(tmp_path / "both")
    scan = scan_data(tmp_path / "both")
    assert (scan.split, scan.splits) == ("train", ("train", "test"))
    assert len(scan_data(tmp_path / "both", "test").rows) == 1
    with pytest.raises(Unreadable, match="no split `dev`; it has `train`, `test`"):
        scan_data(tmp_path / "both", "dev")
    (tmp_path / "ab.json").write_text(json.dumps({"a": ROWS, "b": ROWS}))
    with pytest.raises(Unreadable, match=r"ab\.json: the file has the splits `a`, `b`: choose one"):
        scan_data(tmp_path / "ab.json")


HASHED = ("train-00000-of-00001-b42a775f407cee45.parquet", "test-00000-of-00001-c7b1d0b1a7a0f3e2.parquet")


@pytest.mark.parametrize(
    ("names", "split", "read"),
    [
        (HASHED, None, HASHED[:1]),
        (HASHED, "test", HASHED[1:]),
        (("train_prefs.parquet", "test_prefs.parquet"), "test_prefs", ("test_prefs.parquet",)),
        (("prefs-train.parquet", "prefs-test.parquet"), "prefs-train", ("prefs-train.parquet",)),
        (("train_1.parquet", "train_2.parquet", "test.parquet"), None, ("train_1.parquet", "train_2.parquet")),
        (("train_a.parquet", "train_b.parquet"), None, ("train_a.parquet", "train_b.parquet")),
        (("train.parquet", "test.parquet", "more.parquet"), "train", ("train.parquet",)),
        (("helpful.parquet", "harmless.parquet"), None, ("harmless.parquet", "helpful.parquet")),
    ],
)
def test_the_files_of_a_folder_are_told_apart_by_split(
    tmp_path: Path, names: tuple[str, ...], split: str | None, read: tuple[str, ...]
) -> None:
    """What is kept for testing is not read with the rest, however the files of a split are called."""
    for i, name in enumerate(names):
        parquet(tmp_path / "a" / name, ROWS[i : i + 1])
    scan = scan_data(tmp_path / "a", split)
    assert scan.rows == [ROWS[names.index(name)] for name in read]
    assert scan.files == len(read)
    taken, _ = read_pairs(tmp_path / "a", FileRef(file="a", split=split))
    assert taken is not None
    assert ("from 2 files" in taken.line) == (len(read) == 2)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("train_prefs.parquet", "test_prefs.parquet"), "has the splits `test_prefs`, `train_prefs`: choose one"),
        (
            ("train.parquet", "test.parquet", "more.parquet"),
            "has files of `test`, `train` and beside them more.parquet",
        ),
        (("train.parquet", "more.parquet"), "has files of `train` and beside them more.parquet: choose one"),
    ],
)
def test_splits_among_other_files_are_not_read_as_one(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    """Where no split is `train` alone, or other files lie beside the splits, the user is asked."""
    for name in names:
        parquet(tmp_path / "a" / name, ROWS[:1])
    with pytest.raises(Unreadable, match=said):
        scan_data(tmp_path / "a")


def test_the_digest_of_a_folder_is_over_the_split_that_is_asked_for(tmp_path: Path) -> None:
    """Other rows in a split are other data for those who read it, and for no one else."""
    folder = tmp_path / "a"
    for name in ("train", "test"):
        parquet(folder / f"{name}.parquet", ROWS[:2])
    before = [data_sha256(folder, split) for split in (None, "train", "test")]
    parquet(folder / "test.parquet", ROWS[2:])
    (folder / "README.md").write_text("other words")
    now = [data_sha256(folder, split) for split in (None, "train", "test")]
    assert [a == b for a, b in zip(before, now, strict=True)] == [True, True, False]


def test_rows_that_cannot_be_read_are_named_and_the_rest_is_there(tmp_path: Path) -> None:
    """Broken lines are faults with their number, and do not hide the rows around them."""
    lines = [json.dumps(ROWS[0]), "{broken", "[1]", '{"prompt": "\\ud800"}', json.dumps(ROWS[1])]
    data = "\n".join(lines).encode() + b'\n{"a": "\xff"}\n'
    (tmp_path / "a.jsonl").write_bytes(data)
    scan = scan_data(tmp_path / "a.jsonl")
    assert scan.numbers == [1, 4, 5]
    assert [fault.where for fault in scan.faults] == ["line 2", "line 3", "line 6"]
    rows, found = read_data(tmp_path / "a.jsonl")
    assert rows is None
    said = next(iter(found))
    assert said.primary.text == (
        "a.jsonl: line 2 is not JSON: Expecting property name enclosed in double quotes at column 2"
    )
    assert said.notes[-1] == "3 of 6 can't be read"
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected\na,b,c\nd,e\nf,g,h\n")
    scan = scan_data(tmp_path / "a.csv")
    assert (scan.numbers, [fault.text for fault in scan.faults]) == ([1, 3], ["row 2 has 2 fields, not 3"])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut.jsonl.gz": (lambda p: p.write_bytes(gzip.compress(LINES.encode())[:-9]), "damaged compression"),
    "bomb.jsonl.gz": (lambda p: p.write_bytes(gzip.compress(b" " * (300 << 20), 1)), "unpacks to more than"),
    "plain.jsonl.gz": (lambda p: p.write_text(LINES, "utf-8"), "damaged compression"),
    "columns.json": (lambda p: p.write_text(json.dumps({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]})), "columns"),
    "twice.csv": (lambda p: p.write_text("prompt,chosen,chosen\na,b,c\n"), "two columns `chosen`"),
    "utf16.jsonl": (lambda p: p.write_bytes(b"\xff\xfea"), "UTF-16"),
    "pipe.jsonl": (lambda p: os.mkfifo(p), "neither a file nor a folder"),
    "loop.jsonl": (lambda p: p.symlink_to(p), "can't read loop.jsonl"),
    "empty": (lambda p: p.mkdir(), "holds no data"),
    "lacking": (lambda p: parquet(p / "train-00001-of-00002.parquet"), "1 of 2 shards"),
    "mixed": (lambda p: (parquet(p / "a.parquet"), (p / "b.jsonl").write_text(LINES, "utf-8")), "several kinds"),
    "outside": (
        lambda p: (arrow(p), (p / "state.json").write_text('{"_data_files": [{"filename": "../../etc/passwd"}]}')),
        "names no files of its folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_said_in_a_line(tmp_path: Path, name: str) -> None:
    """Damaged and ambiguous data are a finding that names what is wrong, at once."""
    write, part = BROKEN[name]
    write(tmp_path / name)
    rows, found = read_data(tmp_path / name)
    assert rows is None
    assert [d.code for d in found] == ["T514"]
    said = next(iter(found)).primary.text
    assert part in said
    assert str(tmp_path) not in said


def test_the_hash_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    """A changed shard changes the hash, a README does not."""
    shards(tmp_path / "a")
    before = data_sha256(tmp_path / "a")
    (tmp_path / "a" / "README.md").write_text("another text")
    assert data_sha256(tmp_path / "a") == before
    parquet(tmp_path / "a" / "train-00002-of-00003.parquet", ROWS[:1])
    assert data_sha256(tmp_path / "a") != before


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".jsonl.gz", ".csv", ".parquet"])
def test_examples_and_questions_are_read_like_data(tmp_path: Path, ending: str) -> None:
    """Contrast sets and questions may lie in whatever data may lie in, byte order mark included."""
    rows = [{"prompt": f"{i}?", "response": "so", "label": i % 2} for i in range(4)]
    file = tmp_path / f"cats{ending}"
    lines = "\ufeff" + "".join(json.dumps(row) + "\n" for row in rows)
    match ending:
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), file)
        case ".csv":
            file.write_text(
                "prompt,response,label\n" + "".join(f"{i}?,so,{i % 2}\n" for i in range(4)), encoding="utf-8"
            )
        case ".jsonl.gz":
            file.write_bytes(gzip.compress(lines.encode()))
        case _:
            file.write_text(json.dumps(rows) if ending == ".json" else lines, encoding="utf-8")
    examples, found = read_examples(file)
    assert examples is not None, list(found)
    assert [(e.prompt, e.label) for e in examples] == [(row["prompt"], row["label"]) for row in rows]
    questions, found = read_questions(file)
    assert questions == ("0?", "1?", "2?", "3?"), list(found)
