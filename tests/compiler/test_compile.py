"""The compiler from spec to plan, on synthetic evidence whose truth is known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.synthetic import SyntheticEvidence, evidence, spec_text, swapped
from tiltc.parse import parse
from tiltc.pipeline import compile_spec
from tiltc.show import show

BOTH = {"std.style.bold": (0.5, 0.2), "std.style.emoji": (0.45, 0.2), "std.stance.apology": (0.1, 0.4)}


def compiled(tmp_path: Path, signals: str, data: SyntheticEvidence, extra: str = ""):
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text(signals, extra))
    spec_file, found = parse(path)
    assert spec_file is not None, [d.primary.text for d in found]
    result, more = compile_spec(spec_file, data)
    found.extend(more)
    return result, found


def codes(found) -> list[str]:
    return [d.code for d in found]


def row(plan, name: str):
    return next(r for r in plan.forecast if r.name == name)


def test_suppress_and_keep_are_met_together(tmp_path: Path) -> None:
    """The suppressed concept goes to at most 5% of its signal while the kept one stays within its tolerance."""
    result, found = compiled(
        tmp_path, "  - suppress: std.style.bold\n  - keep: std.style.emoji\n", evidence(rates=BOTH)
    )
    assert result is not None, codes(found)
    plan = result.plan
    bold, emoji = row(plan, "std.style.bold"), row(plan, "std.style.emoji")
    assert abs(bold.tilted.value) <= 0.05 * abs(bold.plain.value) * (1 + 1e-4)
    assert abs(emoji.tilted.value - emoji.plain.value) <= 0.10 * abs(emoji.plain.value) * (1 + 1e-4)


def test_planted_features_are_found(tmp_path: Path) -> None:
    """A concept resolves to exactly the features that were planted for it, with a held-out AUROC near 1."""
    result, _ = compiled(tmp_path, "  - suppress: std.style.bold\n", evidence(rates=BOTH))
    assert result is not None
    concept = next(c for c in result[0].concepts if c.name == "std.style.bold")
    assert {m.feature for m in concept.group.members} <= {3, 4}
    assert next(d for d in concept.detection if d.tool == "sae").auroc.value > 0.97
    assert {d.tool for d in concept.detection} == {"sae", "direction", "probe"}
    assert concept.preference.q < 0.05
    assert concept.preference.effect.low > 0


def test_rejected_leaning_concept_has_a_negative_effect(tmp_path: Path) -> None:
    """The sign of the preference evidence says which side carries more."""
    result, _ = compiled(tmp_path, "  - suppress: std.stance.apology\n", evidence(rates=BOTH))
    assert result is not None
    concept = next(c for c in result[0].concepts if c.name == "std.stance.apology")
    assert concept.preference.effect.high < 0


def test_offsets_explain_the_concept_away(tmp_path: Path) -> None:
    """Pairs with the suppressed concept in chosen get a positive offset, those with it in rejected a negative one."""
    data = evidence(rates={"std.style.bold": (0.5, 0.2)})
    result, _ = compiled(tmp_path, "  - suppress: std.style.bold\n    with: reward\n", data)
    assert result is not None
    offsets = np.asarray(result[1].column("margin_offset"))
    inside = [np.array(["**" in t for t in data.table.column(s).to_pylist()]) for s in ("chosen", "rejected")]
    assert offsets[inside[0] & ~inside[1]].min() > 0 > offsets[~inside[0] & inside[1]].max()


@pytest.mark.parametrize("verb", ["suppress", "amplify"])
def test_a_fixed_offset_is_the_same_for_all_pairs_that_lean_to_the_concept(tmp_path: Path, verb: str) -> None:
    """One offset, on those pairs alone, of a size that meets the target; `strength` gives the size by hand."""
    data = evidence(rates={"std.style.bold": (0.5, 0.2)})
    to = "30%" if verb == "suppress" else "1.3x"
    signals = f"  - {verb}: std.style.bold\n    with: reward\n    offset: fixed\n    to: {to}\n"
    result, found = compiled(tmp_path, signals, data)
    assert result is not None, codes(found)
    offsets = np.asarray(result[1].column("margin_offset"))
    inside = [np.array(["**" in t for t in data.table.column(s).to_pylist()]) for s in ("chosen", "rejected")]
    assert (offsets[~inside[0] & inside[1]] == 0).all()
    (size,) = set(offsets[offsets != 0].tolist())
    assert (size > 0) == (verb == "suppress")
    assert result[0].actions[0].rows_touched == (offsets != 0).sum()
    bold = row(result[0], "std.style.bold")
    assert bold.tilted.value / bold.plain.value == pytest.approx(0.3 if verb == "suppress" else 1.3, abs=0.06)
    by_hand, _ = compiled(tmp_path, f"{signals}    strength: 2\n", data)
    assert by_hand is not None
    wanted = {0.0, 2.0 if verb == "suppress" else -2.0}
    assert set(np.asarray(by_hand[1].column("margin_offset")).tolist()) == wanted


def test_amplify_reaches_its_multiple(tmp_path: Path) -> None:
    """`to: 1.5x` gives one and a half times today's first-step signal."""
    result, found = compiled(tmp_path, "  - amplify: std.style.bold\n    to: 1.5x\n", evidence(rates=BOTH))
    assert result is not None, codes(found)
    bold = row(result[0], "std.style.bold")
    assert bold.tilted.value == pytest.approx(1.5 * bold.plain.value, rel=0.06)


