"""Fit a group of SAE features to labelled texts, and measure it where it was not fitted (design section 5).

Rows are halved by prompt. On half A features are screened, a small group is grown and weighted; on half B everything is
measured: the group, and beside it a difference of means and a linear probe fitted on the same half A. A concept without
enough examples in the data is measured on its contrast set; one without either is unresolved, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import minimize, nnls

from tiltc.groups import make_group, saturate, scales, width
from tiltc.plan import Detection, Group, Interval
from tiltc.spec import VectorTool
from tiltc.stats import auroc

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Tool = Literal["sae", "attention"] | VectorTool

#: texts with and without the concept needed in each half before anything is fitted
FEWEST_EXAMPLES = 10
#: features screened per concept, most features in a group, and the AUROC a further feature must add
SCREENED, MOST_MEMBERS, WORTH_ADDING = 48, 8, 0.002
#: texts used for fitting: enough for AUROC to three digits, few enough for seconds
MOST_FITTED = 6000
#: of the order in which the pairwise objective pairs texts
PAIRING_SEED = 0
#: a feature must fire on this many texts to be looked at
FEWEST_FIRINGS = 5


@dataclass(frozen=True)
class Labelled:
    """Texts with labels: max activations (n, F), mean residuals (n, d), label (n,) and half A (n,)."""

    activations: sparse.csc_matrix
    residuals: Array
    label: Bools
    half: Bools

    def enough(self) -> bool:
        counts = [int((self.label[h] == side).sum()) for h in (self.half, ~self.half) for side in (True, False)]
        return min(counts) >= FEWEST_EXAMPLES

    def thinned(self) -> Labelled:
        """At most `MOST_FITTED` texts, every k-th of each class, so that the choice is the same everywhere."""
        if len(self.label) <= MOST_FITTED:
            return self
        keep = np.zeros(len(self.label), dtype=bool)
        for side in (True, False):
            at = np.flatnonzero(self.label == side)
            wanted = max(MOST_FITTED // 2, MOST_FITTED - int((self.label != side).sum()))
            keep[at[:: max(1, -(-len(at) // wanted))]] = True
        return Labelled(self.activations[keep], self.residuals[keep], self.label[keep], self.half[keep])


@dataclass(frozen=True)
class Detector:
    """What resolving a definition gave: the group, every tool's held-out AUROC, and a rival group if there is one."""

    group: Group
    detection: tuple[Detection, ...]
    rival: Group | None = None
    rival_auroc: float = 0.0


def resolve_group(texts: Labelled, moments: sparse.csc_matrix, avoid: frozenset[int] = frozenset()) -> Detector | None:
    """Fit on half A, measure on half B. None when no feature separates the classes at all.

    Args:
        texts: labelled texts.
        moments: max activations (m, F) from which scales and moments are taken: both responses of all pairs.
        avoid: features that may not be used.
    """
    texts = texts.thinned()
    grown = grow(texts, avoid)
    if grown is None:
        return None
    features, weight = grown
    group = make_group(features, weight, moments)
    rival = _rival(texts, features, avoid)
    sae = _measure("sae", _score(group, texts.activations), texts)
    detection = (sae, *_baselines(texts))
    if rival is None:
        return Detector(group, detection)
    other = make_group(*rival, moments)
    return Detector(group, detection, other, _measure("sae", _score(other, texts.activations), texts).auroc.value)


def grow(texts: Labelled, avoid: frozenset[int]) -> tuple[npt.NDArray[np.int64], Array] | None:
    """Greedy group on half A: the best single feature, then whichever raises the AUROC of the sum most."""
    fit = texts.activations[texts.half].tocsc()
    label = texts.label[texts.half]
    candidates = screen(fit, label, avoid)
    if not len(candidates):
        return None
    on = saturate(fit, candidates, scales(fit, candidates))
    chosen: list[int] = []
    total, best = np.zeros(len(label)), 0.5
    while len(chosen) < MOST_MEMBERS:
        rest = [j for j in range(len(candidates)) if j not in chosen]
        areas = [_area(total + on[:, j], label) for j in rest]
        if not areas or max(areas) < best + (WORTH_ADDING if chosen else 0.02):
            break
        chosen.append(rest[int(np.argmax(areas))])
        total, best = total + on[:, chosen[-1]], max(areas)
    if not chosen:
        return None
    weight = _weights(on[:, chosen], label)
    live = weight > 0
    order = np.argsort(candidates[chosen][live], kind="stable")
    return candidates[chosen][live][order], weight[live][order]


