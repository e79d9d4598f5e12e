"""What a concept has beyond others: the regression, and what a signal with `apart_from` does to a planted family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.synthetic import SyntheticEvidence, evidence, spec_text
from tests.compiler.test_compile import codes, row
from tiltc.derived import Derived
from tiltc.diagnostics import Diagnostics
from tiltc.forecast import SEED
from tiltc.lower import Compiled
from tiltc.parse import parse
from tiltc.pipeline import compile_spec
from tiltc.plan import Plan
from tiltc.planfile import read_plan, write_plan
from tiltc.residual import residual
from tiltc.resolve import resolve
from tiltc.show import show
from tiltc.stats import RESAMPLES

#: bold and emoji are two kinds of decoration, and an apology is of another family
FAMILY = """concepts:
  decoration: {about: Bold type or an emoji., pattern: '\\*\\*key\\*\\*|🎉'}
  stars: {about: Bold type., pattern: '\\*\\*key\\*\\*', parents: [decoration]}
  party: {about: An emoji., pattern: '🎉', parents: [decoration]}
"""
CACHE: list[Path] = []
RATES = {"std.style.bold": (0.5, 0.2), "std.style.emoji": (0.35, 0.2), "std.stance.apology": (0.1, 0.3)}


def gaps(seed: int, n: int = 80, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A gap that is partly that of others, and theirs."""
    rng = np.random.default_rng(seed)
    others = rng.normal(0.3, 1, (n, k)) @ rng.normal(size=(k, k))
    return others @ rng.normal(size=k) + rng.normal(0.2, 1, n), others


@given(st.integers(0, 10_000))
def test_the_rest_is_that_of_least_squares_and_orthogonal(seed: int) -> None:
    """Coefficients are numpy's, to nine digits; of the others no more is left in the rest than the tenth digit leaves."""
    gap, others = gaps(seed)
    found = residual(gap, others)
    assert found.coefficients == pytest.approx(np.linalg.lstsq(others, gap, rcond=None)[0], rel=1e-7, abs=1e-7)
    rounding = np.abs(others).T @ np.abs(others) @ (5e-9 * np.abs(found.coefficients))
    size = np.linalg.norm(others, axis=0) * np.linalg.norm(gap)
    assert (np.abs(others.T @ found.gap) <= rounding + 1e-12 * size).all()
    assert found.explained == pytest.approx(1 - (found.gap @ found.gap) / (gap @ gap))


@given(st.integers(0, 10_000))
def test_exchanging_sides_turns_the_sign_and_nothing_else(seed: int) -> None:
    """Which response of a pair is called chosen changes no coefficient, pair by pair or all at once."""
    gap, others = gaps(seed)
    flip = np.where(np.random.default_rng(seed).random(len(gap)) < 0.5, -1.0, 1.0)
    before, after = residual(gap, others), residual(flip * gap, flip[:, None] * others)
    assert after.coefficients == pytest.approx(before.coefficients, rel=1e-6, abs=1e-9)
    assert after.gap == pytest.approx(flip * before.gap, rel=1e-6, abs=1e-9)


def test_a_twin_leaves_exactly_nothing() -> None:
    """No rounding is left over that a strength could be solved for; one thing under two names is no division by zero."""
    gap, _ = gaps(1)
    found = residual(gap, np.column_stack([0.37 * gap, 0.37 * gap]))
    assert not found.gap.any()
    assert found.explained == 1.0
    assert not residual(np.zeros(20), np.zeros((20, 2))).gap.any()


