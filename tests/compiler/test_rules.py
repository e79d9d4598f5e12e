"""Rules that need evidence of a special kind to fire: each fires on it, and stays silent on plain evidence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from tests.compiler.synthetic import SyntheticEvidence, evidence
from tests.compiler.test_compile import codes, compiled

PLAIN = "  - suppress: std.style.bold\n    with: reward\n"


def with_column(data: SyntheticEvidence, name: str, values: list[object]) -> SyntheticEvidence:
    table = data.table
    return replace(data, table=table.set_column(table.column_names.index(name), name, pa.array(values)))


def test_plain_evidence_raises_none_of_them(tmp_path: Path) -> None:
    """The baseline of all tests below is clean."""
    result, found = compiled(tmp_path, PLAIN, evidence())
    assert result is not None
    assert codes(found) == []


def test_truncated_responses_are_reported(tmp_path: Path) -> None:
    """T311 when more than a quarter of the pairs was cut."""
    data = evidence(200)
    _, found = compiled(tmp_path, PLAIN, with_column(data, "chosen_cut", [i % 3 == 0 for i in range(200)]))
    assert "T311" in codes(found)


def test_few_gated_rows_are_reported(tmp_path: Path) -> None:
    """T306 when a gate opens for fewer than fifty pairs."""
    prompts = [f"Tell me about whale {i}" if i % 30 == 0 else f"Question {i}" for i in range(600)]
    gate = "concepts:\n  whales:\n    about: whales\n    words: [whale]\n    reads: prompt\n"
    _, found = compiled(tmp_path, PLAIN + "    when: whales\n", evidence(prompts=prompts), gate)
    assert "T306" in codes(found)


def test_poor_reconstruction_is_a_warning_below_total_failure(tmp_path: Path) -> None:
    """T314 at 60% of the variance unexplained; the plan still compiles."""
    result, found = compiled(tmp_path, PLAIN, evidence(fvu=0.6))
    assert result is not None
    assert codes(found) == ["T314"]


def test_blurred_group_is_reported_beside_the_direction(tmp_path: Path) -> None:
    """T203 when the direction reads held-out rows clearly better than the group, with both numbers."""
    data = evidence(800)
    rng = np.random.default_rng(0)
    blurred = {}
    for span, matrix in data.matrices.items():
        dense = np.asarray(matrix.todense())
        keep = rng.random(dense.shape[0]) < 0.45
        dense[:, [3, 4]] *= keep[:, None]
        blurred[span] = sparse.csr_matrix(dense)
    _, found = compiled(tmp_path, PLAIN, replace(data, matrices=blurred))
    finding = next(d for d in found if d.code == "T203")
    assert any("sae" in n for n in finding.notes)
    assert any("direction" in n for n in finding.notes)


def test_two_unrelated_readings_are_ambiguous(tmp_path: Path) -> None:
    """T202 when two features detect the concept equally well and rank the pairs differently."""
    data = evidence(800)
    rng = np.random.default_rng(1)
    matrices = {}
    for span, matrix in data.matrices.items():
        dense = np.asarray(matrix.todense())
        on = dense[:, 3] > 0
        dense[:, 3] = on * rng.uniform(0.2, 3, len(on))
        dense[:, 4] = on * rng.uniform(0.2, 3, len(on))
        matrices[span] = sparse.csr_matrix(dense)
    result, found = compiled(tmp_path, PLAIN, replace(data, matrices=matrices))
    concept = None if result is None else next(c for c in result[0].concepts if c.name == "std.style.bold")
    assert ("T202" in codes(found)) == (concept is not None and concept.status == "ambiguous")


def test_slow_pattern_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T208 when a pattern runs into its time limit on a text of the data."""
    from tiltc import detectors

    def slow(*_: object) -> None:
        raise detectors.PatternTimeout("x+", 1.0)

    monkeypatch.setattr("tiltc.resolve.world.detector_readout", slow)
    result, found = compiled(tmp_path, PLAIN, evidence(100))
    assert result is None
    assert "T208" in codes(found)


