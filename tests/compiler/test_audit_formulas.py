"""Every formula of the audit against a direct implementation of a few lines, on small random data."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from tests.compiler.audited import planted
from tiltc.audit.embed import embed
from tiltc.audit.families import against_zero
from tiltc.audit.feature_view import heard, project
from tiltc.audit.graph import cofiring, communities
from tiltc.audit.inside import Contexts, adjusted, contrast, halves, length_controlled, partition
from tiltc.audit.intervals import bootstrap
from tiltc.audit.planned import row_weights
from tiltc.audit.prompt_view import prompt_view, retained, scores, select, take_moments
from tiltc.audit.rows import read_rows
from tiltc.audit.scale import Scale, scaled
from tiltc.audit.spherical import spherical_kmeans, unit
from tiltc.stats import adjusted_effect


def information(x: np.ndarray, y: np.ndarray) -> float:
    """Normalised mutual information of two binary vectors, summed over the four cells (paper section 4.4)."""
    total = 0.0
    for a, b in itertools.product((0, 1), (0, 1)):
        pab, pa, pb = ((x == a) & (y == b)).mean(), (x == a).mean(), (y == b).mean()
        total += pab * np.log(pab / (pa * pb)) if pab > 0 else 0.0
    entropy = [-sum(p * np.log(p) for p in (v.mean(), 1 - v.mean()) if p > 0) for v in (x, y)]
    return total / np.sqrt(entropy[0] * entropy[1])


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_edges_are_the_top_pairs_by_normalised_information(seed: int) -> None:
    """Edges are the given share of all feature pairs, those of most information among pairs that fire together more than chance."""
    rng = np.random.default_rng(seed)
    x = rng.random((40, 9)) < rng.uniform(0.2, 0.8, 9)
    x[:, 1] = x[:, 0] ^ (rng.random(40) < 0.1)
    x[0], x[1] = True, False
    edges = cofiring(sparse.csr_matrix(x.astype(np.float32)), 0.25, 64)
    pairs = {(i, j): information(x[:, i], x[:, j]) for i, j in itertools.combinations(range(9), 2)}
    positive = {
        p: w for p, w in pairs.items() if (x[:, p[0]] & x[:, p[1]]).mean() > x[:, p[0]].mean() * x[:, p[1]].mean()
    }
    expected = dict(sorted(positive.items(), key=lambda item: -item[1])[: int(np.ceil(0.25 * 36))])
    least = min(expected.values())
    found = dict(zip(zip(edges.first.tolist(), edges.second.tolist(), strict=True), edges.weight, strict=True))
    assert found.keys() == {p for p, w in positive.items() if w >= least - 1e-12}
    assert all(abs(found[p] - pairs[p]) < 1e-9 for p in found)


def test_sparse_and_dense_counting_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """How co-firing is counted does not change the edges."""
    x = sparse.random(300, 60, 0.2, "csr", np.float32, np.random.default_rng(0))
    found = []
    for gain in (0.0, 1e12):
        monkeypatch.setattr("tiltc.audit.graph.DENSE_GAIN", gain)
        edges = cofiring(x, 0.05, 64)
        order = np.lexsort((edges.second, edges.first))
        found.append((edges.first[order], edges.second[order], edges.weight[order]))
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_communities_are_the_blocks_that_fire_together() -> None:
    """Two blocks of features that fire together come out as two communities; small ones are dropped."""
    rng = np.random.default_rng(1)
    blocks = rng.random((400, 3)) < 0.3
    x = np.repeat(blocks, [20, 12, 3], axis=1) & (rng.random((400, 35)) < 0.9)
    found = communities(cofiring(sparse.csr_matrix(x.astype(np.float32)), 0.5, 64), 35, scaled(400))
    assert [g.tolist() for g in found] == [list(range(20)), list(range(20, 32))]


def test_projections_are_the_papers() -> None:
    """s sums firing shares of both sides, u is the mean signed passing of tau (paper section 4.5)."""
    evidence = planted(60)
    rows = read_rows(evidence)
    groups = [np.array([0, 3, 70]), np.array([5, 64, 65, 66])]
    s, u, _ = project(evidence, rows, groups, 0.04)
    side = {k: evidence.matrix(k, "count").toarray() / evidence.tokens[k][:, None] for k in ("chosen", "rejected")}
    for i, at in enumerate(rows.origin):
        c, r = side["chosen"][at], side["rejected"][at]
        for m, g in enumerate(groups):
            assert s[i, m] == pytest.approx(sum(c[f] + r[f] for f in g), rel=1e-5)
            assert u[i, m] == pytest.approx(sum(int(c[f] > 0.04) - int(r[f] > 0.04) for f in g) / len(g), abs=1e-6)


def test_the_silent_bucket_is_the_least_active_share() -> None:
    """Rows below the quantile of |s| are silent, and rows without any activity always."""
    s = np.diag(np.arange(20.0)).astype(np.float32)
    assert heard(s, 0.05).tolist() == [False] + [True] * 19
    assert not heard(np.zeros((4, 3), np.float32), 0.05).any()


def welch(inside: np.ndarray, outside: np.ndarray) -> tuple[float, float, float]:
    """delta, z and d of paper section 4.9."""
    delta = inside.mean() - outside.mean()
    a, b = inside.var(ddof=1), outside.var(ddof=1)
    pooled = ((len(inside) - 1) * a + (len(outside) - 1) * b) / (len(inside) + len(outside) - 2)
    return delta, delta / np.sqrt(a / len(inside) + b / len(outside)), delta / np.sqrt(pooled)


def score(y: np.ndarray, inside: np.ndarray, cluster: np.ndarray) -> float:
    """The cluster-robust score z, prompt by prompt."""
    centre = y[~inside].mean()
    total = 0.0
    for side in (inside, ~inside):
        sums = [(y - centre)[side & (cluster == g)].sum() for g in np.unique(cluster)]
        total += sum(v**2 for v in sums) / side.sum() ** 2
    return (y[inside].mean() - centre) / np.sqrt(total)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_inside_against_outside(seed: int, repeated: bool) -> None:
    """delta, Welch z, pooled d and the score z equal their definitions, with repeated prompts and without."""
    rng = np.random.default_rng(seed)
    n = 40
    y = rng.normal(size=(n, 3)).astype(np.float32) * (rng.random((n, 3)) < 0.6)
    cluster = rng.integers(0, 12, n) if repeated else np.arange(n)
    cluster = np.unique(cluster, return_inverse=True)[1]
    member = rng.random((4, n)) < 0.4
    member[:, :3], member[:, 3:6] = True, False
    found = contrast(y, Contexts(sparse.csr_matrix(member.astype(float)), cluster))
    for k, m in itertools.product(range(4), range(3)):
        values = y[:, m].astype(float)
        expected = welch(values[member[k]], values[~member[k]])
        assert np.allclose((found.delta[k, m], found.z[k, m], found.d[k, m]), expected, rtol=1e-4, atol=1e-6)
        assert found.score[k, m] == pytest.approx(score(values, member[k], cluster), rel=1e-4, abs=1e-6)


def test_a_context_without_variance_is_no_discovery() -> None:
    """Where nothing varies, z and score are 0 and p is 1; agreement of a few rows is not certainty."""
    contexts = partition(np.array([0] * 5 + [-1] * 45), np.arange(50), 1)
    assert contrast(np.zeros((50, 1), np.float32), contexts).p[0, 0] == 1.0
    y = np.zeros((50, 1), np.float32)
    y[:5] = 1
    assert contrast(y, contexts).p[0, 0] > 0.01  # five coins that fell the same way: 1 in 16


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_halves_and_length_control(seed: int) -> None:
    """Halves are the contrast within each half; length control is the coefficient of a regression with an intercept."""
    rng = np.random.default_rng(seed)
    n = 60
    y, x, inside = rng.normal(size=(n, 2)).astype(np.float32), rng.normal(size=n), rng.random(n) < 0.4
    inside[:4], inside[4:8] = True, False
    first = np.tile([True, False], n // 2)
    contexts = Contexts(sparse.csr_matrix(inside[None].astype(float)), np.arange(n))
    a, b = halves(y, contexts, first)
    for m in range(2):
        for half, found in ((first, a), (~first, b)):
            assert found[0, m] == pytest.approx(y[half & inside, m].mean() - y[half & ~inside, m].mean(), abs=1e-5)
        design = np.column_stack([inside, np.ones(n), x])
        coefficient = np.linalg.lstsq(design, y[:, m].astype(float), rcond=None)[0][0]
        assert length_controlled(y, contexts, x)[0, m] == pytest.approx(coefficient, abs=1e-5)
        assert adjusted(y, contexts, np.column_stack([x, x]))[0, m] == pytest.approx(coefficient, abs=1e-5)
        effect = adjusted_effect(y[:, m].astype(float), inside.astype(float), x, np.arange(n))
        assert effect.interval.value == pytest.approx(coefficient, abs=1e-8)


def test_against_zero_sums_prompts_first() -> None:
    """The whole data set's score is the sum over the root of squared sums of prompts."""
    rng = np.random.default_rng(2)
    y, cluster = rng.normal(size=(30, 2)).astype(np.float32), np.repeat(np.arange(10), 3)
    found = against_zero(y, cluster)
    sums = np.array([y[cluster == g].sum(0) for g in range(10)])
    assert np.allclose(found.score[0], sums.sum(0) / np.sqrt((sums**2).sum(0)), rtol=1e-5)
    exact = y.astype(float)
    assert np.allclose(found.z[0], exact.mean(0) / (exact.std(0, ddof=1) / np.sqrt(30)), rtol=1e-5, atol=1e-6)