def test_reweight_keeps_the_mean_weight_at_one(tmp_path: Path) -> None:
    """Weights redistribute, they don't rescale the learning rate."""
    result, _ = compiled(tmp_path, "  - suppress: std.style.bold\n    with: reweight\n", evidence(rates=BOTH))
    assert result is not None
    assert np.asarray(result[1].column("weight")).mean() == pytest.approx(1.0, abs=1e-6)
    assert (np.asarray(result[1].column("margin_offset")) == 0).all()


def test_auto_filters_what_few_rows_carry(tmp_path: Path) -> None:
    """A concept in 3% of the pairs is dropped, and the plan says why."""
    result, found = compiled(
        tmp_path, "  - suppress: std.style.bold\n", evidence(1500, {"std.style.bold": (0.03, 0.0)})
    )
    assert result is not None, codes(found)
    action = result[0].actions[0]
    assert action.mechanism == "filter"
    assert "budget 5%" in action.because
    assert 0 < result[0].spend.rows - result[0].spend.kept <= 75


def test_gate_leaves_the_other_pairs_alone(tmp_path: Path) -> None:
    """Offsets appear only on pairs whose prompt opens the gate."""
    prompts = [f"Write a poem about river {i}." if i % 2 else f"What is river {i}?" for i in range(600)]
    data = evidence(600, {"std.style.bold": (0.5, 0.2)}, prompts=prompts)
    gate = "concepts:\n  poem:\n    about: asks for a poem\n    words: [poem]\n    reads: prompt\n"
    result, found = compiled(tmp_path, "  - suppress: std.style.bold\n    with: reward\n    when: poem\n", data, gate)
    assert result is not None, codes(found)
    offsets = np.asarray(result[1].column("margin_offset"))
    assert (offsets[0::2] == 0).all()
    assert (offsets[1::2] != 0).any()


GATES = """concepts:
  poem: {about: asks for a poem, words: [poem], reads: prompt}
  fact: {about: asks for a fact, words: [what], reads: prompt}
"""


