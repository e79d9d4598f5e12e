"""Lint specs that were broken at random: no exception, no wrong place, time and memory bounded.

    python benchmarks/mutated_specs.py --specs 200000 --log mutated.jsonl

Six families of damage (bytes, tokens, lines, keys, values, splices) of the shipped specs, the template and the tests'
own good and bad ones. Every spec follows from the seed and its number, so that the log of a broken-off campaign is taken
up where it ends and one bad spec can be made again: `--only 4711`.

A place is wrong when its line is not in the file, its column is not in the line, or the label names a text that does not
stand there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import string
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tiltc.diagnostics import Diagnostics, Label, Span
from tiltc.lint import lint
from tiltc.render import FORMATS, render

ROOT = Path(__file__).parent.parent
CHUNK = 500
#: every so many specs one is linted under tracemalloc, which makes it many times slower
SAMPLED = 100
#: codes whose label begins with a text that stands at its place
NAMING = {"T106", "T107", "T120", "T128", "T132", "T151"}

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

Mutation = Callable[[random.Random, list[bytes]], bytes]


def corpus() -> list[bytes]:
    """The specs that are broken: shipped examples, the template, the tests' good and bad ones."""
    good = ("specs/examples", "tests/ok", "tests/conflicts", "compiler/tiltc/templates")
    places = ("tests/err", *good * 3)
    return [file.read_bytes() for place in places for file in sorted((ROOT / place).glob("*.yaml"))]


def mutated_bytes(rng: random.Random, specs: list[bytes]) -> bytes:
    """A few bytes set, cut, doubled or inserted, mostly with such as mean something in YAML."""
    text = bytearray(rng.choice(specs))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(text) + 1)
        byte = rng.choice(b"\t\n\r :-[]{}#'\"&*!|>%@`,?\\\0\x85\xff") if rng.random() < 0.7 else rng.randrange(256)
        match rng.randrange(4):
            case 0:
                text[at : at + 1] = bytes([byte])
            case 1:
                del text[at : at + rng.randint(1, 20)]
            case 2:
                text[at:at] = bytes([byte]) * rng.choice((1, 1, 2, 40))
            case _:
                text[at:at] = text[at : at + rng.randint(1, 30)]
    return bytes(text)


_TOKEN = re.compile(rb"[\w.]+|\s+|[^\w\s]")
_STRANGE = [
    b"{}", b"[]", b"null", b"~", b"true", b"no", b"-1", b"1e400", b"99999999999999999999", b"''", b'"\\u0000"', b"'${HOME}'",
    b"&a", b"*a", b"!!str", b"<<", b"- - -", b"? ", b"|", b">-", b"---", b"...", "\u201cx\u201d".encode(), b'"\\ud800"',
    b"'(a+)+$'", b"'['", b"/x/i", b"../../x.yaml", b"/dev/null", b"0x10", b"1:30", b"%", b"5%", b"2x", b"@here", b"`x`", b"# c",
    b"\xc2\xa0",
]  # fmt: skip


def mutated_tokens(rng: random.Random, specs: list[bytes]) -> bytes:
    """Tokens swapped, cut, doubled, or replaced with odd ones."""
    tokens: list[bytes] = _TOKEN.findall(rng.choice(specs)) or [b"a"]
    for _ in range(rng.randint(1, 5)):
        a, b = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        match rng.randrange(4):
            case 0:
                tokens[a], tokens[b] = tokens[b], tokens[a]
            case 1:
                tokens[a] = b""
            case 2:
                tokens[a] = tokens[a] + tokens[b]
            case _:
                tokens[a] = rng.choice(_STRANGE)
    return b"".join(tokens)


def mutated_lines(rng: random.Random, specs: list[bytes]) -> bytes:
    """Lines moved, cut, doubled, set in or out; the end of the last one lost; other line ends."""
    lines = rng.choice(specs).split(b"\n")
    for _ in range(rng.randint(1, 5)):
        a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                lines[a], lines[b] = lines[b], lines[a]
            case 1:
                lines[a : a + 1] = []
                lines = lines or [b""]
            case 2:
                lines[a:a] = [lines[b]] * rng.choice((1, 1, 60))
            case 3:
                lines[a] = b" " * rng.randint(1, 5) + lines[a]
            case _:
                lines[a] = lines[a].lstrip() if rng.random() < 0.5 else lines[a][: rng.randint(0, len(lines[a]))]
    text = rng.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r")).join(lines)
    return text.rstrip(b"\r\n") if rng.random() < 0.3 else text