def examples(tmp_path: Path) -> str:
    rows = [{"prompt": "p", "response": f"r{i}", "label": i % 2, "pair": str(i // 2)} for i in range(60)]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return "concepts:\n  shown:\n    about: shown by examples\n    examples: set.jsonl\n"


def test_contrast_set_that_was_not_harvested_is_refused(tmp_path: Path) -> None:
    """T209 names the step that is missing."""
    result, found = compiled(tmp_path, "  - suppress: shown\n", evidence(), examples(tmp_path))
    assert result is None
    assert codes(found) == ["T209"]


def test_gate_defined_by_examples_is_refused(tmp_path: Path) -> None:
    """T207: a gate decides per prompt and needs a detector."""
    definition = examples(tmp_path) + "    reads: prompt\n"
    result, found = compiled(tmp_path, PLAIN + "    when: shown\n", evidence(), definition)
    assert result is None
    assert "T207" in codes(found)


def test_contrast_set_resolves_a_concept(tmp_path: Path) -> None:
    """A concept defined by examples gets the features that separate them, and its gaps come from the pairs."""
    data = evidence()
    rng = np.random.default_rng(2)
    label = np.arange(60) % 2
    dense = rng.exponential(0.5, (60, 64)) * (rng.random((60, 64)) < 0.1)
    dense[:, 3] = 2.5 * label
    contrast = SimpleNamespace(
        labels=label,
        table=pa.table({"pair": [str(i // 2) for i in range(60)]}),
        matrix=lambda _: sparse.csr_matrix(dense),
        residuals=lambda: rng.normal(size=(60, 16)) + np.outer(label, np.ones(16)),
    )

    class WithContrast(SyntheticEvidence):
        def contrast(self, key: str) -> object:
            return contrast

    data = WithContrast(data.manifest, data.table, data.ok, data.matrices, data.pooled)
    result, found = compiled(tmp_path, "  - suppress: shown\n    with: reward\n", data, examples(tmp_path))
    assert result is not None, codes(found)
    concept = next(c for c in result[0].concepts if c.name == "shown")
    assert [m.feature for m in concept.group.members] == [3]
    assert concept.contrast
    assert concept.preference.effect.low > 0


def test_one_sided_concept_is_named(tmp_path: Path) -> None:
    """T404 or T401: read by its detector, a concept that is only ever in chosen can't be balanced to nothing."""
    extra = "budget: {effective_sample: 0%}\n"
    signals = "  - suppress: std.style.bold\n    with: reweight\n    readout: detector\n    within: 0%\n"
    result, found = compiled(tmp_path, signals, evidence(300, {"std.style.bold": (1.0, 0.0)}), extra)
    assert result is None
    assert {"T404", "T401", "T201"} & set(codes(found))


def test_offsets_beyond_the_sigmoid_are_reported(tmp_path: Path) -> None:
    """T406 when a strength given by hand saturates many pairs."""
    signals = PLAIN + "    strength: 9\n"
    _, found = compiled(tmp_path, signals, evidence(), "budget: {effective_sample: 0%}\n")
    assert "T406" in codes(found)


def test_amplify_against_the_data_is_refused(tmp_path: Path) -> None:
    """T316: a multiple of a negative signal would teach less of what is to be amplified."""
    data = evidence(rates={"std.stance.apology": (0.1, 0.4)})
    result, found = compiled(tmp_path, "  - amplify: std.stance.apology\n", data)
    assert result is None
    assert codes(found) == ["T316"]


def test_strength_moves_a_rejected_leaning_signal_toward_zero(tmp_path: Path) -> None:
    """A strength given by hand suppresses whichever side carries the concept."""
    data = evidence(rates={"std.stance.apology": (0.1, 0.4)})
    result, _ = compiled(tmp_path, "  - suppress: std.stance.apology\n    strength: 0.2\n", data)
    assert result is not None
    row = next(r for r in result[0].forecast if r.name == "std.stance.apology")
    assert row.plain.value < row.tilted.value < 0


def test_filters_that_exceed_the_budget_together_become_reward_terms(tmp_path: Path) -> None:
    """`auto` falls back, instead of refusing what nobody asked for."""
    data = evidence(1600, {"std.style.bold": (0.04, 0.004), "std.style.emoji": (0.045, 0.004)})
    signals = "".join(f"  - suppress: std.style.{s}\n    to: 20%\n" for s in ("bold", "emoji"))
    result, found = compiled(tmp_path, signals, data)
    assert result is not None, codes(found)


def test_nothing_usable_is_said_so(tmp_path: Path) -> None:
    """T210, also where the detector is the readout."""
    data = replace(evidence(60), ok=np.zeros(60, dtype=bool))
    result, found = compiled(tmp_path, PLAIN + "    readout: detector\n", data)
    assert result is None
    assert codes(found) == ["T210"]
