"""What a concept's own detector says of a plan beside its readout: the forecast's second column, and T409."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from tests.compiler.synthetic import PLANTS, SyntheticEvidence, evidence
from tests.compiler.test_compile import codes, compiled, row
from tests.compiler.test_tokens import compiled as compiled_with_tokens
from tests.compiler.test_tokens import with_tokens
from tiltc.defined import _solved_for, check_defined
from tiltc.detectors import PatternTimeout
from tiltc.diagnostics import Diagnostics
from tiltc.plan import Plan
from tiltc.resolve import masking
from tiltc.show import show
from tiltc.spec import Concept

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


def test_what_masks_leave_of_a_text_of_unknown_offsets_is_not_known(tmp_path: Path, clean: SyntheticEvidence) -> None:
    """All tokens of the concept are masked; the detector, which would still find it in the text, is not asked."""
    data = with_tokens(clean)
    at = int(np.flatnonzero(present(data, "chosen"))[0])
    starts = data.table.column("chosen_starts").to_pylist()
    starts[at] = []
    index = data.table.schema.get_field_index("chosen_starts")
    table = data.table.set_column(index, "chosen_starts", pa.array(starts, pa.list_(pa.int32())))
    signals = f"  - suppress: {NAME}\n    with: tokens\n    within: 20%\n"
    result, found = compiled_with_tokens(tmp_path, signals, replace(data, table=table))
    assert result is not None, codes(found)
    assert row(result.plan, NAME).defined is None
    assert "T409" not in codes(found)


def test_a_pattern_that_is_slow_on_what_is_left_is_refused(
    tmp_path: Path, clean: SyntheticEvidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T208, as for a text of the data: the masks make texts on which no pattern was tried."""
    tried = masking.detector_readout

    def slow(concept: Concept, texts: Sequence[str]) -> np.ndarray:
        if any(SENTENCE in text for text in texts):
            return tried(concept, texts)
        raise PatternTimeout("(a+)+", 2)

    monkeypatch.setattr(masking, "detector_readout", slow)
    signals = f"  - suppress: {NAME}\n    with: tokens\n    within: 20%\n"
    result, found = compiled_with_tokens(tmp_path, signals, with_tokens(clean))
    assert result is None
    assert codes(found) == ["T208"]


def test_advice_is_what_the_mechanism_can_follow(tmp_path: Path, noise: SyntheticEvidence) -> None:
    """A mask needs tokens, which a detector does not see: there the advice names a mechanism that it can carry out."""
    for mechanism, advice in (("reward", "`readout: detector`"), ("tokens", "`readout: detector` and `with: reward`")):
        ask = SimpleNamespace(with_=mechanism, form=None)
        assert _solved_for(SimpleNamespace(ask=ask)).endswith(advice)  # type: ignore[arg-type]


def test_an_amplified_signal_is_judged_by_where_it_goes() -> None:
    """A tenth of the target, not of today: the same distance that is told of at 1x is nothing at 3x."""
    for times, told in ((1.0, True), (3.0, False)):
        found = Diagnostics()
        check_defined(*fabricated(times, apart=0.2), found)
        assert ("T409" in codes(found)) is told


def fabricated(times: float, apart: float) -> Any:
    """A solved spec that takes a signal to `times` by its readout, which leans to chosen in all pairs, and to `times - apart`
    by its detector, which finds the concept in every other pair."""
    n = 400
    gap, other = np.ones(n), np.arange(n) % 2
    signal = SimpleNamespace(index=0, verb="amplify", label="x", gap=gap, today=1.0, ask=SimpleNamespace())
    resolved = SimpleNamespace(
        pairs=SimpleNamespace(cluster=np.arange(n)),
        gap_masked=lambda s: s.gap,
        defined=lambda s: (1.0 * other, 1.0 * other),
    )
    solved = SimpleNamespace(
        bands=[SimpleNamespace(signal=signal, target=times)], forward={}, masked=np.zeros(n, bool),
        factor=times + apart * (1 - 2 * other), checked=SimpleNamespace(resolved=resolved),
    )  # fmt: skip
    return SimpleNamespace(at=lambda route: None), solved
