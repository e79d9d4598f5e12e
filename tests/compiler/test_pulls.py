"""Steer and inoculate: offsets from likelihoods, the policy's own forward pass, and the solver behind both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiler.synthetic import SyntheticEvidence, evidence, spec_text
from tiltc.compare import compare, show
from tiltc.derived import Derived
from tiltc.parse import parse
from tiltc.pipeline import compile_spec
from tiltc.resolve.pulls import likelihood_requests
from tiltc.solve import REWARD, Problem, tilt, tilt_along

RATES = {"std.style.bold": (0.5, 0.2), "std.style.emoji": (0.45, 0.2)}
BETA = 0.1


@pytest.fixture(scope="module")
def data() -> SyntheticEvidence:
    return evidence(600, RATES, seed=5)


def nats(data: SyntheticEvidence, text: str, seed: int = 0) -> np.ndarray:
    """(n, 2) what the model is told makes texts likelier that hold `text`, give or take."""
    rng = np.random.default_rng(seed)
    has = np.array([[text in t for t in data.table.column(side).to_pylist()] for side in ("chosen", "rejected")]).T
    return 6.0 * has + rng.normal(0, 1.5, has.shape)


def compiled(tmp_path: Path, signals: str, data: SyntheticEvidence, extra: str = "") -> tuple[Any, Any]:
    """As harvest and compile do it; every request gets the likelihoods of a text with bold in it."""
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text(signals, extra))
    spec_file, found = parse(path)
    assert spec_file is not None, [d.primary.text for d in found]
    keys = likelihood_requests(spec_file, data, Derived(None))  # type: ignore[arg-type]
    scored = {key: nats(data, "**", i) * (np.sign(getattr(r, "size", 1.0))) for i, (key, r) in enumerate(keys.items())}
    return compile_spec(spec_file, replace(data, likelihoods=scored))  # type: ignore[arg-type]


def forecast(result: Any, name: str) -> Any:
    return next(r for r in result.plan.forecast if r.name == name)


@pytest.mark.parametrize("mechanism", ["steer", "inoculate"])
def test_the_residual_form_meets_the_spec(tmp_path: Path, data: SyntheticEvidence, mechanism: str) -> None:
    """The concept's own signal goes to its target by offsets that are multiples of the likelihood differences."""
    text = f"  - suppress: std.style.bold\n    with: {mechanism}\n  - keep: std.style.emoji\n"
    result, found = compiled(tmp_path, text, data)
    assert result is not None, [d.primary.text for d in found]
    bold, emoji = forecast(result, "std.style.bold"), forecast(result, "std.style.emoji")
    assert abs(bold.tilted.value) <= 0.0501 * bold.plain.value
    assert abs(emoji.tilted.value - emoji.plain.value) <= 0.101 * emoji.plain.value
    action = next(a for a in result.plan.actions if a.concept == "std.style.bold")
    assert action.mechanism == mechanism
    assert action.strength > 0
    only, _ = compiled(tmp_path, f"  - suppress: std.style.bold\n    with: {mechanism}\n", data)
    offset = np.asarray(only.rows.column("margin_offset"))
    seeds = 3 if mechanism == "inoculate" else 1
    mean = np.mean([nats(data, "**", i) for i in range(seeds)], axis=0)
    gap = (mean[:, 0] - mean[:, 1]) / mean.std()
    np.testing.assert_allclose(offset, only.plan.actions[0].strength * gap, rtol=1e-6)
    assert not only.plan.prompts
    assert not only.plan.steering