@cache
def _as_json(text: bytes) -> str | None:
    """A spec's values as JSON; None for what is no YAML mapping, or holds aliases, which may stand for very much."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_LOADER)):
            return None
        tree = yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError):
        return None
    return json.dumps(tree, default=str) if isinstance(tree, dict) and tree else None


def _tree(rng: random.Random, specs: list[bytes]) -> Any:
    """A spec as plain values; one that has none gives the next."""
    while (text := _as_json(rng.choice(specs))) is None:
        pass
    return json.loads(text)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (collection, key or index) of a tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)


def _written(rng: random.Random, tree: Any) -> bytes:
    flow = rng.choice((None, False, True))
    return yaml.dump(
        tree,
        Dumper=_DUMPER,
        sort_keys=False,
        allow_unicode=rng.random() < 0.5,
        default_flow_style=flow,
        width=rng.choice((40, 80, 10**6)),
    ).encode("utf-8", "surrogatepass")


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(string.ascii_letters + "._-é \u202e\x1b:#") for _ in range(rng.randint(0, 12)))


def mutated_keys(rng: random.Random, specs: list[bytes]) -> bytes:
    """Keys misspelt, taken from elsewhere, or made up."""
    tree = _tree(rng, specs)
    for _ in range(rng.randint(1, 4)):
        places = [(node, key) for node, key in _places(tree) if isinstance(node, dict)]
        if not places:
            break
        node, key = rng.choice(places)
        value = node.pop(key)
        old = str(key)
        cut = rng.randrange(len(old) + 1)
        node[rng.choice((old[:cut] + old[cut + 1 :], str(rng.choice(places)[1]), _word(rng), rng.randint(-5, 99)))] = (
            value
        )
    return _written(rng, tree)


_VALUES: list[Any] = [
    None, True, False, 0, -1, 2**31, 2**32, 2**53 + 1, 1e308, "", " ", "x" * 3000, [], {}, [[]], [None], {"": ""}, "${X}",
    "${HOME}",
    "a\nb", "::error::x", "\x1b[31m", "@all", "‘x’", "/x/i", "\bx\b", "(a|a)*b", "(?R)", "[", "a{99999}", "std.style.bold", "std",
    "5%", "2x", "1e9 sd", ".", "..", "/", "/proc/self/environ", "a\0b", "x/" * 3000, 1.5, "T132", "T150", [1, 2], {"a": {"b": {}}},
]  # fmt: skip


def mutated_values(rng: random.Random, specs: list[bytes]) -> bytes:
    """Values of another type, out of range, hostile, or from another place."""
    tree = _tree(rng, specs)
    for _ in range(rng.randint(1, 4)):
        places = list(_places(tree))
        node, key = rng.choice(places)
        other, at = rng.choice(places)
        value = rng.choice(_VALUES) if rng.random() < 0.7 else other[at]
        node[key] = json.loads(json.dumps(value))
    return _written(rng, tree)


def mutated_splices(rng: random.Random, specs: list[bytes]) -> bytes:
    """The head of one spec and the tail of another, or a section of one within the other."""
    one, two = rng.choice(specs).split(b"\n"), rng.choice(specs).split(b"\n")
    a, b = rng.randrange(len(one) + 1), rng.randrange(len(two) + 1)
    text = b"\n".join([*one[:a], *two[b : b + rng.randint(0, 30)], *(one[a:] if rng.random() < 0.5 else [])])
    return text if rng.random() < 0.7 else mutated_bytes(rng, [text or b"a"])


FAMILIES: dict[str, Mutation] = {
    "bytes": mutated_bytes,
    "tokens": mutated_tokens,
    "lines": mutated_lines,
    "keys": mutated_keys,
    "values": mutated_values,
    "splices": mutated_splices,
}


def make(seed: int, number: int, specs: list[bytes]) -> tuple[str, bytes]:
    """(family, text) of one mutated spec."""
    rng = random.Random(f"{seed}:{number}")
    family = list(FAMILIES)[number % len(FAMILIES)]
    return family, FAMILIES[family](rng, specs)


# --- places


def lines_of(text: str) -> list[str]:
    """The lines as an editor numbers them: a line end at the end begins no further line."""
    lines = re.split(r"\r\n|\n|\r", text)
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


def wrong_place(code: str, label: Label, text: str) -> str | None:
    """What is wrong with a label's place in a text, or None."""
    span = label.span
    if span is None:
        return None
    lines = lines_of(text)
    for line, column, past in ((span.line, span.column, 1), (span.end_line, span.end_column, 2)):
        if not 1 <= line <= len(lines):
            return f"line {line} of {len(lines)}"
        if not 1 <= column <= len(lines[line - 1]) + past:
            return f"column {column} of a line of {len(lines[line - 1])}"
    if (span.line, span.column) >= (span.end_line, span.end_column):
        return "ends before it begins"
    named = re.match(r"(?:no concept is called |no code )?`([^`]+)`", label.text) if code in NAMING else None
    if named and not _holds(_within(lines, span), named[1]):
        return f"`{named[1]}` is not there"
    return None


def _within(lines: list[str], span: Span) -> str:
    picked = lines[span.line - 1 : span.end_line]
    picked[-1] = picked[-1][: span.end_column - 1]
    picked[0] = picked[0][span.column - 1 :]
    return "\n".join(picked)


def _holds(source: str, named: str) -> bool:
    if named in source:
        return True
    try:
        value = yaml.load(source, Loader=yaml.BaseLoader)
    except yaml.YAMLError:
        return False
    return named in str(value) or named.split() == str(value).split()


# --- one spec, one chunk, the campaign