def test_the_standard_error_counts_that_the_coefficients_were_estimated() -> None:
    """Over 400 draws the spread of the mean rest is what the influence of single pairs says, not what the rest itself says."""
    means, said, naive = [], [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        other = rng.normal(1, 1, 200)
        found = residual(0.5 * other + rng.normal(0, 1, 200), other[:, None])
        means.append(found.gap.mean())
        said.append(found.influence.std() / np.sqrt(200))
        naive.append(found.gap.std() / np.sqrt(200))
        assert found.influence.mean() == pytest.approx(means[-1], abs=1e-9)
    assert np.mean(said) == pytest.approx(np.std(means), rel=0.1)
    assert np.mean(naive) > 1.2 * np.std(means)


def test_todays_interval_is_that_of_refitting_in_every_draw(tmp_path: Path) -> None:
    """Each end is where it is when the regression is done again on every bootstrap sample of prompts.

    The samples are those of the forecast, so that no luck of the draw lies between the two: what is left is the error of the
    linearisation, of order 1/n in the mean and so under 0.03 of the interval here. With the coefficients held as if they were
    known the interval is wider by more than a tenth.
    """
    asked = [f"Question number {i % 500}?" for i in range(800)]
    pairs = evidence(800, {"std.style.bold": (0.75, 0.1), "std.style.emoji": (0.6, 0.1)}, seed=3, prompts=asked)
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text("  - suppress: stars\n    apart_from: parents\n    with: reward\n", FAMILY))
    spec_file, _ = parse(path)
    assert spec_file is not None
    resolved, found = resolve(spec_file, pairs, Derived(None))  # type: ignore[arg-type]
    assert resolved is not None, codes(found)
    own = resolved.signals[0].concept.gap
    other = next(m.gap for m in resolved.library if m.plan.name == "decoration")
    cluster = resolved.pairs.cluster
    n = int(cluster.max()) + 1
    assert n == 500
    rng, refitted, held = np.random.default_rng(SEED), [], []
    b = (own @ other) / (other @ other)
    for drawn in np.concatenate([rng.integers(0, n, (100, n)) for _ in range(RESAMPLES // 100)]):
        weight = np.bincount(drawn, minlength=n)[cluster]
        again = (weight * own) @ other / ((weight * other) @ other)
        refitted.append(weight @ (own - again * other) / weight.sum())
        held.append(weight @ (own - b * other) / weight.sum())
    ends, wide = np.percentile(refitted, [2.5, 97.5]), np.percentile(held, [2.5, 97.5])
    result, found = compile_spec(spec_file, pairs)  # type: ignore[arg-type]
    assert result is not None, codes(found)
    today = result.plan.forecast[0].plain
    width = ends[1] - ends[0]
    assert [today.low, today.high] == pytest.approx(ends, abs=0.03 * width)
    assert today.high - today.low == pytest.approx(width, rel=0.03)
    assert wide[1] - wide[0] > 1.1 * width
    assert today.value == pytest.approx((own - b * other).mean(), rel=1e-5)


@pytest.fixture(scope="module")
def data() -> SyntheticEvidence:
    return evidence(1000, RATES, seed=5)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What follows from the evidence alone is worked out once."""
    CACHE.append(tmp_path_factory.mktemp("derived"))
    yield
    CACHE.clear()


def compiled(
    tmp_path: Path, signals: str, data: SyntheticEvidence, extra: str = ""
) -> tuple[Compiled | None, Diagnostics]:
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text(signals, extra))
    spec_file, found = parse(path)
    assert spec_file is not None, [d.primary.text for d in found]
    return compile_spec(spec_file, data, CACHE[0], found)  # type: ignore[arg-type]


def planned(tmp_path: Path, signals: str, data: SyntheticEvidence) -> Plan:
    result, found = compiled(tmp_path, signals, data, FAMILY)
    assert result is not None, codes(found)
    return result.plan


def moved(plan: Plan, name: str) -> float:
    whole = next(r for r in plan.forecast if r.name == name and r.apart is None)
    return abs(whole.tilted.value - whole.plain.value)


@pytest.mark.parametrize("mechanism", ["reward", "reweight", "filter"])
def test_a_child_is_told_apart_from_its_parent(tmp_path: Path, data: SyntheticEvidence, mechanism: str) -> None:
    """What the child has beyond its parent goes to nothing, and the parent stays nearer to today than without."""
    signal = f"  - suppress: stars\n    with: {mechanism}\n"
    extra = "budget: {drop: 100%, effective_sample: 0%}\n"
    alone, _ = compiled(tmp_path, signal, data, FAMILY + extra)
    told, _ = compiled(tmp_path, signal + "    apart_from: parents\n", data, FAMILY + extra)
    assert alone is not None
    assert told is not None
    first = told.plan.forecast[0]
    assert first.label == "stars apart from decoration"
    assert abs(first.tilted.value) <= first.tolerance * (1 + 1e-4)
    assert moved(told.plan, "decoration") < 0.1 * moved(alone.plan, "decoration")


def test_what_is_left_of_the_concept_is_what_its_parent_explains(tmp_path: Path, data: SyntheticEvidence) -> None:
    """The whole is the rest plus coefficient times parent, before and after; the plan shows the three."""
    plan = planned(tmp_path, "  - suppress: stars\n    with: reward\n    apart_from: parents\n", data)
    rest, whole = (r for r in plan.forecast if r.name == "stars")
    assert (rest.verb, whole.verb) == ("suppress", None)
    assert rest.apart is not None
    coefficient = rest.apart.coefficients["decoration"]
    for side in ("plain", "tilted"):
        parts = getattr(rest, side).value + coefficient * getattr(row(plan, "decoration"), side).value
        assert getattr(whole, side).value == pytest.approx(parts, rel=1e-4)


def test_a_strength_by_hand_is_along_the_rest(tmp_path: Path, data: SyntheticEvidence) -> None:
    """One concept with one strength and no `keep`: the offset moves the parent's first step by next to nothing."""
    signal = "  - suppress: stars\n    with: reward\n    strength: 0.3\n"
    alone, told = (planned(tmp_path, signal + more, data) for more in ("", "    apart_from: [decoration]\n"))
    assert moved(alone, "decoration") > 0.05
    assert moved(told, "decoration") < 0.1 * moved(alone, "decoration")


def test_holding_a_parent_raises_the_siblings(tmp_path: Path, data: SyntheticEvidence) -> None:
    """Where a parent is the sum of its children, less of one child at the same parent is more of the other. Told apart from
    its siblings, it leaves them as they are, and the page says which way each relative goes."""
    signal = "  - suppress: stars\n    with: reward\n    apart_from: "
    parents, siblings = (planned(tmp_path, signal + who + "\n", data) for who in ("parents", "siblings"))
    assert row(parents, "party").tilted.value > row(parents, "party").plain.value + 0.02
    assert moved(siblings, "party") < 0.005
    line = next(line for line in show(siblings).splitlines() if "moves along" in line)
    assert "parent decoration" in line
    assert "sibling party" in line
    assert line.index("decoration") < line.index("party"), "the furthest moved first"


def test_a_parent_goes_and_its_child_stays(tmp_path: Path, data: SyntheticEvidence) -> None:
    """By `keep`, solved jointly, and by `apart_from`: neither is refused for sharing features, and both hold the child."""
    for signals in (
        "  - suppress: decoration\n    with: reward\n    to: 40%\n  - keep: stars\n",
        "  - suppress: decoration\n    with: reward\n    apart_from: [stars]\n",
        "  - suppress: decoration\n    with: reward\n    apart_from: keeps\n  - keep: stars\n",
    ):
        result, found = compiled(tmp_path, signals, data, FAMILY)
        assert result is not None, codes(found)
        assert "T302" not in codes(found)
        assert ("T303" in codes(found)) == ("to: 40%" in signals)
        assert moved(result.plan, "stars") <= 0.1 * row(result.plan, "stars").plain.value * (1 + 1e-4)
        assert row(result.plan, "decoration").tilted.value < row(result.plan, "decoration").plain.value


def test_what_no_plan_can_meet_is_refused_by_the_solver(tmp_path: Path, data: SyntheticEvidence) -> None:
    """A parent taken to nothing while both of its children stay: the certificate names them, no rule does before it."""
    signals = "  - suppress: decoration\n    with: reward\n  - keep: stars\n  - keep: party\n"
    result, found = compiled(tmp_path, signals, data, FAMILY)
    assert result is None
    assert [d.code for d in found if d.code in ("T302", "T401")] == ["T401"]


def test_a_gate_is_regressed_on_its_own_pairs(tmp_path: Path) -> None:
    """Behind a gate the rest is orthogonal on the pairs where the gate is open, and zero elsewhere."""
    prompts = [f"Write a poem about river {i}." if i % 2 else f"What is river {i}?" for i in range(1000)]
    gate = "  poem: {about: Asks for a poem., words: [poem], reads: prompt}\n"
    signal = "  - suppress: stars\n    with: reward\n    when: poem\n    apart_from: parents\n"
    result, found = compiled(tmp_path, signal, evidence(1000, RATES, seed=6, prompts=prompts), FAMILY + gate)
    assert result is not None, codes(found)
    offsets = np.asarray(result.rows.column("margin_offset"))
    assert (offsets[0::2] == 0).all()
    assert (offsets[1::2] != 0).any()
    assert result.plan.forecast[0].label == "stars apart from decoration when poem"


def test_what_is_not_there_is_refused(tmp_path: Path, data: SyntheticEvidence) -> None:
    """A name that the data does not carry leaves nothing to be told apart from; nor do siblings of which it shows none."""
    _, found = compiled(tmp_path, "  - suppress: stars\n    apart_from: [std.style.table]\n", data, FAMILY)
    assert codes(found) == ["T201"]
    lonely = evidence(500, {"std.style.bold": (0.6, 0.3)}, seed=1)
    path = tmp_path / "siblings.yaml"
    path.write_text(spec_text("  - suppress: std.style.bold\n    apart_from: siblings\n"))
    spec_file, found = parse(path)
    assert spec_file is not None
    # not from the cache, which holds what was derived from other evidence
    result, found = compile_spec(spec_file, lonely, None, found)  # type: ignore[arg-type]
    assert result is None
    assert "T139" in codes(found)


def test_a_plan_keeps_its_labels_when_read_back(tmp_path: Path, data: SyntheticEvidence) -> None:
    """Names are put in order, as they are in the file: an action is found by its row's label before and after."""
    signals = "  - suppress: stars\n    with: reward\n    apart_from: [std.stance.apology, decoration]\n"
    result, found = compiled(tmp_path, signals, data, FAMILY)
    assert result is not None, codes(found)
    write_plan(result.plan, result.rows, tmp_path / "plan")
    loaded, _ = read_plan(tmp_path / "plan")
    assert loaded is not None
    assert loaded.plan.digest == result.plan.digest
    assert loaded.plan.actions[0].signal == f"suppress: {loaded.plan.forecast[0].label}"
    assert "apart from  decoration" in show(loaded.plan)