def screen(activations: sparse.csc_matrix, label: Bools, avoid: frozenset[int]) -> npt.NDArray[np.int64]:
    """The features (k,) whose saturated activation differs most between the classes, in pooled sd."""
    fires = np.diff(activations.indptr)
    full = np.ones(width(activations))
    full[fires > 0] = np.maximum.reduceat(activations.data, activations.indptr[:-1][fires > 0])
    on = sparse.csc_matrix(activations @ sparse.diags(1 / np.maximum(full, 1e-9)))
    first, second = (np.asarray(on[side].mean(axis=0)).ravel() for side in (label, ~label))
    square = np.asarray(on.power(2).mean(axis=0)).ravel()
    mean = np.asarray(on.mean(axis=0)).ravel()
    contrast = (first - second) / np.sqrt(np.maximum(square - mean**2, 1e-12))
    contrast[fires < FEWEST_FIRINGS] = -np.inf
    contrast[list(avoid)] = -np.inf
    order = np.argsort(-contrast, kind="stable")[:SCREENED]
    return order[contrast[order] > 0].astype(np.int64)


def _weights(on: Array, label: Bools) -> Array:
    """Nonnegative least squares of the class-balanced label on the features: they split a concept, none may oppose it."""
    balance = np.where(label, 0.5 / label.mean(), 0.5 / (1 - label.mean())) ** 0.5
    centred = (on - on.mean(0)) * balance[:, None]
    weight, _ = nnls(centred, (label - 0.5) * balance)
    if not weight.any():
        return np.full(on.shape[1], 1 / on.shape[1])
    return np.asarray(weight / weight.sum(), dtype=np.float64)


def _rival(
    texts: Labelled, taken: npt.NDArray[np.int64], avoid: frozenset[int]
) -> tuple[npt.NDArray[np.int64], Array] | None:
    """A second group from features unrelated to the first: none correlated with it above 0.3 among the positives."""
    positive = texts.activations[texts.half & texts.label].tocsc()
    first = saturate(positive, taken, scales(positive, taken)).sum(1)
    candidates = screen(texts.activations[texts.half].tocsc(), texts.label[texts.half], avoid)
    on = saturate(positive, candidates, scales(positive, candidates))
    with np.errstate(invalid="ignore"):
        related = np.nan_to_num(_correlations(on, first)) > 0.3
    close = frozenset(int(f) for f in candidates[related]) | frozenset(int(f) for f in taken)
    return grow(texts, avoid | close)


def _correlations(columns: Array, with_: Array) -> Array:
    centred, other = columns - columns.mean(0), with_ - with_.mean()
    return centred.T @ other / (np.linalg.norm(centred, axis=0) * np.linalg.norm(other))


def _baselines(texts: Labelled) -> tuple[Detection, ...]:
    """Difference of means (paper section 3.1) and an L2 logistic probe on the mean-pooled residual, fitted on half A."""
    return tuple(measure_vector(texts, tool, vector(texts, tool)) for tool in ("direction", "probe"))


def measure_vector(texts: Labelled, tool: VectorTool, values: Array) -> Detection:
    """How well the projection of the mean residual on a vector (d,) detects the concept on half B."""
    return _measure(tool, texts.residuals @ values, texts)


def measure_scores(tool: Tool, scores: Array, label: Bools) -> Detection:
    """How well scores (n,) of held-out texts tell those that show the concept from the others."""
    n, m = int(label.sum()), int((~label).sum())
    return Detection(tool=tool, auroc=rounded(auroc(scores, label)), positives=n, negatives=m)


