"""From a hypothesis to a plan: clusters of an audit as concepts and as gates of a spec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.compiler.audited import TOPICS, InMemory, behaviour_features, planted
from tiltc.audit.clusters import audit_clusters
from tiltc.derived import Derived
from tiltc.diagnostics import Diagnostics
from tiltc.parse import parse
from tiltc.pipeline import compile_spec
from tiltc.plan import Plan

RATES = {(t, "list"): (0.6, 0.2) for t in TOPICS}


def compiled(evidence: InMemory, text: str, folder: Path) -> tuple[Plan | None, Diagnostics, Any]:
    file = folder / "spec.yaml"
    file.write_text(f"tiltc: 1\nname: from-audit\n{text}", encoding="utf-8")
    spec_file, found = parse(file)
    assert spec_file is not None, list(found)
    made, more = compile_spec(spec_file, evidence)  # type: ignore[arg-type]
    return (made[0] if made else None), more, (made[1] if made else None)


def cluster_of(features: set[int], evidence: InMemory, prefix: str = "g") -> str:
    """The cluster with the largest overlap."""
    clusters = audit_clusters(evidence, Derived(None), prefix).features  # type: ignore[arg-type]
    kept = {key: group for key, group in clusters.items() if key.startswith(prefix)}
    return max(kept, key=lambda key: len(features & set(kept[key])) / len(features | set(kept[key])))


def test_a_cluster_is_a_concept(tmp_path: Path) -> None:
    """`audit: g-...` is read through the cluster's features, which the plan pins, and a plan brings it down."""
    evidence = planted(600, RATES)
    key = cluster_of(behaviour_features("list"), evidence)
    text = f"concepts: {{lists: {{about: Lists., audit: {key}}}}}\nsignals: [{{suppress: lists, with: reward}}]\n"
    plan, found, _ = compiled(evidence, text, tmp_path)
    assert plan is not None, list(found)
    concept = next(c for c in plan.concepts if c.name == "lists")
    assert concept.group is not None
    assert {m.feature for m in concept.group.members} == set(
        audit_clusters(evidence, Derived(None), "g").features[key]  # type: ignore[arg-type]
    )
    row = next(r for r in plan.forecast if r.name == "lists")
    assert row.plain.value > 0.2
    assert abs(row.tilted.value) < 0.06 * row.plain.value


def test_a_prompt_cluster_is_a_gate(tmp_path: Path) -> None:
    """`when:` a `p-` cluster opens on the prompts of its topic, and the offsets touch those rows alone."""
    evidence = planted(600, {("bread", "list"): (0.7, 0.2)})
    topic = set(range(16))
    gate, key = cluster_of(topic, evidence, "p"), cluster_of(behaviour_features("list"), evidence)
    text = f"""concepts:
  bread: {{about: Asks about bread., audit: {gate}, reads: prompt}}
  lists: {{about: Lists., audit: {key}}}
signals: [{{suppress: lists, with: reward, when: bread}}]
"""
    plan, found, rows = compiled(evidence, text, tmp_path)
    assert plan is not None, list(found)
    touched = np.asarray(rows.column("margin_offset")) != 0
    about = evidence.truth["topic"] == TOPICS.index("bread")
    assert touched.sum() > 20
    assert about[touched].mean() > 0.95


def test_a_cluster_of_other_evidence_is_refused(tmp_path: Path) -> None:
    """An id that this evidence does not give is an error, in a signal and in a gate, and nothing similar is taken."""
    text = """concepts:
  lists: {about: Lists., audit: g-000000000000}
  bread: {about: Bread., audit: p-000000000000, reads: prompt}
signals: [{suppress: lists}, {suppress: std.style.bold, when: bread, readout: detector}]
"""
    plan, found, _ = compiled(planted(200, RATES), text, tmp_path)
    assert plan is None
    assert [d.code for d in found] == ["T212", "T212"]
    assert "g-000000000000" in found.found[0].primary.text