def test_bootstrap_covers_what_the_formula_says() -> None:
    """On independent rows the bootstrap interval is as wide as Welch's, within a tenth."""
    from tiltc.audit.families import Family

    rng = np.random.default_rng(3)
    y = rng.normal(size=(600, 1)).astype(np.float32)
    inside = np.arange(600) < 150
    contexts = Contexts(sparse.csr_matrix(inside[None].astype(float)), np.arange(600))
    zero = np.array([0])
    family = Family("feature", False, np.arange(600), y, contexts, zero, zero, inside, np.zeros(600))
    low, high = bootstrap(family, (zero, zero), 1000, 0)
    delta, z, _ = welch(y[inside, 0], y[~inside, 0])
    assert (high - low)[0] == pytest.approx(2 * 1.96 * abs(delta / z), rel=0.1)
    assert low[0] < delta < high[0]


def test_moments_retention_and_scores_are_the_papers() -> None:
    """Moments are population moments over all rows; scores are means over a cluster's features (sections 5.2 to 5.6)."""
    evidence = planted(80)
    rows = read_rows(evidence)
    c, r, p = (evidence.matrix(s, "max").toarray()[rows.origin] for s in ("chosen", "rejected", "prompt"))
    d = c.astype(float) - r
    moments = take_moments(evidence, rows)
    assert np.allclose(moments.mean, d.mean(0), atol=1e-6)
    assert np.allclose(moments.sd, d.std(0), atol=1e-5)
    expected = (((c > 0) | (r > 0)).sum(0) >= 20) & (d.std(0) >= 1e-3) & (np.abs(d).mean(0) >= 1e-4)
    assert np.array_equal(retained(moments, 20), expected)
    asks, moves = [np.array([0, 1, 2])], [np.array([64, 65]), np.array([90, 95, 99])]
    share, shift = scores(evidence, rows, asks, moves, moments)
    assert np.allclose(share[:, 0], (p[:, :3] > 0).mean(1), atol=1e-6)
    for m, g in enumerate(moves):
        z = (d[:, g] - d[:, g].mean(0)) / d[:, g].std(0)
        # the tested statistic is not centred: a constant that no contrast sees
        assert np.allclose(shift[:, m] - shift[:, m].mean(), z.mean(1), atol=1e-4)