def test_each_gate_is_forecast_for_itself(tmp_path: Path) -> None:
    """Two signals on one concept behind two gates have a row each, with the share of the pairs they are about; a third row
    says what happens to the concept over all pairs, which is the sum of the two."""
    prompts = [f"Write a poem about river {i}." if i % 3 else f"What is river {i}?" for i in range(900)]
    data = evidence(900, BOTH, prompts=prompts)
    signals = (
        "  - suppress: std.style.bold\n    when: poem\n    with: reward\n  - keep: std.style.bold\n    when: fact\n"
    )
    result, found = compiled(tmp_path, signals, data, GATES)
    assert result is not None, codes(found)
    poem, fact, everywhere = (r for r in result[0].forecast if r.name == "std.style.bold")
    assert [(r.verb, r.when) for r in (poem, fact, everywhere)] == [
        ("suppress", "poem"),
        ("keep", "fact"),
        (None, None),
    ]
    assert abs(poem.tilted.value) <= 0.05 * poem.plain.value * (1 + 1e-4)
    assert fact.tilted.value == pytest.approx(fact.plain.value)
    assert (poem.share, fact.share, everywhere.share) == pytest.approx((2 / 3, 1 / 3, 1.0), rel=1e-5)
    for side in ("plain", "tilted"):
        sides = [getattr(r, side).value for r in (poem, fact, everywhere)]
        assert sides[2] == pytest.approx(sides[0] + sides[1], rel=1e-4)
    page = show(result[0])
    assert "suppress std.style.bold when poem: resolved" in page
    assert "measure std.style.bold: resolved" not in page


def test_an_infinite_strength_is_no_certificate(tmp_path: Path) -> None:
    """Where the constraints hold only in the limit, no constraint is said to be needed for a violation of 0%."""
    data = evidence(400, {"std.style.bold": (0.6, 0.0)})
    _, found = compiled(tmp_path, "  - amplify: std.style.bold\n    with: reward\n    to: 2x\n    within: 0%\n", data)
    for said in (d for d in found if d.code == "T401"):
        assert not any("total violation: 0%" in note for note in said.notes)


def test_a_strength_is_judged_by_the_whole_plan(tmp_path: Path) -> None:
    """What weights settle after a filter or before offsets counts: the warning quotes the signal that the plan leaves."""
    signals = (
        "  - suppress: std.style.bold\n    with: reweight\n    strength: 0.1\n"
        "  - suppress: std.style.emoji\n    with: reward\n"
    )
    result, found = compiled(tmp_path, signals, evidence(rates=BOTH))
    assert result is not None, codes(found)
    said = next(d for d in found if d.code == "T407")
    assert f"{row(result[0], 'std.style.bold').tilted.value:+.4f}" in said.primary.text


def test_absent_signal_is_reported(tmp_path: Path) -> None:
    """Equal rates on both sides: nothing to suppress, and the plan says so before training."""
    _, found = compiled(
        tmp_path, "  - suppress: std.style.bold\n", evidence(rates={"std.style.bold": (0.3, 0.3)}, seed=3)
    )
    assert "T305" in codes(found)


def test_unknown_to_the_data_is_unresolved(tmp_path: Path) -> None:
    """A concept that occurs nowhere is an error with the reason, not a guess."""
    result, found = compiled(tmp_path, "  - suppress: std.style.table\n", evidence())
    assert result is None
    assert codes(found) == ["T201"]


def test_every_unresolved_name_is_reported(tmp_path: Path) -> None:
    """All findings of a stage come at once."""
    _, found = compiled(tmp_path, "  - suppress: std.style.table\n  - keep: std.style.code\n", evidence())
    assert codes(found) == ["T201", "T201"]


def test_contradiction_is_infeasible_with_both_names(tmp_path: Path) -> None:
    """Two names for one thing, pulled apart, are refused with their common features."""
    twin = "concepts:\n  stars:\n    about: double asterisks\n    pattern: '\\*\\*key\\*\\*'\n"
    result, found = compiled(tmp_path, "  - suppress: std.style.bold\n  - keep: stars\n", evidence(), twin)
    assert result is None
    assert {"T302", "T401"} & set(codes(found))


def test_budget_is_kept(tmp_path: Path) -> None:
    """A plan that leans on too few pairs is refused, with the budget that would allow it."""
    extra = "budget: {effective_sample: 99%}\n"
    result, found = compiled(tmp_path, "  - suppress: std.style.bold\n    with: reward\n", evidence(), extra)
    assert result is None
    assert codes(found) == ["T403"]


