"""Does an audit find what was planted, and nothing where nothing is?

    tiltc harvest SPEC                        # data: builtin:planted-contexts, or builtin:planted
    python -m benchmarks.audit_truth EVIDENCE --truth builtin:planted-contexts --shuffles 100

For every planted (context, behaviour): its place among the hypotheses of each view, in the order in which the page shows
them. A hypothesis counts as the planted one when most rows of its context are of the planted context, its response cluster
detects the planted behaviour (AUROC of activity of at least 0.75 over both responses), and it leans the planted way. Then the same
tests with labels exchanged at random: the share of runs with any at q < 0.05. Prints canonical JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tiltc.audit.assemble import strongest
from tiltc.audit.concepts import concept_gaps, concept_p
from tiltc.audit.families import Family, feature_families, prompt_families
from tiltc.audit.feature_view import feature_view
from tiltc.audit.noise import swap
from tiltc.audit.prompt_view import prompt_view
from tiltc.audit.rows import Rows, blocks, grouped, membership, read_rows
from tiltc.audit.scale import scaled
from tiltc.canonical import canonical_json
from tiltc.derived import Derived
from tiltc.evidence import open_evidence
from tiltc.parse.standard import standard_library
from tiltc.stats import auroc, benjamini_hochberg

MOSTLY, DETECTS = 0.5, 0.75


def activity(evidence: Any, rows: Rows, groups: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Per side, (n, m) share of each group's features that fire."""
    member = membership(groups, evidence.manifest.sae.features)
    out = {side: np.zeros((rows.n, len(groups)), np.float32) for side in ("chosen", "rejected")}
    for block in blocks(evidence, rows):
        for side in out:
            fired = block.matrix(side, "count")
            fired.data = (fired.data > 0).astype(np.float32)
            out[side][block.to] = grouped(fired, member) / [len(g) for g in groups]
    return out


def place(
    family: Family, order: tuple[np.ndarray, np.ndarray], inside: np.ndarray, detects: np.ndarray, sign: float
) -> dict[str, Any] | None:
    """Rank from 1, delta and q-like figures of the first hypothesis that is the planted one."""
    rank = 0
    for k, m in zip(*order, strict=True):
        if not family.passes[k, m]:
            continue
        rank += 1
        rows = family.rows[family.contexts.member[int(k)].indices]
        delta = float(family.result.delta[k, m])
        if (
            detects[family.response[m]] >= DETECTS
            and np.sign(delta) == sign
            and (family.whole or inside[rows].mean() > MOSTLY)
        ):
            return {"rank": rank, "delta": round(delta, 4), "score_z": round(float(family.result.score[k, m]), 2)}
    return None


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("evidence", type=Path)
    flags.add_argument("--truth", default="builtin:planted-contexts", help="the built-in data (default: %(default)s)")
    flags.add_argument("--shuffles", type=int, default=100)
    args = flags.parse_args()
    evidence, found = open_evidence(args.evidence)
    if evidence is None:
        print(*(d.primary.text for d in found), sep="\n", file=sys.stderr)
        return 1
    rows = read_rows(evidence)
    scale = scaled(rows.n)
    views: dict[str, Any] = {
        "feature": feature_view(evidence, rows, scale),
        "prompt": prompt_view(evidence, rows, scale),
    }
    families = [*feature_families(views["feature"], rows, scale), *prompt_families(views["prompt"], rows, scale)]
    gaps = concept_gaps(evidence, rows, standard_library(), Derived(None))
    order = [strongest(f, scale.reported) for f in families]
    result = {"rows": rows.n, "planted": planted(args.truth, evidence, rows, views, families, order)}
    q = benjamini_hochberg(np.concatenate([*(f.result.p.ravel() for f in families), concept_p(gaps)]))
    result["tests"], result["found"] = len(q), int((q < 0.05).sum())
    chance = swap(families, (gaps.gap, gaps.cluster), rows, gaps.sample, order, args.shuffles, 1)
    result["shuffles"], result["shuffles_with_any"] = args.shuffles, float((chance.any > 0).mean())
    print(canonical_json(result), end="")
    return 0


def planted(
    name: str, evidence: Any, rows: Rows, views: dict[str, Any], families: list[Family], order: list[Any]
) -> list[dict[str, Any]]:
    folder = resources.files("tiltc_runtime") / "builtin"
    stem = name.removeprefix("builtin:")
    table = pq.read_table(str(folder / f"{stem}.parquet"))
    truth = json.loads((folder / f"{stem}.truth.json").read_text(encoding="utf-8"))
    context = np.array(table.column("context").to_pylist())[rows.origin] if "context" in table.column_names else None
    groups = {"feature": views["feature"].groups, "prompt": views["prompt"].responses}
    active = {view: activity(evidence, rows, g) for view, g in groups.items()}
    out: list[dict[str, Any]] = []
    for where, concept, chosen, rejected in combinations(truth):
        if chosen == rejected:
            continue
        shown = np.concatenate([np.array(table.column(f"{s}_{concept}"))[rows.origin] for s in ("chosen", "rejected")])
        inside = np.ones(rows.n, bool) if where is None else context == where
        entry: dict[str, Any] = {"context": where, "concept": concept, "chosen": chosen, "rejected": rejected}
        for family, ranked in zip(families, order, strict=True):
            if family.whole != (where is None):
                continue
            both = np.concatenate([active[family.view]["chosen"], active[family.view]["rejected"]])
            detects = np.array([auroc(column.astype(float), shown).value for column in both.T])
            entry[family.view] = place(family, ranked, inside, detects, float(np.sign(chosen - rejected)))
        out.append(entry)
    return out


def combinations(truth: dict[str, Any]) -> list[tuple[str | None, str, float, float]]:
    """(context or None, concept, planted rate in chosen, in rejected)"""
    if "contexts" not in truth:
        return [(None, c, r["chosen"]["planted"], r["rejected"]["planted"]) for c, r in truth.items()]
    return [
        (where, concept, sides["chosen"]["planted"], sides["rejected"]["planted"])
        for where, concepts in truth["contexts"].items()
        for concept, sides in concepts.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
