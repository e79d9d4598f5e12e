"""Data that is broken in every way: is each file answered with rows or a finding, in bounded time and memory?

    python benchmarks/mutated_rows.py [--files N] [--seed S] [--tokens]

Files of all kinds and forms that are read, with changes to values, types, columns, JSON structure, encodings and bytes, read as
`tiltc harvest` and `tiltc lint` read them, under random `columns`, `skip`, `split` and `rows`. Batches run in processes of their
own, so that a crash of a library is seen too. With `--tokens`, what is read goes through a small tokenizer as well.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import lzma
import multiprocessing
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiltc.datafile import read_pairs
from tiltc.pairs import Taken
from tiltc.spec import FileRef

Row = dict[str, Any]
BATCH = 1000
USER, YES, NO = (
    {"role": "user", "content": "Is it? 天"},
    {"role": "assistant", "content": "Yes, it’s é."},
    {"role": "assistant", "content": "No. 🙂"},
)
FORMS: tuple[Row, ...] = (
    {"prompt": [USER], "chosen": [YES], "rejected": [NO], "tools": [{"type": "function", "function": {"name": "f"}}]},
    {"prompt": "Is it?", "chosen": "Yes.", "rejected": "No.", "margin": 0.5, "system": "Be brief."},
    {"chosen": [USER, YES], "rejected": [USER, NO], "chat_template_kwargs": {"enable_thinking": False}},
    {"chosen": "\n\nHuman: Is it?\n\nAssistant: Yes.", "rejected": "\n\nHuman: Is it?\n\nAssistant: No."},
    {"instruction": "Add.", "input": "1 2", "chosen": "3", "rejected": "4", "history": [["Hi", "Ho"]]},
    {"conversations": [{"from": "human", "value": "Is it?"}], "chosen": {"from": "gpt", "value": "Yes."},
     "rejected": {"from": "gpt", "value": "No."}},
    {"messages": [USER, YES], "rejected_response": "No."},
    {"system": "Be brief.", "question": "Is it?", "chosen": "Yes.", "rejected": "No."},
    {"prompt": "Is it?", "completion": "Yes.", "label": True},
    {"messages": [USER, YES]},
    {"instruction": "Is it?", "output": "Yes.", "kto_tag": False},
)  # fmt: skip
JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 10**30, 1.5, float("nan"), float("inf"),
    "", " ", "\0", "\ud800", "\u2028", "a" * 3000, "[", "{}", '[{"role": 1}]',
    '{"a":', [], {}, [[]], [None], [{}], [1, "a"], {"role": "user"}, {"role": None, "content": None}, {"from": 1, "value": []},
    {"role": ["user"], "content": ["a", "b"]}, [{"role": "user", "content": [{"type": "image"}]}],
    [{"role": "tool", "content": None, "tool_calls": [1]}], {"tokenize": True}, {"": 1}, [["a"], ["b", "c"]], "true", "2",
)  # fmt: skip
COLUMNS = (
    "prompt",
    "chosen",
    "rejected",
    "question",
    "system",
    "label",
    "margin",
    "messages",
    "tools",
    "x",
    "Chosen",
    "",
)


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value] if levels % 2 else {"a": value}
    return value


def rows_of(rng: random.Random) -> list[Any]:
    """Rows of one form, or two, with changes to their values."""
    forms = rng.sample(FORMS, rng.choice((1, 1, 1, 2)))
    rows: list[Any] = [json.loads(json.dumps(rng.choice(forms))) for _ in range(rng.randint(1, 6))]
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(rows))
        rows[at] = changed(rows[at], rng)
    return rows


def changed(value: Any, rng: random.Random) -> Any:
    """A value with one change somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.3:
            return {(rng.choice(COLUMNS) if k == key else k): v for k, v in value.items()}
        if kind < 0.4:
            return {**value, rng.choice(COLUMNS): rng.choice(JUNK)}
        return {**value, key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return (
            [*value[:at], changed(value[at], rng), *value[at + 1 :]]
            if rng.random() < 0.8
            else value * rng.randint(0, 3)
        )
    return deep(rng.choice((50, 150, 400))) if rng.random() < 0.03 else rng.choice(JUNK)


def json_lines(rows: list[Any], rng: random.Random) -> bytes:
    lines = [json.dumps(row, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass") for row in rows]
    if rng.random() < 0.1:
        lines.insert(
            rng.randrange(len(lines) + 1),
            rng.choice((b"", b"[" * 5000, b"nope", b'{"a": 1,', b"\xff\xfe", b"1" * 5000)),
        )
    return rng.choice((b"\n", b"\n", b"\r\n", b"\r")).join(lines) + rng.choice((b"", b"\n"))


def whole_json(rows: list[Any], rng: random.Random) -> bytes:
    value = rng.choice(
        (rows, {"train": rows}, {"a": rows, "b": rows}, {"data": rows, "version": 1}, rows[0], {"prompt": rows})
    )
    return json.dumps(value, indent=rng.choice((None, 1))).encode()


def separated(rows: list[Any], rng: random.Random) -> bytes:
    import csv
    import io

    sign = rng.choice(",;\t|")
    names = sorted({key for row in rows if isinstance(row, dict) for key in row}) or ["a"]
    out = io.StringIO()
    writer = csv.writer(out, delimiter=sign)
    writer.writerow(names)
    for row in rows:
        cells = [row.get(name) if isinstance(row, dict) else row for name in names]
        writer.writerow([c if isinstance(c, str) else json.dumps(c) for c in cells][: rng.choice((99, 99, 99, 1))])
    return out.getvalue().encode("utf-8", "surrogatepass")


def table_of(rows: list[Any], rng: random.Random) -> Any:
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in sorted({key for row in rows if isinstance(row, dict) for key in row}) or ["a"]:
        values = [row.get(name) if isinstance(row, dict) else None for row in rows]
        try:
            columns[name] = pa.array(values)
        except Exception:
            columns[name] = pa.array([repr(value)[:99].encode("utf-8", "replace") for value in values])
        if rng.random() < 0.1:
            columns[name] = odd(len(rows), rng)
    return pa.table(columns)


def odd(count: int, rng: random.Random) -> Any:
    """A column of a type that is seldom seen in data."""
    import pyarrow as pa

    kinds: tuple[Callable[[], Any], ...] = (
        lambda: pa.array([b"\xff"] * count, pa.binary()),
        lambda: pa.array([2**62] * count, pa.timestamp("s")),
        lambda: pa.array([1] * count, pa.timestamp("ns", tz="Nowhere/City")),
        lambda: pa.array([1] * count, pa.duration("ns")),
        lambda: pa.array([None] * count, pa.null()),
        lambda: pa.array(["a"] * count).dictionary_encode(),
        lambda: pa.array([[("a", "b")]] * count, pa.map_(pa.string(), pa.string())),
        lambda: pa.array(["a"] * count, pa.large_string()),
    )
    return rng.choice(kinds)()


def parquet(rows: list[Any], rng: random.Random) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table_of(rows, rng), sink)
    return sink.getvalue().to_pybytes()


def arrow(rows: list[Any], rng: random.Random) -> bytes:
    import pyarrow as pa

    table, sink = table_of(rows, rng), pa.BufferOutputStream()
    with (pa.ipc.new_stream if rng.random() < 0.7 else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


KINDS: dict[str, Callable[[list[Any], random.Random], bytes]] = {
    ".jsonl": json_lines, ".ndjson": json_lines, ".json": whole_json, ".csv": separated, ".tsv": separated,
    ".parquet": parquet, ".arrow": arrow,
}  # fmt: skip
PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def broken(data: bytes, rng: random.Random) -> bytes:
    """Bytes with a change to their encoding, or to some of them."""
    kind = rng.random()
    at = rng.randrange(len(data) + 1)
    if kind < 0.7:
        return data
    if kind < 0.73:
        return b"\xef\xbb\xbf" + data
    if kind < 0.76:
        name = rng.choice(("latin-1", "utf-16", "utf-16-le", "utf-32", "cp037"))
        return data.decode("utf-8", "ignore").encode(name, "replace")
    if kind < 0.8:
        return data[:at]
    if kind < 0.84:
        return data[:at] + data[at + rng.randint(1, 40) :]
    if kind < 0.88:
        return data[:at] + data[at : at + 50] * rng.randint(2, 9) + data[at:]
    many = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if many:
            many[rng.randrange(len(many))] = rng.randrange(256)
    return bytes(many)


def made(kind: str, rng: random.Random) -> bytes:
    """A file's contents, before bytes of it change; types that a library can't write are not tried twice."""
    for _ in range(20):
        try:
            return KINDS[kind](rows_of(rng), rng)
        except Exception:
            continue
    return b""


def write(folder: Path, rng: random.Random) -> Path:
    """A file, or a folder of files, of one kind and with changes."""
    # Arrow seldom: another process reads each file first
    kind = rng.choices(list(KINDS), [6, 2, 6, 4, 2, 6, 1])[0]
    written = [broken(made(kind, rng), rng) for _ in range(rng.choice((1, 1, 1, 1, 2)))]
    if len(written) == 1:
        pack = rng.choice((None, None, None, *PACKERS))
        name = rng.choice((*(kind,) * 20, ".jsonl", ".json", ".parquet"))
        path = folder / f"a{name}{pack or ''}"
        path.write_bytes(broken(PACKERS[pack](written[0]), rng) if pack else written[0])
        return path
    path = folder / "set"
    path.mkdir()
    for i, data in enumerate(written):
        (path / f"{rng.choice(('train', 'test', 'part'))}-{i:05d}-of-{rng.choice((2, 2, 3)):05d}{kind}").write_bytes(
            data
        )
    if rng.random() < 0.3:
        (path / "state.json").write_text(
            json.dumps(rng.choice(({"_data_files": [{"filename": "x"}]}, [], {"_data_files": 1})))
        )
    if rng.random() < 0.2:
        (path / "dataset_dict.json").write_text(json.dumps(rng.choice(({"splits": ["train"]}, {"splits": 3}, []))))
    return path


def asked(path: Path, rng: random.Random) -> FileRef:
    """How a spec could ask for it."""
    columns: Any = {}
    if rng.random() < 0.1:
        columns = {rng.choice(("prompt", "chosen", "system", "label")): rng.choice(COLUMNS) for _ in range(2)}
    return FileRef(
        file=path.name, columns=columns, skip=rng.choice((0, 0, 1, 3, 0.5)), split=rng.choice((*(None,) * 12, "train", "x")),
        rows=rng.choice((None, None, None, 1, 3)),
    )  # fmt: skip


def one(seed: int, folder: Path) -> tuple[Taken | None, tuple[str, ...]]:
    """Read one broken data set. What it raises is a fault of the reader's."""
    rng = random.Random(seed)
    path = write(folder, rng)
    taken, found = read_pairs(path, asked(path, rng))
    assert found.failed == (taken is None), "either rows or an error"
    if taken is not None:
        assert len({pair.row_id for pair in taken.pairs}) == len(taken.pairs) == len(taken.numbers)
        assert taken.line.isprintable() or "\n" not in taken.line
    return taken, tuple(d.code for d in found)


def batch(seeds: range, tokens: bool, report: Any) -> None:
    """Read many; tell of each what came of it, how long it took, and the memory that is held."""
    encode = encoder() if tokens else None
    for seed in seeds:
        report.send((seed, None, 0.0, 0))
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            try:
                taken, codes = one(seed, Path(folder))
                if encode is not None and taken is not None:
                    encode(taken)
                said = codes if taken is None else ("read", *codes)
            except Exception:
                said = ("traceback", traceback.format_exc())
            seconds = time.process_time() - start
        report.send((seed, said, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10))
    report.close()


def encoder() -> Callable[[Taken], None]:
    """A small tokenizer on what is read; refusals are findings."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.runtime.tiny import tiny_tokenizer

    from tiltc_runtime.refused import Refused
    from tiltc_runtime.tokens import encode_pair, row_status

    tokenizer = tiny_tokenizer()

    def encode(taken: Taken) -> None:
        try:
            for pair in taken.pairs:
                row_status(pair, encode_pair(tokenizer, pair, 128))
        except Refused:
            pass

    return encode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", action="store_true", help="encode what is read, too")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    slowest, most, faults = (0.0, -1), 0, 0
    first, end = args.seed, args.seed + args.files
    while first < end:
        seeds = range(first, min(first + BATCH, end))
        receive, send = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=batch, args=(seeds, args.tokens, send))
        process.start()
        send.close()
        last = first
        while True:
            try:
                seed, said, seconds, memory = receive.recv()
            except EOFError:
                break
            last = seed
            if said is None:
                continue
            slowest, most = max(slowest, (seconds, seed)), max(most, memory)
            if said[0] == "traceback":
                faults += 1
                print(f"seed {seed}: {said[1]}", flush=True)
            counts.update(said if said[0] != "traceback" else ("traceback",))
        process.join()
        if process.exitcode:
            faults += 1
            seeds = range(first, last + 1)
            print(f"seed {last}: the process ended with {process.exitcode}", flush=True)
        first = seeds.stop
    print(f"{args.files} files: " + ", ".join(f"{name} {n}" for name, n in counts.most_common()))
    print(f"slowest {slowest[0]:.2f} s CPU (seed {slowest[1]}), at most {most} MiB held by a process; {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