def test_selection_is_the_rows_of_most_expression() -> None:
    """At most n_top rows, the largest first, ties in order, and none that does not express the cluster."""
    c = np.array([0.0, 0.5, 0.2, 0.5, 0.0, 0.9], np.float32)
    assert select(c, 3).tolist() == [5, 1, 3]
    assert select(c, 99).tolist() == [5, 1, 3, 2]


def test_embeddings_are_the_scaled_right_singular_vectors() -> None:
    """With all components kept, cosines of embeddings are the correlations of the standardised columns."""
    rng = np.random.default_rng(4)
    x = sparse.random(50, 12, 0.4, "csr", np.float32, rng)
    dense = x.toarray().astype(float)
    mean, sd = dense.mean(0), dense.std(0)
    vectors = embed(x, mean, sd, 128, 0).astype(float)
    z = (dense - mean) / sd
    assert np.allclose(vectors @ vectors.T, np.corrcoef(z.T), atol=1e-3)


def test_spherical_kmeans_finds_directions_and_is_repeatable() -> None:
    """Three directions come back as three clusters, whatever the length of the rows."""
    rng = np.random.default_rng(5)
    label = rng.integers(0, 3, 300)
    rows = unit((np.eye(3)[label] + 0.1 * rng.normal(size=(300, 3))).astype(np.float32))
    found = spherical_kmeans(rows, 3, 0)
    assert len({(a, b) for a, b in zip(label.tolist(), found.label.tolist(), strict=True)}) == 3
    assert np.allclose(np.linalg.norm(found.centroids, axis=1), 1, atol=1e-5)
    assert np.array_equal(found.label, spherical_kmeans(rows, 3, 0).label)


