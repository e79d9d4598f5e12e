"""Levels, shifts, verdicts and the test of the forecast, against planted truth and few-line re-implementations."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tiltc.plan import Interval
from tiltc_runtime.agreement import better_forecast, forecast_test, noise_ceiling, permutation_p
from tiltc_runtime.outcome import Paired, Resampler, Shifts, Wanted, judge, rates, shifts, spans_zero, wilson
from tiltc_runtime.report.model import Verb

PROMPTS, SAMPLES = 100, 2
PROMPT = np.tile(np.arange(PROMPTS), SAMPLES)
RESAMPLER = Resampler.of(PROMPT, seed=0)
SUPPRESS = Wanted("suppress", share=0.0, tolerance=0.05, direction=1)
KEEP = Wanted("keep", share=1.0, tolerance=0.1, direction=1)
AMPLIFY = Wanted("amplify", share=2.0, tolerance=0.05, direction=1)


def planted(start: float, plain: float | None, tilted: float, *, seed: int = 0) -> Paired:
    """Rollouts that show a concept at exactly these rates, paired by one number each."""
    luck = np.random.default_rng(seed).permutation(np.linspace(0, 1, len(PROMPT), endpoint=False))
    sides = [(luck < rate).astype(float) if rate is not None else None for rate in (start, tilted, plain)]
    assert sides[0] is not None
    assert sides[1] is not None
    return Paired(sides[0], sides[1], sides[2])


@settings(deadline=None)
@given(n=st.integers(1, 400), share=st.floats(0, 1))
def test_wilson_is_the_interval_that_scipy_computes(n: int, share: float) -> None:
    """A rate's interval is Wilson's score interval."""
    successes = round(share * n)
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    found = wilson(successes, n)
    assert found.value == successes / n
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_rates_count_the_rollouts_that_show_the_concept() -> None:
    """The level of a detector is the share of ones under each policy."""
    levels = rates(planted(0.10, 0.45, 0.20))
    assert levels.plain is not None
    assert (levels.start.value, levels.plain.value, levels.tilted.value) == (0.10, 0.45, 0.20)


def beside(start: float, plain: float | None, control: float, tilted: float) -> Shifts:
    """Shifts of rollouts at these rates, whose luck is not shared between policies."""
    sides = [(start, 1), (tilted, 2), (plain, 3), (control, 4)]
    luck = [
        np.random.default_rng(seed).permutation(np.linspace(0, 1, len(PROMPT), endpoint=False)) for _, seed in sides
    ]
    made = [None if rate is None else (u < rate).astype(float) for (rate, _), u in zip(sides, luck, strict=True)]
    assert made[0] is not None
    assert made[1] is not None
    return shifts(Paired(made[0], made[1], made[2], made[3]), RESAMPLER)


def test_a_control_is_held_against_both_ends() -> None:
    """What any sentence does, what the instruction does beyond, and the share: as a few lines compute them."""
    found = beside(0.1, 0.6, 0.4, 0.2)
    assert found.control is not None
    assert found.beside is not None
    assert found.beside.by_itself is not None
    assert found.beside.share is not None
    assert found.control.value == pytest.approx(0.4)
    assert found.beside.shift.value == pytest.approx(0.3)
    assert found.beside.by_itself.value == pytest.approx(-0.2)
    assert found.beside.beyond.value == pytest.approx(-0.2)
    assert found.beside.share.value == pytest.approx(0.5)
    # a bootstrap of its own: other draws of prompts, so equal to a few hundredths only
    rng = np.random.default_rng(9)
    luck = {p: np.random.default_rng(s).permutation(np.linspace(0, 1, len(PROMPT), endpoint=False))
            for p, s in (("tilted", 2), ("plain", 3), ("control", 4))}  # fmt: skip
    said = {p: (luck[p] < rate).reshape(SAMPLES, PROMPTS).mean(0) for p, rate in
            (("tilted", 0.2), ("plain", 0.6), ("control", 0.4))}  # fmt: skip
    drawn = rng.integers(0, PROMPTS, (4000, PROMPTS))
    mean = {p: values[drawn].mean(1) for p, values in said.items()}
    share = (mean["control"] - mean["plain"]) / (mean["tilted"] - mean["plain"])
    assert (found.beside.share.low, found.beside.share.high) == pytest.approx(
        np.percentile(share, [2.5, 97.5]), abs=0.04
    )
    low, high = np.percentile(mean["tilted"] - mean["control"], [2.5, 97.5])
    assert (found.beside.beyond.low, found.beside.beyond.high) == pytest.approx((low, high), abs=0.02)


def test_a_control_changes_no_other_figure() -> None:
    """Start, plain, tilted and all that is made of them are what they are without a control run."""
    values = planted(0.1, 0.45, 0.2)
    without, beside_ = shifts(values, RESAMPLER), shifts(replace(values, control=values.plain), RESAMPLER)
    for field in fields(Shifts):
        if field.name not in ("control", "beside"):
            one, other = getattr(without, field.name), getattr(beside_, field.name)
            assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, field.name
    assert (without.control, without.beside) == (None, None)


def test_the_share_of_no_effect_is_not_defined() -> None:
    """Without a baseline there is no effect to have a share of; with one, not where it may be zero."""
    alone, none = beside(0.1, None, 0.4, 0.2), beside(0.1, 0.4, 0.2, 0.41)
    assert alone.beside is not None
    assert none.beside is not None
    assert (alone.beside.by_itself, alone.beside.share) == (None, None)
    assert alone.beside.beyond.value == pytest.approx(-0.2)
    assert none.beside.by_itself is not None
    assert none.beside.share is None


def test_bootstrap_means_resample_whole_prompts() -> None:
    """A resample's mean is that of the drawn prompts' rollouts, each as often as its prompt was drawn."""
    values = np.random.default_rng(1).normal(size=len(PROMPT))
    used = np.random.default_rng(2).uniform(size=len(PROMPT)) < 0.3
    found = RESAMPLER.means(values, used)
    for k in (0, 7, 999):
        drawn = [
            v for v, u, p in zip(values, used, PROMPT, strict=True) for _ in range(int(RESAMPLER.draws[k, p])) if u
        ]
        assert found[k] == pytest.approx(np.mean(drawn))


def test_samples_of_one_prompt_widen_the_interval() -> None:
    """Ten copies of every rollout tell nothing new, and the interval knows it."""
    once = np.random.default_rng(3).normal(size=60)
    alone = shifts(Paired(np.zeros(60), once), Resampler.of(np.arange(60), 0))
    copied = shifts(Paired(np.zeros(600), np.tile(once, 10)), Resampler.of(np.tile(np.arange(60), 10), 0))
    assert copied.shift_tilted.high == pytest.approx(alone.shift_tilted.high)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Over 200 made-up experiments with prompt effects, 95% intervals hold the true shift 90 to 99 times in 100."""
    prompt = np.repeat(np.arange(50), 3)
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        moved = 0.3 + rng.normal(size=50)[prompt] + rng.normal(size=150)
        found = shifts(Paired(np.zeros(150), moved), Resampler.of(prompt, seed, 400)).shift_tilted
        held += found.low <= 0.3 <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_equal_policies_do_not_differ() -> None:
    """Rollouts are paired: a tilted policy that answers as the plain one has a difference of exactly zero, known as well as
    rollouts on so many prompts can say it: of a rate no better than to what none of n leaves open."""
    values = planted(0.1, 0.4, 0.4)
    assert shifts(values, RESAMPLER).difference == Interval(value=0.0, low=0.0, high=0.0)
    open_ = stats.binomtest(0, PROMPTS).proportion_ci(0.95, method="wilson").high
    found = shifts(values, RESAMPLER, rate=True).difference
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.0, -open_, open_))