@dataclass
class Tally:
    """What a number of specs gave."""

    specs: int = 0
    findings: int = 0
    labels: int = 0
    clean: int = 0
    exceptions: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    wrong: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    codes: Counter[str] = field(default_factory=Counter[str])
    seconds: list[float] = field(default_factory=list[float])
    megabytes: list[float] = field(default_factory=list[float])

    def take(self, number: int, family: str, path: Path, content: bytes) -> None:
        self.specs += 1
        measured = number % SAMPLED == 0
        if measured:
            tracemalloc.start()
        start = time.process_time()
        try:
            _, found = lint(path)
        except Exception as problem:
            self.exceptions.append({"number": number, "family": family, "problem": repr(problem)[:300]})
            return
        finally:
            if measured:
                self.megabytes.append(tracemalloc.get_traced_memory()[1] / 1e6)
                tracemalloc.stop()
            else:
                self.seconds.append(time.process_time() - start)
        self.clean += not found
        self.codes.update(d.code for d in found)
        self.findings += len(found)
        self.render(number, family, found)
        self.places(number, family, found, path, content)

    def render(self, number: int, family: str, found: Diagnostics) -> None:
        for format in FORMATS:
            try:
                render(found, format).encode("utf-8")
            except Exception as problem:
                self.exceptions.append(
                    {"number": number, "family": f"{family}, {format}", "problem": repr(problem)[:300]}
                )

    def places(self, number: int, family: str, found: Diagnostics, path: Path, content: bytes) -> None:
        text = content.decode("utf-8", "replace").removeprefix("\ufeff")
        for diagnostic in found:
            for label in (diagnostic.primary, *diagnostic.labels):
                self.labels += 1
                if label.span is None or label.span.path != str(path):
                    continue
                if problem := wrong_place(diagnostic.code, label, text):
                    where = {"number": number, "family": family, "code": diagnostic.code, "problem": problem}
                    self.wrong.append(where | {"span": str(label.span)[:200]})

    def record(self) -> dict[str, Any]:
        return {
            **{key: getattr(self, key) for key in ("specs", "findings", "labels", "clean", "exceptions", "wrong")},
            "codes": dict(self.codes),
            "seconds": [round(s, 4) for s in self.seconds],
            "megabytes": [round(m, 1) for m in self.megabytes],
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def chunk(seed: int, first: int, count: int, specs: list[bytes]) -> Tally:
    """Lint the specs of numbers first .. first + count."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spec.yaml"
        for number in range(first, first + count):
            family, content = make(seed, number, specs)
            file.write_bytes(content)
            tally.take(number, family, file, content)
    return tally


def campaign(seed: int, total: int, log: Path) -> None:
    """Chunks not in the log yet, each appended when it is done."""
    specs = corpus()
    done = {json.loads(line)["first"] for line in log.read_text().splitlines()} if log.exists() else set[int]()
    for first in range(0, total, CHUNK):
        if first in done:
            continue
        tally = chunk(seed, first, min(CHUNK, total - first), specs)
        with open(log, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"first": first, **tally.record()}) + "\n")
        if tally.exceptions or tally.wrong:
            print(first, len(tally.exceptions), "exceptions", len(tally.wrong), "wrong", flush=True)


def summary(log: Path) -> str:
    """The figures of a campaign's log."""
    chunks = [json.loads(line) for line in log.read_text().splitlines()]
    seconds = sorted(s for c in chunks for s in c["seconds"])
    megabytes = sorted(m for c in chunks for m in c["megabytes"])
    codes: Counter[str] = Counter()
    for c in chunks:
        codes.update(c["codes"])
    total = {key: sum(c[key] for c in chunks) for key in ("specs", "findings", "labels", "clean")}
    broken = [e for c in chunks for e in c["exceptions"]]
    wrong = [w for c in chunks for w in c["wrong"]]

    def at(values: list[float], share: float) -> float:
        return values[min(int(share * len(values)), len(values) - 1)]

    return "\n".join(
        [
            f"{total['specs']:,} specs, {total['findings']:,} findings of {len(codes)} codes, {total['clean']:,} without any",
            f"exceptions: {len(broken)}",
            f"wrong places: {len({w['number'] for w in wrong})} specs, of {total['labels']:,} labels",
            f"CPU seconds a spec: median {at(seconds, 0.5):.4f}, p99 {at(seconds, 0.99):.3f}, max {seconds[-1]:.2f}",
            f"MB allocated a spec (1 in {SAMPLED}): p99 {at(megabytes, 0.99):.1f}, max {megabytes[-1]:.1f}",
            f"MB of the process, at most: {max(c['rss'] for c in chunks)}",
            *(json.dumps(item) for item in (broken + wrong)[:12]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--specs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--log", type=Path, default=Path("mutated.jsonl"))
    parser.add_argument("--only", type=int, help="print the spec of this number and its findings")
    args = parser.parse_args()
    if args.only is not None:
        family, content = make(args.seed, args.only, corpus())
        sys.stdout.buffer.write(content + b"\n")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "spec.yaml"
            file.write_bytes(content)
            print(family, os.linesep, render(lint(file)[1]))
        return
    campaign(args.seed, args.specs, args.log)
    print(summary(args.log))


if __name__ == "__main__":
    main()