def test_steering_forward(tmp_path: Path, data: SyntheticEvidence) -> None:
    """The policy is steered on the chosen side of the pairs with the largest gaps, and the forecast counts beta times
    what that adds to their likelihood."""
    text = "  - suppress: std.style.bold\n    with: steer\n    form: forward\n    fraction: 20%\n    size: 2\n"
    result, found = compiled(tmp_path, text, data)
    assert result is not None, [d.primary.text for d in found]
    steered = [bool(r) for r in result.rows.column("chosen_steered").to_pylist()]
    assert sum(steered) == round(0.2 * len(data.ok))
    (steering,) = result.plan.steering
    assert (steering.concept, steering.layer, steering.size) == ("std.style.bold", 0, 2.0)
    assert result.tools[steering.key].shape == (16,)
    chosen = np.array(["**" in t for t in data.table.column("chosen").to_pylist()])
    assert chosen[steered].mean() > 0.95
    assert (np.asarray(result.rows.column("margin_offset")) == 0).all()
    bold = forecast(result, "std.style.bold")
    implied = BETA * np.where(steered, nats(data, "**")[:, 0], 0.0)
    assert bold.tilted.value < bold.plain.value
    factor = 2 / (1 + np.exp(implied))
    kish = factor.sum() ** 2 / (len(factor) * (factor**2).sum())
    assert result.plan.spend.effective_sample == pytest.approx(kish, rel=1e-6)


def test_amplifying_steers_away(tmp_path: Path, data: SyntheticEvidence) -> None:
    """Steered against the concept, the policy has to learn it all the more."""
    text = "  - amplify: std.style.bold\n    with: steer\n    form: forward\n    to: 1.1x\n    within: 50%\n"
    result, found = compiled(tmp_path, text, data)
    assert result is not None, [d.primary.text for d in found]
    assert result.plan.steering[0].size == -1.0
    bold = forecast(result, "std.style.bold")
    assert bold.tilted.value > bold.plain.value


@pytest.mark.parametrize(
    ("signal", "size"),
    [("suppress: std.style.bold", 1.0), ("amplify: std.style.bold\n    to: 1.1x\n    within: 50%", -1.0)],
    ids=["suppress", "amplify"],
)
def test_steering_on_the_rejected_side(tmp_path: Path, data: SyntheticEvidence, signal: str, size: float) -> None:
    """The pairs with the smallest gaps, whose rejected responses hold the concept; -beta times what steering adds to these
    is the offset, and the signal moves the way it was asked to."""
    text = f"  - {signal}\n    with: steer\n    form: forward\n    fraction: 10%\n    side: rejected\n"
    result, found = compiled(tmp_path, text, data)
    assert result is not None, [d.primary.text for d in found]
    steered = np.array([bool(r) for r in result.rows.column("rejected_steered").to_pylist()])
    assert not any(result.rows.column("chosen_steered").to_pylist())
    assert steered.sum() == round(0.1 * len(data.ok))
    rejected = np.array(["**" in t for t in data.table.column("rejected").to_pylist()])
    assert rejected[steered].all()
    assert result.plan.steering[0].size == size
    bold = forecast(result, "std.style.bold")
    assert (bold.tilted.value > bold.plain.value) == (size < 0)
    implied = np.where(steered, -BETA * size * nats(data, "**")[:, 1], 0.0)
    factor = 2 / (1 + np.exp(implied))
    kish = factor.sum() ** 2 / (len(factor) * (factor**2).sum())
    assert result.plan.spend.effective_sample == pytest.approx(kish, rel=1e-6)


def test_inoculation_forward(tmp_path: Path, data: SyntheticEvidence) -> None:
    """Every pair that leans to the concept has one of the instructions; the others read what they read before."""
    result, found = compiled(tmp_path, "  - suppress: std.style.bold\n    with: inoculate\n    form: forward\n", data)
    assert result is not None, [d.primary.text for d in found]
    given_ = np.asarray(result.rows.column("chosen_prompt"))
    leaning = np.array(
        [
            ("**" in a) > ("**" in b)
            for a, b in zip(*(data.table.column(s).to_pylist() for s in ("chosen", "rejected")), strict=True)
        ]
    )
    assert len(result.plan.prompts) == 3
    assert set(given_) == {-1, 0, 1, 2}
    assert (given_[leaning] >= 0).mean() > 0.9
    assert "T407" in {d.code for d in found}, "what the forward form leaves is told"