@pytest.mark.parametrize("verb", ["keep", "suppress"])
def test_what_never_occurs_is_not_measurable(verb: Verb) -> None:
    """0 of n before, after and between says nothing of a signal, whether it is to be kept or suppressed."""
    found = shifts(planted(0.0, 0.0, 0.0), RESAMPLER, rate=True)
    assert judge(Wanted(verb, 1.0, 0.1, 1), found).verdict == "not measurable"


def test_what_occurs_once_is_measured() -> None:
    """One rollout of one policy that shows it is enough for a `keep` to be judged; so is one that always occurs."""
    once = planted(0.0, 1 / len(PROMPT), 0.0)
    assert judge(KEEP, shifts(once, RESAMPLER, rate=True)).verdict == "kept within noise"
    always = shifts(planted(1.0, 1.0, 1.0), RESAMPLER, rate=True)
    assert judge(KEEP, always).verdict == "kept within noise"


ENDS = st.sampled_from([0.0, 1.0, 0.5])


@settings(deadline=None, max_examples=60)
@given(start=ENDS, plain=ENDS, tilted=ENDS, control=ENDS, prompts=st.integers(1, 40))
def test_no_interval_of_a_rate_is_without_width(
    start: float, plain: float, tilted: float, control: float, prompts: int
) -> None:
    """Whatever agrees with whatever, every interval of a level, difference or share has a width, holds its value, and stays
    within what a rate can be; verdicts are found all the same."""
    at = np.arange(prompts)
    sides = [(at < round(rate * prompts)).astype(float) for rate in (start, tilted, plain, control)]
    found = shifts(Paired(*sides), Resampler.of(at, 0, 200), rate=True)
    beside_ = found.beside
    assert beside_ is not None
    levels = (found.start, found.tilted, found.plain, found.control)
    made = (found.shift_tilted, found.shift_plain, found.difference, beside_.shift, beside_.by_itself, beside_.beyond)
    for least, every in ((0.0, levels), (-1.0, made), (-np.inf, (found.recovery, beside_.share))):
        for interval in every:
            if interval is not None:
                assert least <= interval.low < interval.high
                assert interval.low <= interval.value <= interval.high
                assert least == -np.inf or interval.high <= 1.0
    for wanted in (SUPPRESS, KEEP, AMPLIFY):
        assert judge(wanted, found).verdict


