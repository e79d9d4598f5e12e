"""What a concept's own detector says of a plan beside its readout: the forecast's second column, and T409."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from tests.compiler.synthetic import PLANTS, SyntheticEvidence, evidence
from tests.compiler.test_compile import codes, compiled, row
from tests.compiler.test_tokens import compiled as compiled_with_tokens
from tests.compiler.test_tokens import with_tokens
from tiltc.plan import Plan
from tiltc.show import show

NAME = "std.stance.flattery"
SENTENCE, FEATURES = PLANTS[NAME]
#: flattery is in chosen responses alone
ONE_SIDED = {NAME: (0.3, 0.0), "std.style.emoji": (0.45, 0.2)}
SUPPRESS = f"  - suppress: {NAME}\n    with: reward\n"


def noisy(base: SyntheticEvidence) -> SyntheticEvidence:
    """Flattery's features fire, at half their strength, in half of the responses without flattery as well."""
    rng = np.random.default_rng(3)
    matrices = dict(base.matrices)
    for side in ("chosen", "rejected"):
        table = matrices[side].tolil()
        without = np.array([SENTENCE not in text for text in base.table.column(side).to_pylist()])
        for feature in FEATURES:
            table[np.flatnonzero(without & (rng.random(len(without)) < 0.5)), feature] = 1.3
        matrices[side] = sparse.csr_matrix(table)
    manifest = base.manifest.model_copy(update={"digest": "9" * 64})
    return replace(base, matrices=matrices, manifest=manifest)


@pytest.fixture(scope="module")
def clean() -> SyntheticEvidence:
    return evidence(800, ONE_SIDED, seed=21)


@pytest.fixture(scope="module")
def noise(clean: SyntheticEvidence) -> SyntheticEvidence:
    return noisy(clean)


def present(data: SyntheticEvidence, side: str) -> np.ndarray:
    return np.array([SENTENCE in text for text in data.table.column(side).to_pylist()], dtype=float)


def left(plan: Plan) -> float:
    own = row(plan, NAME).defined
    assert own is not None
    return own.tilted.value / own.plain.value


def test_it_is_the_detectors_gap_under_the_plans_rows(tmp_path: Path, noise: SyntheticEvidence) -> None:
    """Both figures are means over pairs of (in chosen - in rejected), the second times 2 sigmoid(-offset)."""
    result, _ = compiled(tmp_path, SUPPRESS, noise)
    assert result is not None
    own = row(result.plan, NAME).defined
    gap = present(noise, "chosen") - present(noise, "rejected")
    offset = np.asarray(result.rows.column("margin_offset"))
    assert own.plain.value == pytest.approx(gap.mean(), rel=1e-5)
    assert own.tilted.value == pytest.approx((gap * 2 / (1 + np.exp(offset))).mean(), rel=1e-4)
    assert own.plain.low < own.plain.value < own.plain.high


def test_noise_that_meets_the_readout_is_told(tmp_path: Path, noise: SyntheticEvidence) -> None:
    """The readout's signal is met by weighing pairs without the concept; most of the concept stays, and T409 says so."""
    result, found = compiled(tmp_path, SUPPRESS, noise)
    assert result is not None
    first = row(result.plan, NAME)
    assert abs(first.tilted.value) <= first.tolerance * (1 + 1e-4)
    assert left(result.plan) > 0.2
    assert "T409" in codes(found)
    said = next(d for d in found if d.code == "T409")
    count = int(present(noise, "chosen").sum())
    assert said.notes[0] == f"the detector finds it in chosen alone in {count} pairs, in rejected alone in 0"


def test_a_readout_that_sees_what_is_defined_is_silent(tmp_path: Path, clean: SyntheticEvidence) -> None:
    """Without the noise both leave about the same, and nothing is said."""
    result, found = compiled(tmp_path, SUPPRESS, clean)
    assert result is not None
    assert left(result.plan) < 0.15
    assert "T409" not in codes(found)


def test_solving_for_the_detector_is_what_helps(tmp_path: Path, noise: SyntheticEvidence) -> None:
    """Read by its detector the concept itself goes to the target; there is no second column, it would say the same."""
    result, found = compiled(tmp_path, SUPPRESS + "    readout: detector\n", noise)
    assert result is not None, codes(found)
    gap = present(noise, "chosen") - present(noise, "rejected")
    factor = 2 / (1 + np.exp(np.asarray(result.rows.column("margin_offset"))))
    assert abs((gap * factor).mean() / gap.mean()) < 0.06
    assert row(result.plan, NAME).defined is None
    assert "T409" not in codes(found)
    assert "left  by detector" not in show(result.plan)


def test_a_given_strength_is_not_judged(tmp_path: Path, noise: SyntheticEvidence) -> None:
    """A strength by hand, too, has its second column, and T407 has what there is to say about it."""
    result, found = compiled(tmp_path, SUPPRESS + "    strength: 0.3\n", noise)
    assert result is not None
    assert row(result.plan, NAME).defined is not None
    assert "T409" not in codes(found)


def test_behind_a_gate_it_counts_the_pairs_inside(tmp_path: Path) -> None:
    """On pairs whose gate is closed the detector's gap is nothing, as the signal's is."""
    prompts = [f"{'Garden' if i % 2 else 'River'} question {i}?" for i in range(800)]
    data = noisy(evidence(800, ONE_SIDED, seed=22, prompts=prompts))
    gate = "concepts:\n  garden: {about: Asks about gardens., pattern: Garden, reads: prompt}\n"
    result, _ = compiled(tmp_path, SUPPRESS + "    when: garden\n", data, gate)
    assert result is not None
    own = next(r for r in result.plan.forecast if r.when == "garden").defined
    inside = np.arange(800) % 2 == 1
    gap = np.where(inside, present(data, "chosen") - present(data, "rejected"), 0.0)
    assert own.plain.value == pytest.approx(gap.mean(), rel=1e-5)


def test_masks_are_judged_by_what_is_left_of_the_text(tmp_path: Path, clean: SyntheticEvidence) -> None:
    """The sentence is masked word by word: nothing of it is left for the detector, and both columns say so."""
    signals = f"  - suppress: {NAME}\n    with: tokens\n    within: 20%\n"
    result, found = compiled_with_tokens(tmp_path, signals, with_tokens(clean))
    assert result is not None, codes(found)
    assert left(result.plan) < 0.1
    assert "left  by detector" in show(result.plan)
    assert "| left | by detector |" in show(result.plan, "markdown")
    assert '"remaining_defined"' in show(result.plan, "json")