def test_pairs_without_a_likelihood_are_left_alone(tmp_path: Path, data: SyntheticEvidence) -> None:
    """A prompt that no longer fits has no score, and then no offset."""
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text("  - suppress: std.style.bold\n    with: inoculate\n"))
    spec_file, _ = parse(path)
    assert spec_file is not None
    scores = nats(data, "**")
    scores[:50] = np.nan
    keys = likelihood_requests(spec_file, data, Derived(None))  # type: ignore[arg-type]
    result, _ = compile_spec(spec_file, replace(data, likelihoods=dict.fromkeys(keys, scores)))  # type: ignore[arg-type]
    assert result is not None
    offset = np.asarray(result.rows.column("margin_offset"))
    assert (offset[:50] == 0).all()
    assert (offset[50:] != 0).all()


def test_a_forward_form_is_not_solved_again(tmp_path: Path, data: SyntheticEvidence) -> None:
    """It has no strength: a reward term for another signal leaves it where the spec puts it."""
    text = "  - suppress: std.style.bold\n    with: steer\n    form: forward\n  - suppress: std.style.emoji\n    with: reward\n"
    result, found = compiled(tmp_path, text, data)
    assert result is not None, [d.primary.text for d in found]
    done = {(a.mechanism, a.concept) for a in result.plan.actions}
    assert done == {("steer", "std.style.bold"), ("reward", "std.style.emoji")}


def test_a_response_is_read_under_one_instruction(tmp_path: Path, data: SyntheticEvidence) -> None:
    """Two inoculations that want the same pair: the first has it, and no figure counts the second."""
    text = "".join(f"  - suppress: {c}\n    with: inoculate\n    form: forward\n" for c in RATES)
    result, _ = compiled(tmp_path, text, data)
    assert result is not None
    given_ = np.asarray(result.rows.column("chosen_prompt"))
    touched = [a.rows_touched for a in result.plan.actions]
    assert touched == [int(((given_ >= 0) & (given_ < 3)).sum()), int((given_ >= 3).sum())]


def test_what_has_no_likelihood_is_not_instructed(tmp_path: Path, data: SyntheticEvidence) -> None:
    """A prompt that does not fit with its instruction would stop the whole run."""
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text("  - suppress: std.style.bold\n    with: inoculate\n    form: forward\n"))
    spec_file, _ = parse(path)
    assert spec_file is not None
    scores = nats(data, "**")
    scores[:100] = np.nan
    keys = likelihood_requests(spec_file, data, Derived(None))  # type: ignore[arg-type]
    result, _ = compile_spec(spec_file, replace(data, likelihoods=dict.fromkeys(keys, scores)))  # type: ignore[arg-type]
    assert result is not None
    given_ = np.asarray(result.rows.column("chosen_prompt"))
    assert (given_[:100] == -1).all()
    assert (given_[100:] >= 0).any()


def test_a_normalised_loss_counts_nats_a_token(tmp_path: Path, data: SyntheticEvidence) -> None:
    """Under sigmoid_norm the margin is divided by the length, and so is what a forward form amounts to."""
    text = "  - suppress: std.style.bold\n    with: inoculate\n    form: forward\n"
    summed, _ = compiled(tmp_path, text, data)
    normed, _ = compiled(tmp_path, text, data, "train: {loss: sigmoid_norm}\n")
    assert summed is not None
    assert normed is not None
    moved = [
        abs(r.plain.value - r.tilted.value)
        for r in (forecast(summed, "std.style.bold"), forecast(normed, "std.style.bold"))
    ]
    assert moved[1] < 0.3 * moved[0]


def test_a_basis_that_opposes_its_gap(tmp_path: Path) -> None:
    """The same offsets with a negative strength; a basis that has nothing to do with a gap is no traceback."""
    made, other = problem(3)
    along, against = tilt_along(made, made.gaps * 2.0), tilt_along(made, made.gaps * -2.0)
    assert against.feasible == along.feasible
    np.testing.assert_allclose(against.strength, -along.strength, rtol=1e-6)
    assert not tilt_along(made, np.zeros_like(other)).feasible


def test_likelihoods_that_were_not_harvested_are_a_finding(tmp_path: Path, data: SyntheticEvidence) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text("  - suppress: std.style.bold\n    with: steer\n"))
    spec_file, _ = parse(path)
    assert spec_file is not None
    _, found = compile_spec(spec_file, data)  # type: ignore[arg-type]
    assert [d.code for d in found] == ["T213"]


