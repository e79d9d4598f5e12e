"""Statistics against few-line definitions and known truths."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiltc.audit.families import against_zero
from tiltc.stats import (
    auroc,
    benjamini_hochberg,
    bootstrap_means,
    clusters,
    halves,
    length_controlled_effect,
    mean_effect,
    score_z,
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999), n=st.integers(4, 40), ties=st.booleans())
def test_auroc_is_the_share_of_ordered_pairs(seed: int, n: int, ties: bool) -> None:
    """Against counting every (positive, negative) pair, ties as one half."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, n).astype(float) if ties else rng.normal(size=n)
    labels = np.arange(n) % 2 == 0
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels] for b in scores[~labels]]
    area = auroc(scores, labels)
    assert area.value == pytest.approx(np.mean(pairs))
    assert 0 <= area.low <= area.value <= area.high <= 1


def test_auroc_interval_covers() -> None:
    """The 95% interval covers the true area in 90-99% of 300 samples."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        labels = np.arange(120) < 60
        area = auroc(rng.normal(size=120) + labels, labels)
        hits += area.low <= 0.7602 <= area.high
    assert 0.90 <= hits / 300 <= 0.99


def test_auroc_needs_both_classes() -> None:
    """One class is an error, not 0.5."""
    with pytest.raises(ValueError, match="both classes"):
        auroc(np.ones(3), np.ones(3, dtype=bool))


def test_singleton_clusters_give_the_ordinary_standard_error() -> None:
    """With one row a cluster the sandwich is the textbook standard error of a mean."""
    values = np.random.default_rng(1).normal(size=50)
    effect = mean_effect(values, np.arange(50))
    assert effect.se == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_repeated_rows_add_no_certainty() -> None:
    """Each row copied four times within its cluster: the interval stays as wide as it was."""
    values = np.random.default_rng(2).normal(size=80)
    once = mean_effect(values, np.arange(80))
    copied = mean_effect(np.repeat(values, 4), np.repeat(np.arange(80), 4))
    assert copied.se == pytest.approx(once.se, rel=0.02)


def test_length_control_removes_what_length_explains() -> None:
    """A gap that is nothing but length has a raw effect and none at equal length."""
    rng = np.random.default_rng(3)
    length = rng.normal(size=800) + 1
    gap = 0.5 * length + 0.1 * rng.normal(size=800)
    rows = np.arange(800)
    assert mean_effect(gap, rows).interval.low > 0.3
    controlled = length_controlled_effect(gap, length, rows).interval
    assert controlled.low < 0 < controlled.high or abs(controlled.value) < 0.02


def test_no_length_variation_is_no_control() -> None:
    """If all gaps in length are equal the controlled effect is the plain mean."""
    gap = np.random.default_rng(4).normal(size=60)
    assert length_controlled_effect(gap, np.zeros(60), np.arange(60)).interval.value == pytest.approx(gap.mean())


def test_q_is_benjamini_hochbergs() -> None:
    """Against p * m / rank, made monotone from the top."""
    p = np.random.default_rng(5).random(30) ** 2
    order = np.argsort(p)
    raw = p[order] * 30 / np.arange(1, 31)
    expected = np.empty(30)
    expected[order] = np.minimum.accumulate(raw[::-1])[::-1]
    np.testing.assert_allclose(benjamini_hochberg(p), np.minimum(expected, 1))
    assert len(benjamini_hochberg(np.array([]))) == 0


def test_bootstrap_interval_matches_the_normal_one() -> None:
    """For a plain mean the percentile interval agrees with mean +- 1.96 se to 15% of its width."""
    values = np.random.default_rng(6).normal(size=(400, 1))
    low, high = bootstrap_means(values, np.arange(400), seed=1)
    effect = mean_effect(values[:, 0], np.arange(400)).interval
    assert low[0] == pytest.approx(effect.low, abs=0.15 * (effect.high - effect.low))
    assert high[0] == pytest.approx(effect.high, abs=0.15 * (effect.high - effect.low))


def test_rows_of_one_prompt_stay_in_one_half() -> None:
    """The split is by the prompt's hash, so equal prompts never straddle it, and both halves get some."""
    groups = np.array([f"{(i // 3) * 2654435761 % 2**32:08x}" for i in range(300)])
    half = halves(groups)
    assert all(len(set(half[groups == g])) == 1 for g in groups)
    assert 0.3 < half.mean() < 0.7
    assert clusters(groups).max() == 99


def test_the_test_of_a_mean_is_a_score_test() -> None:
    """p is from the clusters' sums over the root of their squares: variance about zero, as label exchange has it."""
    rng = np.random.default_rng(8)
    values, cluster = rng.normal(size=90) + 0.1, np.repeat(np.arange(30), 3)
    sums = values.reshape(30, 3).sum(1)
    z = abs(sums.sum()) / np.sqrt((sums**2).sum())
    assert mean_effect(values, cluster).p == pytest.approx(2 * (1 - NormalDist().cdf(z)))
    assert mean_effect(np.zeros(5), np.arange(5)).p == 1
    assert mean_effect(np.ones(5), np.zeros(5, dtype=np.int64)).p > 0.3, "one prompt is no evidence"


def test_rare_rows_that_agree_by_chance_are_not_certain() -> None:
    """Five rows of one sign among a thousand that are zero: two flips in 32, whatever their spread."""
    values = np.zeros(1000)
    values[:5] = [1.0, 1.01, 0.99, 1.0, 1.0]
    assert mean_effect(values, np.arange(1000)).p > 0.02


def test_the_test_of_a_mean_equals_the_audits() -> None:
    """One test of a whole data set, in compile and in audit."""
    rng = np.random.default_rng(9)
    values, cluster = rng.normal(size=(60, 4)), rng.integers(0, 20, 60)
    cluster = np.unique(cluster, return_inverse=True)[1]
    found = against_zero(values.astype(np.float32), cluster).score[0]
    np.testing.assert_allclose([score_z(v, cluster) for v in values.T], found, rtol=1e-5)