def vector(texts: Labelled, tool: VectorTool) -> Array:
    """A vector (d,) along which the mean residuals of texts that show the concept lie further, fitted on half A.

    A direction is the difference of means, in units of the residual stream: with it minus without it. A probe is the
    weight vector of a logistic regression on standardised residuals, taken back to the residual stream. The pairwise
    probe is one on differences between texts of the two classes.
    """
    fit, label = texts.residuals[texts.half], texts.label[texts.half]
    if tool == "direction":
        return np.asarray(fit[label].mean(0) - fit[~label].mean(0), dtype=np.float64)
    centre, spread = fit.mean(0), fit.std(0) + 1e-6
    fitted = _pairwise if tool == "probe-pairwise" else _logistic
    return fitted((fit - centre) / spread, label) / spread


def _logistic(x: Array, label: Bools) -> Array:
    """Class-balanced logistic regression with ridge n/100; returns the weights (d,), the intercept cancels in AUROC.

    The balance is that of `pos_weight` n-/n+ (paper section 3.2), scaled so that the weights' mean is 1.
    """
    sign = np.where(label, 1.0, -1.0)
    weight = np.where(label, 0.5 / label.mean(), 0.5 / (1 - label.mean()))
    design = np.column_stack([x, np.ones(len(x))])
    ridge = 0.01 * np.append(np.ones(x.shape[1]), 0.0)
    return _least_loss(sign[:, None] * design, weight, ridge)[:-1]


def _pairwise(x: Array, label: Bools) -> Array:
    """Weights (d,) of the Bradley-Terry objective (paper section 3.2), with the ridge of `_logistic`.

    mean over (p, n) in P of log(1 + exp(-(x_p - x_n) @ w)), where P pairs texts that show the concept with texts that
    don't: both pools shuffled, the shorter one cycled, |P| = max(n+, n-). A contrast set's own pairs are pooled like all
    others. A bias would cancel, and is zero by convention: a score is the projection alone.
    """
    rng = np.random.default_rng(PAIRING_SEED)
    pools = [rng.permutation(np.flatnonzero(label == side)) for side in (True, False)]
    shows, lacks = (np.resize(pool, max(map(len, pools))) for pool in pools)
    return _least_loss(x[shows] - x[lacks], np.ones(len(shows)), np.full(x.shape[1], 0.01))


def _least_loss(rows: Array, weight: Array, ridge: Array) -> Array:
    """The w (k,) that minimises mean(weight * log(1 + exp(-rows @ w))) + ridge @ w^2 / 2."""

    def loss(w: Array) -> tuple[float, Array]:
        margin = rows @ w
        slope = -weight * 0.5 * (1 - np.tanh(0.5 * margin))
        value = float((weight * np.logaddexp(0, -margin)).mean() + 0.5 * (ridge * w**2).sum())
        return value, rows.T @ slope / len(rows) + ridge * w

    start = np.zeros(rows.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x)


def _score(group: Group, activations: sparse.csc_matrix) -> Array:
    features = np.array([m.feature for m in group.members])
    scale, weight = (np.array([getattr(m, k) for m in group.members]) for k in ("scale", "weight"))
    return saturate(activations, features, scale) @ weight


def _measure(tool: Tool, scores: Array, texts: Labelled) -> Detection:
    return measure_scores(tool, scores[~texts.half], texts.label[~texts.half])


def rounded(interval: Interval, digits: int = 6) -> Interval:
    """The same interval at the precision that plans are written with."""
    value, low, high = (float(f"{v:.{digits}g}") for v in (interval.value, interval.low, interval.high))
    return Interval(value=value, low=low, high=high)


def _area(scores: Array, label: Bools) -> float:
    from scipy.stats import rankdata

    n, m = int(label.sum()), int((~label).sum())
    return float((rankdata(scores)[label].sum() - n * (n + 1) / 2) / (n * m))
