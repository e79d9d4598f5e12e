"""How far the std detectors agree with labels that others made.

    python benchmarks/std_detectors.py [--disagreements N]

Needs the shared research data, which is not part of this repository: `$TILTC_SHARED_DATA`, or `../shared/data` beside
the checkout. Labels of xstest, pyrit and the topic files are human or by construction; those of `style_pairs` and
`preferences` come from simple regular expressions, so a disagreement there is not always the detector's fault.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tiltc.detectors import present
from tiltc.spec import Concept
from tiltc.std import FAMILIES, concepts

#: label in the data -> std concept
STYLE_LABELS = {
    "bold": "style.bold", "header": "style.heading", "list": "style.list", "table": "style.table",
    "emoji": "style.emoji", "url": "style.bare-url", "code": "style.code", "em_dash": "style.em-dash",
    "horizontal_rule": "style.horizontal-rule", "exclamation": "style.exclamation",
    "ai_disclaimer": "stance.ai-disclaimer", "refusal": "safety.refusal", "warm_opener": "stance.warm-opener",
    "closing_offer": "stance.closing-offer",
}  # fmt: skip
SURFACE_COLUMNS = {
    "bold": "style.bold", "header": "style.heading", "list": "style.list", "table": "style.table",
    "emoji": "style.emoji", "url": "style.bare-url", "code": "style.code", "emdash": "style.em-dash",
    "hrule": "style.horizontal-rule", "ai_disclaimer": "stance.ai-disclaimer", "refusal": "safety.refusal",
    "warm_opener": "stance.warm-opener", "closing_offer": "stance.closing-offer",
}  # fmt: skip
LABELLED = (
    ("xstest_refusals", "refusal", "safety.refusal"),
    ("pyrit_refusals", "refusal", "safety.refusal"),
    ("ibm_refusal_openers", "refusal_opener", "safety.refusal"),
    ("harmful_requests", "harmful_request", "topic.harmful-request"),
    ("xstest_requests", "unsafe_request", "topic.harmful-request"),
    ("ibm_condition_topics", "topic/legal_opinion", "topic.legal"),
    ("ibm_condition_topics", "topic/health_consultation", "topic.medical"),
)


@dataclass(frozen=True)
class Labelled:
    source: str
    concept: str
    texts: list[str]
    labels: np.ndarray


def shared_data() -> Path | None:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TILTC_SHARED_DATA", beside))
    return folder if folder.is_dir() else None


def labelled_sets(folder: Path) -> Iterator[Labelled]:
    for file, label, concept in LABELLED:
        yield from _concept_file(folder / "concepts" / f"{file}.jsonl", {label: concept})
    yield from _concept_file(
        folder / "concepts" / "style_pairs_alpacaeval.jsonl", {f"style/{k}": v for k, v in STYLE_LABELS.items()}
    )
    yield from _preferences(folder / "preferences")


def _concept_file(path: Path, names: dict[str, str]) -> Iterator[Labelled]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for label, concept in names.items():
        mine = [row for row in rows if row["concept"] == label]
        # rows without a response are about the prompt
        texts = [row["response"] or row["prompt"] for row in mine]
        yield Labelled(path.stem, concept, texts, np.array([row["label"] == 1 for row in mine]))


def _preferences(folder: Path) -> Iterator[Labelled]:
    tables = [pq.read_table(path).to_pylist() for path in sorted(folder.glob("*.parquet"))]
    rows = [(row, side) for table in tables for row in table for side in ("chosen", "rejected")]
    texts = [row[side][-1]["content"] for row, side in rows]
    for column, concept in SURFACE_COLUMNS.items():
        labels = np.array([bool(row[f"{side}_has_{column}"]) for row, side in rows])
        yield Labelled("preferences/*", concept, texts, labels)


def line(found: np.ndarray, data: Labelled, seconds: float) -> str:
    """One row of the table. Kappa is Cohen's: agreement beyond what the two rates would give by chance."""
    labels = data.labels
    both = float((found & labels).mean())
    agree = float((found == labels).mean())
    chance = float(found.mean() * labels.mean() + (1 - found.mean()) * (1 - labels.mean()))
    kappa = (agree - chance) / (1 - chance) if chance < 1 else 1.0
    precision = both / max(float(found.mean()), 1e-12)
    recall = both / max(float(labels.mean()), 1e-12)
    return (
        f"| `std.{data.concept}` | {data.source} | {len(labels)} | {labels.mean():.3f} | {found.mean():.3f} "
        f"| {agree:.3f} | {precision:.3f} | {recall:.3f} | {kappa:.2f} | {1e6 * seconds / len(labels):.0f} |"
    )


def show_disagreements(found: np.ndarray, data: Labelled, count: int) -> None:
    for kind, which in (("missed", data.labels & ~found), ("extra", found & ~data.labels)):
        for i in np.flatnonzero(which)[:count]:
            text = data.texts[i]
            shown = text if len(text) < 400 else f"{text[:200]} [...] {text[-200:]}"
            print(f"  {kind}: {shown!r}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disagreements", type=int, default=0, metavar="N", help="print N of each kind per row")
    parser.add_argument("--only", default="", help="only concepts whose name contains this")
    args = parser.parse_args()
    folder = shared_data()
    if folder is None:
        print("skipped: no shared data; set TILTC_SHARED_DATA to its folder", file=sys.stderr)
        return 0
    library: dict[str, Concept] = {name: concept for family in FAMILIES for name, concept in concepts(family).items()}
    print("| concept | data | texts | labelled | found | agreement | precision | recall | kappa | µs a text |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for data in labelled_sets(folder):
        if args.only in data.concept:
            start = time.perf_counter()
            found = present(library[f"std.{data.concept}"], data.texts)
            print(line(found, data, time.perf_counter() - start), flush=True)
            show_disagreements(found, data, args.disagreements)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
