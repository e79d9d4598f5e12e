"""Fitting groups to labels: planted features are found, rivals are seen, baselines are measured where they weren't fitted."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import minimize

from tiltc.fit import Labelled, grow, measure_vector, resolve_group, screen, vector
from tiltc.groups import discover, group_score, make_group


def planted(split: bool, seed: int = 0, n: int = 400) -> Labelled:
    """Feature 2 and 5 each fire on half of the positives (`split`), or both on all; 30 others are noise."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2 == 0
    dense = rng.exponential(1, (n, 32)) * (rng.random((n, 32)) < 0.2)
    first = label & (rng.random(n) < 0.5) if split else label
    second = label & ~first if split else label
    dense[:, 2], dense[:, 5] = 3.0 * first, 2.0 * second
    residuals = rng.normal(size=(n, 8)) + 2 * np.outer(label, np.eye(8)[0])
    return Labelled(sparse.csc_matrix(dense), residuals, label, np.arange(n) // 2 % 2 == 0)


def test_a_split_concept_needs_both_features() -> None:
    """Where each feature covers half of the positives the group takes both, and detects nearly all held-out ones."""
    texts = planted(split=True)
    found = resolve_group(texts, texts.activations)
    assert found is not None
    assert {2, 5} <= {m.feature for m in found.group.members}
    assert next(d for d in found.detection if d.tool == "sae").auroc.value > 0.98


def test_one_sufficient_feature_stays_alone_or_with_its_twin() -> None:
    """No noise feature joins a group that is already perfect."""
    texts = planted(split=False)
    grown = grow(texts, frozenset())
    assert grown is not None
    assert set(grown[0].tolist()) <= {2, 5}


def test_avoided_features_are_not_used() -> None:
    """`avoid` is obeyed by the screen itself."""
    texts = planted(split=True)
    assert not {2, 5} & set(screen(texts.activations, texts.label, frozenset({2, 5})).tolist())


def test_noise_resolves_to_nothing_or_to_chance() -> None:
    """Labels that have nothing to do with the activations: held-out AUROC is near one half."""
    rng = np.random.default_rng(1)
    dense = rng.exponential(1, (400, 32)) * (rng.random((400, 32)) < 0.2)
    texts = Labelled(
        sparse.csc_matrix(dense), rng.normal(size=(400, 8)), rng.random(400) < 0.5, np.arange(400) % 2 == 0
    )
    found = resolve_group(texts, texts.activations)
    if found is not None:
        assert all(d.auroc.low < 0.6 for d in found.detection)


def test_an_unrelated_second_reading_is_seen() -> None:
    """Two features that each detect the concept, with independent strengths among the positives, are rivals."""
    rng = np.random.default_rng(2)
    texts = planted(split=False)
    dense = np.asarray(texts.activations.todense())
    dense[:, 2] = texts.label * rng.uniform(1, 3, 400)
    dense[:, 5] = texts.label * rng.uniform(1, 3, 400)
    found = resolve_group(
        Labelled(sparse.csc_matrix(dense), texts.residuals, texts.label, texts.half), sparse.csc_matrix(dense)
    )
    assert found is not None
    assert found.rival is not None
    assert not {m.feature for m in found.rival.members} & {m.feature for m in found.group.members}
    assert found.rival_auroc > 0.97


def test_score_is_the_published_formula() -> None:
    """(sum of weight * min(max / scale, 1) - mean) / sd, computed by hand."""
    texts = planted(split=True)
    group = make_group(np.array([2, 5]), np.array([0.25, 0.75]), texts.activations)
    dense = np.asarray(texts.activations.todense())
    raw = sum(m.weight * np.minimum(dense[:, m.feature] / m.scale, 1) for m in group.members)
    np.testing.assert_allclose(group_score(group, texts.activations), (raw - group.mean) / group.sd)
    assert abs(group_score(group, texts.activations).mean()) < 1e-5


def test_discovery_puts_features_that_fire_together_in_one_group() -> None:
    """Two blocks of three features each that co-fire come out as two groups of three."""
    rng = np.random.default_rng(3)
    a, b = (rng.random(500) < 0.4 for _ in range(2))
    noise = (rng.random((500, 70)) < 0.3).astype(float)
    blocks = [np.outer(x, np.ones(3)) * (rng.random((500, 3)) < 0.97) for x in (a, b)]
    groups = discover(sparse.csc_matrix(np.hstack([*blocks, noise])))
    members = [{m.feature for m in g.group.members} for g in groups]
    assert {0, 1, 2} in members
    assert {3, 4, 5} in members


def test_discovery_of_silence_is_empty() -> None:
    """Without features that fire there is no group."""
    assert discover(sparse.csc_matrix((50, 10))) == ()


def unbalanced(seed: int, n: int = 300) -> Labelled:
    """One text in six shows the concept, along the first of 8 axes, half hidden in noise."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 6 == 0
    residuals = rng.normal(size=(n, 8)) * [1, 2, 3, 4, 5, 6, 7, 8] + np.outer(label, 2 * np.eye(8)[0])
    return Labelled(sparse.csc_matrix((n, 1)), residuals, label, np.arange(n) % 4 < 2)


def test_the_pairwise_probe_has_the_least_bradley_terry_loss() -> None:
    """Against a direct fit over pairs made as the paper says: shuffled pools, the shorter one cycled."""
    texts = unbalanced(0)
    x, label = texts.residuals[texts.half], texts.label[texts.half]
    z = (x - x.mean(0)) / (x.std(0) + 1e-6)
    rng = np.random.default_rng(0)
    shows, lacks = rng.permutation(np.flatnonzero(label)), rng.permutation(np.flatnonzero(~label))
    pairs = [(shows[i % len(shows)], lacks[i]) for i in range(len(lacks))]

    def loss(w: np.ndarray) -> float:
        margins = np.array([(z[p] - z[n]) @ w for p, n in pairs])
        return float(np.log1p(np.exp(-margins)).mean() + 0.005 * (w**2).sum())

    expected = minimize(loss, np.zeros(8), method="BFGS", options={"gtol": 1e-8}).x
    found = vector(texts, "probe-pairwise") * (x.std(0) + 1e-6)
    assert loss(found) <= loss(expected) + 1e-6
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(vector(texts, "probe-pairwise"), vector(texts, "probe-pairwise"))


def test_linear_tools_find_a_planted_direction() -> None:
    """Both probes point where the concept was planted, also where it is rare, and detect it on the other half."""
    texts = unbalanced(1, 1200)
    for tool in ("direction", "probe", "probe-pairwise"):
        values = vector(texts, tool)
        found = measure_vector(texts, tool, values)
        assert found.tool == tool
        assert found.auroc.value > (0.55 if tool == "direction" else 0.85)
        if tool != "direction":
            assert values[0] > 0.9 * np.linalg.norm(values)