def test_one_sided_concept_needs_a_filter(tmp_path: Path) -> None:
    """Where no pair leans to rejected a tilt can't balance the concept."""
    extra = "budget: {effective_sample: 1%}\n"
    data = evidence(400, {"std.style.bold": (0.6, 0.0)})
    result, found = compiled(
        tmp_path, "  - suppress: std.style.bold\n    with: reweight\n    within: 0%\n", data, extra
    )
    assert result is None or result[0].spend.effective_sample < 0.9
    assert result is not None or "T404" in codes(found) or "T401" in codes(found)


def test_poor_sae_is_refused(tmp_path: Path) -> None:
    """An SAE that explains nothing of this model stops the compile."""
    result, found = compiled(tmp_path, "  - suppress: std.style.bold\n", evidence(fvu=1.4))
    assert result is None
    assert "T313" in codes(found)


def test_shuffled_labels_give_no_findings(tmp_path: Path) -> None:
    """With chosen and rejected exchanged at random, at most 2 of 12 runs call any concept a signal at q < 0.05."""
    base = evidence(400, BOTH)
    false = 0
    for seed in range(12):
        result, _ = compiled(tmp_path, "  - keep: std.style.bold\n", swapped(base, seed))
        assert result is not None
        false += any(c.preference.q < 0.05 for c in result[0].concepts if c.preference)
    assert false <= 2


def test_strength_by_hand_is_used_and_judged(tmp_path: Path) -> None:
    """A given strength enters the offsets as it is, with a warning when it misses the target."""
    signals = "  - suppress: std.style.bold\n    with: reward\n    strength: 0.1\n"
    result, found = compiled(tmp_path, signals, evidence())
    assert result is not None
    assert "T407" in codes(found)
    assert result[0].actions[0].strength == pytest.approx(0.1)


def test_allow_silences_a_warning_and_is_recorded(tmp_path: Path) -> None:
    """An allowed warning disappears from the findings and appears in the plan with its reason."""
    data = evidence(rates={"std.style.bold": (0.3, 0.3), "std.style.emoji": (0.5, 0.2)}, seed=3)
    extra = "allow:\n  - {code: T305, because: kept for the next data set}\n"
    result, found = compiled(tmp_path, "  - suppress: std.style.bold\n  - keep: std.style.emoji\n", data, extra)
    assert "T305" not in codes(found)
    assert result is not None
    assert [a.code for a in result[0].allowed] == ["T305"]


def test_no_usable_pair_is_no_crash(tmp_path: Path) -> None:
    """Evidence in which every pair is identical gives a diagnostic."""
    data = evidence(50)
    empty = SyntheticEvidence(data.manifest, data.table, np.zeros(50, dtype=bool), data.matrices, data.pooled)
    result, found = compiled(tmp_path, "  - suppress: std.style.bold\n", empty)
    assert result is None
    assert found.failed


SCRIPT = """
import sys, time; sys.path.insert(0, {root!r})
now = {day} * 86400.0
time.time, time.time_ns = (lambda: now), (lambda: int(now * 1e9))
from pathlib import Path
from tests.compiler.test_compile import BOTH, compiled
from tests.compiler.synthetic import evidence
from tiltc.planfile import write_plan
result, found = compiled(Path(sys.argv[1]), "  - suppress: std.style.bold\\n  - keep: std.style.emoji\\n", evidence(rates=BOTH))
write_plan(result.plan, result.rows, Path(sys.argv[1]) / "plan")
"""


def test_same_bytes_in_another_folder_hash_seed_and_day(tmp_path: Path) -> None:
    """Plan folders compiled in two folders, under two hash seeds and two clocks are equal byte for byte."""
    root = str(Path(__file__).parents[2])
    outputs = []
    for name, seed in (("here", "1"), ("there", "4242")):
        folder = tmp_path / name
        folder.mkdir()
        environment = os.environ | {"PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": seed, "TZ": f"UTC+{len(name)}"}
        script = SCRIPT.format(root=root, day=19000 + int(seed))
        subprocess.run([sys.executable, "-c", script, str(folder)], check=True, env=environment)
        outputs.append([(folder / "plan" / f).read_bytes() for f in ("plan.json", "rows.parquet")])
    assert outputs[0] == outputs[1]