def test_recovery_is_the_share_undone() -> None:
    """From 10% by way of 50% back to 20% is three quarters undone, give or take."""
    recovery = shifts(planted(0.10, 0.50, 0.20), RESAMPLER).recovery
    assert recovery is not None
    assert recovery.value == pytest.approx(0.75)
    assert 0.5 < recovery.low < 0.75 < recovery.high < 1.0


def test_recovery_is_not_defined_within_noise() -> None:
    """When plain training can't be told from the start there is nothing to divide by."""
    rng = np.random.default_rng(5)
    start, plain, tilted = (rng.uniform(size=(3, len(PROMPT))) < 0.2).astype(float)
    assert shifts(Paired(start, tilted, plain), RESAMPLER).recovery is None


@pytest.mark.parametrize(
    ("wanted", "start", "plain", "tilted", "verdict"),
    [
        (SUPPRESS, 0.10, 0.50, 0.10, "suppressed"),
        (SUPPRESS, 0.10, 0.50, 0.12, "suppressed"),
        (SUPPRESS, 0.10, 0.50, 0.30, "partly suppressed"),
        (SUPPRESS, 0.20, 0.50, 0.02, "overshot"),
        (SUPPRESS, 0.10, 0.50, 0.50, "no effect"),
        (SUPPRESS, 0.10, 0.30, 0.50, "wrong direction"),
        (SUPPRESS, 0.10, 0.10, 0.10, "not measurable"),
        (SUPPRESS, 0.50, 0.10, 0.50, "suppressed"),
        (SUPPRESS, 0.50, 0.30, 0.10, "wrong direction"),
        (KEEP, 0.10, 0.50, 0.51, "kept"),
        (KEEP, 0.10, 0.50, 0.20, "moved"),
        (AMPLIFY, 0.10, 0.30, 0.50, "amplified"),
        (AMPLIFY, 0.10, 0.30, 0.36, "partly amplified"),
        (AMPLIFY, 0.10, 0.30, 0.80, "overshot"),
        (AMPLIFY, 0.10, 0.30, 0.30, "no effect"),
        (AMPLIFY, 0.10, 0.30, 0.10, "wrong direction"),
        (SUPPRESS, 0.10, None, 0.10, "not measurable"),
        (SUPPRESS, 0.10, None, 0.40, "still taught"),
        (SUPPRESS, 0.40, None, 0.10, "overshot"),
        (KEEP, 0.10, None, 0.10, "not measurable"),
        (AMPLIFY, 0.10, None, 0.40, "amplified"),
        (AMPLIFY, 0.10, None, 0.10, "no effect"),
        (AMPLIFY, 0.40, None, 0.10, "wrong direction"),
    ],
)
def test_verdicts(wanted: Wanted, start: float, plain: float | None, tilted: float, verdict: str) -> None:
    """Planted rates get the verdict that a person would give them."""
    assert judge(wanted, shifts(planted(start, plain, tilted), RESAMPLER)).verdict == verdict


def test_a_wide_interval_is_kept_within_noise_only() -> None:
    """A keep that the rollouts can't prove is not called kept."""
    rng = np.random.default_rng(1)
    start, plain, tilted = (rng.uniform(size=(3, len(PROMPT))) < np.array([[0.1], [0.5], [0.5]])).astype(float)
    assert judge(KEEP, shifts(Paired(start, tilted, plain), RESAMPLER)).verdict == "kept within noise"


def test_a_gate_leaves_other_rollouts_out() -> None:
    """Only rollouts whose prompt expresses the gate decide the levels."""
    values = planted(0.0, 0.0, 0.0)
    gate = PROMPT < 10
    tilted = np.where(gate, 1.0, 0.0)
    found = shifts(Paired(values.start, tilted, values.plain), RESAMPLER, gate)
    assert found.tilted.value == 1.0
    assert found.shift_tilted.low == 1.0


def measured(values: np.ndarray, half: float = 0.05) -> tuple[Interval, ...]:
    return tuple(Interval(value=v, low=v - half, high=v + half) for v in values.tolist())