def problem(seed: int, n: int = 200, c: int = 3) -> tuple[Problem, np.ndarray]:
    rng = np.random.default_rng(seed)
    gaps = rng.normal(rng.uniform(-0.5, 0.5, c), 1, (n, c)) @ (np.eye(c) + 0.3 * rng.random((c, c)))
    today = gaps.mean(0)
    target = today * rng.choice([0.0, 0.5, 1.0], c)
    return Problem(gaps, np.ones(n), target, 0.05 * np.abs(today) + 0.01), rng.normal(size=(n, c))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99999))
def test_along_the_gaps_it_is_the_tilt(seed: int) -> None:
    """The equations, made to run on a basis that is the gaps but for a scale, give the convex problem's offsets where
    the same constraints are tight."""
    made, _ = problem(seed)
    convex, along = tilt(made, REWARD), tilt_along(made, made.gaps * 2.0)
    assert along.feasible == convex.feasible
    if convex.feasible and ((convex.strength != 0) == (along.strength != 0)).all():
        np.testing.assert_allclose(2 * along.strength, convex.strength, rtol=1e-4, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99999), noise=st.floats(0, 1.5))
def test_along_another_basis_the_constraints_hold(seed: int, noise: float) -> None:
    """What is called feasible meets every constraint by offsets in the span of the basis."""
    made, other = problem(seed)
    basis = made.gaps + noise * other
    found = tilt_along(made, basis)
    if found.feasible:
        offset = basis @ found.strength
        reached = made.gaps.T @ (2 / (1 + np.exp(offset))) / len(offset)
        assert (np.abs(reached - made.target) <= made.tolerance + 1e-6 * made.scale).all()
    else:
        assert found.certificate
    if noise < 0.5:
        assert found.feasible == tilt(made, REWARD).feasible


def test_every_mechanism_side_by_side(tmp_path: Path, data: SyntheticEvidence) -> None:
    """A comparison's figures are those of the plans themselves; what can't be compiled says by which code."""
    path = tmp_path / "spec.yaml"
    rest = "  - keep: std.style.emoji\n  - amplify: std.stance.flattery\n    to: 0.05 sd\n"
    path.write_text(spec_text("  - suppress: std.style.bold\n" + rest))
    spec_file, _ = parse(path)
    assert spec_file is not None
    both = evidence(600, RATES | {"std.stance.flattery": (0.4, 0.3)}, seed=6)
    suppressed, amplified = compare(spec_file, both)  # type: ignore[arg-type]
    by_name = {(c.mechanism, c.form): c for c in suppressed.candidates}
    assert len(by_name) == 8
    assert [c.mechanism for c in suppressed.candidates if c.chosen] == ["reward"]
    assert by_name["tokens", None].refused == ("T213",), "what a second pass has not read"
    assert by_name["filter", None].refused == ("T402",)
    assert {c.mechanism for c in amplified.candidates} == {"reweight", "reward", "steer", "inoculate"}
    path.write_text(spec_text("  - suppress: std.style.bold\n    with: reweight\n" + rest))
    direct_file, _ = parse(path)
    assert direct_file is not None
    direct, _ = compile_spec(direct_file, both)  # type: ignore[arg-type]
    assert direct is not None
    bold = direct.plan.forecast[0]
    mine = by_name["reweight", None]
    assert (mine.first_step, mine.simulated) == (bold.tilted, bold.simulated_tilted)
    assert mine.effective_sample == direct.plan.spend.effective_sample
    left = [abs(s.first_step.value) for s in suppressed.frontier if s.first_step]
    strengths = [s.strength or 0.0 for s in suppressed.frontier]
    assert len(left) == 4
    assert left == sorted(left, reverse=True), "further along the way less is left"
    assert strengths == sorted(strengths), "and it takes more"
    assert suppressed.frontier[-1].first_step == suppressed.candidates[3].first_step
    page = show((suppressed, amplified))
    assert "reward*" in page
    assert "refused: T213" in page