def test_the_constants_reach_the_papers_at_its_size() -> None:
    """At 260,000 rows the defaults are the paper's; at 300 every context can still be tested."""
    large, small = scaled(259_842), scaled(300)
    assert (large.data_clusters, large.fires_in, large.n_top) == (512, 200, 508)
    assert small.n_top >= small.fewest_rows
    assert isinstance(small, Scale)


def test_prompt_view_clusters_the_planted_topics() -> None:
    """Prompt features of a topic end up in one prompt cluster, and its rows are the topic's."""
    evidence = planted(400, seed=3)
    rows = read_rows(evidence)
    view = prompt_view(evidence, rows, scaled(rows.n))
    topic = evidence.truth["topic"][rows.origin]
    pure = [np.bincount(topic[s], minlength=4).max() / len(s) for s in view.selected]
    assert sorted(pure)[-4:] == pytest.approx([1.0] * 4, abs=0.05)


@given(st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_the_order_of_features_is_of_no_account(seed: int) -> None:
    """With features renumbered, edges, projections and contrasts are those of the same features."""
    rng = np.random.default_rng(seed)
    evidence = planted(120, seed=seed)
    order = rng.permutation(evidence.features)  # the feature at place i was feature order[i]
    place = np.argsort(order)
    moved = replace(evidence, matrices={key: sparse.csr_matrix(m[:, order]) for key, m in evidence.matrices.items()})
    rows = read_rows(evidence)  # type: ignore[arg-type]
    groups = [np.arange(0, 30), np.arange(25, 60), np.arange(100, 180)]
    s, u, _ = project(evidence, rows, groups, 0.01)  # type: ignore[arg-type]
    t, v, _ = project(moved, rows, [np.sort(place[g]) for g in groups], 0.01)  # type: ignore[arg-type]
    assert np.allclose(s, t, rtol=1e-5)
    assert np.allclose(u, v, atol=1e-6)
    fired = sparse.vstack([evidence.matrix(side, "count") for side in ("chosen", "rejected")]).tocsr()
    counts = np.diff(fired.tocsc().indptr)
    varied = np.flatnonzero((counts > 5) & (counts < fired.shape[0]))
    shuffle = rng.permutation(len(varied))
    one, other = cofiring(fired[:, varied], 0.01, 64), cofiring(fired[:, varied[shuffle]], 0.01, 64)
    pairs = lambda e, names: {frozenset(p) for p in zip(names[e.first].tolist(), names[e.second].tolist(), strict=True)}  # noqa: E731
    assert pairs(one, varied) == pairs(other, varied[shuffle])


def test_a_plans_rows_weigh_what_the_first_step_gives_them() -> None:
    """keep * w * 2 sigmoid(-o), and nothing for rows that the plan does not know (design section 7)."""
    import pyarrow as pa

    rows = read_rows(planted(60))  # type: ignore[arg-type]
    ids = list(rows.row_ids[:3])
    columns = {"row_id": ids, "keep": [True, True, False], "weight": [1.5, 1.0, 1.0], "margin_offset": [0.0, 2.0, 0.0]}
    found = row_weights(pa.table(columns), rows)
    assert found[:3] == pytest.approx([1.5, 2 / (1 + np.exp(2.0)), 0.0])
    assert not found[3:].any()