def test_agreement_numbers_are_those_of_the_textbook() -> None:
    """R², slope, Spearman and sign agreement equal NumPy's and SciPy's."""
    rng = np.random.default_rng(0)
    forecast = rng.normal(size=40)
    realised = 0.4 * forecast + rng.normal(scale=0.3, size=40)
    found = forecast_test("simulated", "tilted", forecast, measured(realised), None, seed=0)
    assert found is not None
    assert found.r2.value == pytest.approx(np.corrcoef(forecast, realised)[0, 1] ** 2)
    assert found.slope == pytest.approx(np.linalg.lstsq(forecast[:, None], realised, rcond=None)[0][0])
    assert found.spearman == pytest.approx(stats.spearmanr(forecast, realised)[0])
    assert found.sign_agreement.value == pytest.approx(np.mean(np.sign(forecast) == np.sign(realised)))
    residual = realised - found.slope * forecast
    assert found.r2_origin == pytest.approx(1 - (residual @ residual) / (realised @ realised))
    assert found.r2.low < found.r2.value < found.r2.high


def test_signs_are_also_counted_over_clear_shifts_alone() -> None:
    """A shift whose interval holds zero has no sign to agree with."""
    forecast = np.array([1.0, 1.0, 1.0, -1.0, 0.5])
    realised = measured(np.array([0.5, 0.4, -0.01, 0.02, 0.3]))
    found = forecast_test("simulated", "tilted", forecast, realised, None, seed=0)
    assert found is not None
    assert found.sign_agreement_measured is not None
    assert found.sign_agreement.value == pytest.approx(3 / 5)
    assert found.sign_agreement_measured.value == 1.0


def test_a_constant_forecast_is_no_test() -> None:
    """With nothing to tell apart there is no correlation to report."""
    assert forecast_test("first_step", "tilted", np.ones(9), measured(np.arange(9.0)), None, seed=0) is None


def test_permutation_p_is_small_for_truth_and_uniform_for_noise() -> None:
    """A real forecast beats every shuffle; unrelated ones give p below one half about half of the time."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=30)
    assert permutation_p(truth, truth + 0.1 * rng.normal(size=30), seed=0) == pytest.approx(1 / 1001)
    assert permutation_p(truth, -truth, seed=0) > 0.99
    noise = [permutation_p(rng.normal(size=30), rng.normal(size=30), seed=0, permutations=200) for _ in range(200)]
    assert 0.4 < np.mean(np.array(noise) < 0.5) < 0.6
    assert np.mean(np.array(noise) < 0.05) < 0.10


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3])
def test_noise_ceiling_is_the_planted_reliability(spread: float) -> None:
    """With true shifts of variance t² and rollout noise s²/n the ceiling is t² / (t² + s²/n)."""
    rng = np.random.default_rng(4)
    items, prompts = 300, 120
    differences = spread * rng.normal(size=items) + rng.normal(size=(prompts, items))
    found = noise_ceiling(differences, np.arange(prompts), seed=0)
    assert found is not None
    assert found.value == pytest.approx(spread**2 / (spread**2 + 1 / prompts), abs=0.12)
    assert found.low <= found.value <= found.high


def test_noise_ceiling_bounds_a_perfect_forecast() -> None:
    """The true shifts as a forecast reach an R² near the ceiling."""
    rng = np.random.default_rng(7)
    truth = 0.15 * rng.normal(size=200)
    differences = truth + rng.normal(size=(150, 200))
    ceiling = noise_ceiling(differences, np.arange(150), seed=0)
    assert ceiling is not None
    assert ceiling.value == pytest.approx(np.corrcoef(truth, differences.mean(0))[0, 1] ** 2, abs=0.1)


def test_closed_gates_do_not_spoil_the_ceiling() -> None:
    """Items that are NaN on some rollouts are averaged over the others."""
    rng = np.random.default_rng(7)
    differences = 0.5 * rng.normal(size=50) + rng.normal(size=(150, 50))
    differences[40:, 0] = np.nan
    found = noise_ceiling(differences, np.arange(150), seed=0)
    assert found is not None
    assert found.value > 0.9


def test_the_better_forecast_wins_only_when_it_is_clear() -> None:
    """A precise forecast beats a vague one; two equally good ones stay undecided."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60)
    vague, other, precise = (truth + scale * rng.normal(size=60) for scale in (2.0, 2.0, 0.2))
    assert better_forecast(vague, precise, truth, 0).forecast == "simulated"
    assert better_forecast(precise, vague, truth, 0).forecast == "first_step"
    assert better_forecast(vague, other, truth, 0).forecast == "undecided"
    assert not spans_zero(better_forecast(vague, precise, truth, 0).difference)
