"""Is the same data the same data in every form that people write it in?

    python benchmarks/forms.py [--rows N] [--set NAME]

Ten preference sets, each written as messages, as text with a prompt, as text with the prompt implied, as text with the turns of
HH, and with the prompt in another column. Each is read as `tiltc lint` and `tiltc harvest` read it, and every std concept about
responses is looked for in both responses of every row: what a form decides otherwise than the messages do is counted.

Needs the shared research data, which is not part of this repository: `$TILTC_SHARED_DATA`, or `../shared/data` beside the
checkout.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiltc.data.kinds import Scan
from tiltc.datafile import scan_data
from tiltc.detectors import has_detector, present
from tiltc.pairs import Pair, plain_text, take
from tiltc.spec import Concept
from tiltc.std import FAMILIES, concepts

Row = dict[str, Any]
NAMES = {"user": "Human", "assistant": "Assistant", "system": "System"}


def text_of(row: Row) -> str:
    """The prompt without roles, as a column of text has it."""
    return "\n\n".join(turn["content"] for turn in row["prompt"])


def dialogue(row: Row) -> str:
    """The prompt as HH writes it, up to the answer."""
    return "".join(f"\n\n{NAMES[turn['role']]}: {turn['content']}" for turn in row["prompt"]) + "\n\nAssistant:"


def answers(row: Row) -> dict[str, str]:
    return {side: row[side][-1]["content"] for side in ("chosen", "rejected")}


FORMS: dict[str, Callable[[Row], Row]] = {
    "messages": lambda row: {key: row[key] for key in ("prompt", "chosen", "rejected")},
    "text": lambda row: {"prompt": text_of(row), **answers(row)},
    "text, implied": lambda row: {side: f"{text_of(row)}\n\n{answer}" for side, answer in answers(row).items()},
    "HH": lambda row: {side: f"{dialogue(row)} {answer}" for side, answer in answers(row).items()},
    "question": lambda row: {"question": text_of(row), **answers(row)},
}


@dataclass(frozen=True)
class Read:
    """A data set in one form: its pairs, what was said of them, and how their prompts were found."""

    pairs: list[Pair]
    codes: tuple[str, ...]
    line: str


def read(rows: Sequence[Row], form: str, name: str) -> Read:
    taken, found = take(Scan.of([FORMS[form](row) for row in rows]), name)
    if taken is None:
        raise SystemExit(f"{name} as {form}: {[d.primary.text for d in found]}")
    return Read(taken.pairs, tuple(d.code for d in found), taken.line)


def std_of_responses() -> dict[str, Concept]:
    """The std concepts that a text is enough for."""
    every = {name: concept for family in FAMILIES for name, concept in concepts(family).items()}
    return {n: c for n, c in every.items() if has_detector(c) and c.reads == "response" and c.surface != "length"}


class Decisions:
    """What the concepts decide of texts, each text once."""

    def __init__(self, definitions: dict[str, Concept]) -> None:
        self.definitions = definitions
        self._known: dict[str, np.ndarray] = {}

    def of(self, pairs: Sequence[Pair]) -> np.ndarray:
        """(concepts, 2 n) bool: chosen responses, then rejected ones."""
        texts = [plain_text(side) for side in (*(p.chosen for p in pairs), *(p.rejected for p in pairs))]
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        table = np.array([present(concept, new) for concept in self.definitions.values()])
        self._known.update(zip(new, table.T, strict=True))
        return np.array([self._known[text] for text in texts]).T


def compared(rows: Sequence[Row], name: str, definitions: dict[str, Concept]) -> Iterator[str]:
    """A row of the table for each form but the first."""
    decided = Decisions(definitions)
    base = decided.of(read(rows, "messages", name).pairs)
    for form in list(FORMS)[1:]:
        got = read(rows, form, name)
        differs = decided.of(got.pairs) != base
        sides = differs.any(0).reshape(2, -1)
        most = differs.sum(1).max()
        said = ", ".join(sorted(set(got.codes))) or "-"
        yield f"| {name} | {len(rows)} | {form} | {sides.any(0).sum()} | {differs.sum()} | {most} | {said} |"


def shared_sets() -> list[Path]:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TILTC_SHARED_DATA", beside)) / "preferences"
    return sorted(folder.glob("*.parquet")) if folder.is_dir() else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="of each set, the first so many")
    parser.add_argument("--set", help="one set alone, by its name")
    args = parser.parse_args()
    files = [file for file in shared_sets() if args.set in (None, file.stem)]
    if not files:
        print("skipped: the shared preference sets are not there; set TILTC_SHARED_DATA")
        return 0
    definitions = std_of_responses()
    print(f"{len(definitions)} std concepts about responses\n")
    print("| set | rows | form | rows that differ | decisions that differ | of one concept, at most | said |")
    print("| --- | ---: | --- | ---: | ---: | ---: | --- |")
    for file in files:
        rows = scan_data(file).first(args.rows).rows
        for line in compared(rows, file.stem, definitions):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
