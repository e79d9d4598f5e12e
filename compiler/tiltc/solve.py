"""The heart: the smallest change to the learning signal that meets the constraints (design section 7).

To first order, what training pushes on concept c is

    g_c = (1/N) sum_i b_i q_i D_ic          D_ic gap of pair i, b_i = kept weight so far, q_i = the change we solve for

and every mechanism is the same convex problem with another price on q:

    reward     q_i = 2 sigmoid(-o_i)     in (0, 2)       price: binary entropy around 1
    reweight   q_i = exp(-o_i) / mean    positive, mean 1 price: KL from uniform

with o_i = sum_c lambda_c D_ic in both, because the dual of "cheapest q with |g_c - t_c| <= tol_c" is

    minimise over lambda   F(lambda) + t . lambda + tol . |lambda|          grad F = -g(lambda)

which is smooth plus an l1 term: strictly feasible constraints make its minimum unique and finite, a slack constraint has
lambda_c = 0, a tight one sits on its boundary. `filter` prices rows at 1 each: a linear program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Newton stops when no constraint is further than this from its boundary, in units of the largest gap sd
PRECISION = 1e-11
MAX_NEWTON = 200


@dataclass(frozen=True)
class Problem:
    """Constraints on first-step signals.

    Attributes:
        gaps: (n, c) gaps of the constrained concepts, zero where a gate closes.
        base: (n,) factor of each row before this mechanism, 0 for dropped rows.
        target: (c,) wanted signal.
        tolerance: (c,) allowed distance from it.
        offset: (n,) logits that are there already, from strengths given by hand.
    """

    gaps: Array
    base: Array
    target: Array
    tolerance: Array
    offset: Array | float = 0.0

    def signal(self, factor: Array) -> Array:
        """g (c,) when row i counts `factor[i]` times."""
        return self.gaps.T @ (self.base * factor) / len(self.base)

    @property
    def scale(self) -> Array:
        """The size of each constraint (c,): its signal or target, and never less than a thousandth of the gaps' size."""
        today, size = np.abs(self.signal(np.ones(len(self.base)))), np.sqrt((self.gaps**2).mean(0))
        return np.maximum(np.maximum(today, np.abs(self.target)), 1e-3 * size) + self.tolerance + 1e-12

    def excess(self, factor: Array) -> Array:
        """How far each signal is outside of its band (c,), 0 inside."""
        return np.maximum(np.abs(self.signal(factor) - self.target) - self.tolerance, 0.0)


@dataclass(frozen=True)
class Solution:
    """Strengths (c,) and the factor q (n,) that each row's first-step gradient is multiplied with."""

    strength: Array
    factor: Array
    feasible: bool
    #: constraint indices that can't be met together, when infeasible
    certificate: tuple[int, ...] = ()
    #: least total relative violation, when infeasible
    shortfall: float = 0.0
    #: (n,) rows whose token masks are put in place, for `mask`
    masked: Bools | None = None
    #: (c,) signals that were reached, where that is not enough
    left: Array | None = None


@dataclass(frozen=True)
class Link:
    """How an offset o turns into a row's factor, and the potential whose derivative is minus that factor."""

    factor: Callable[[Array, Array], Array]
    potential: Callable[[Array, Array], float]
    curvature: Callable[[Array, Array], Array]
    #: the most that one row can count, None for no bound
    most: float | None


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _exp_factor(o: Array, base: Array) -> Array:
    live = base > 0
    shift = (-o)[live].max() if live.any() else 0.0
    raw = np.exp(np.minimum(-o - shift, 0.0)) * live
    return raw * base.sum() / (base * raw).sum()


def _exp_potential(o: Array, base: Array) -> float:
    live = base > 0
    shift = (-o)[live].max()
    mean = (base[live] * np.exp(-o[live] - shift)).sum() / base.sum()
    return float(base.sum() * (np.log(mean) + shift))


REWARD = Link(
    factor=lambda o, base: 2 * _sigmoid(-o),
    potential=lambda o, base: float(2 * (base * np.logaddexp(0, -o)).sum()),
    curvature=lambda o, base: 2 * _sigmoid(-o) * _sigmoid(o),
    most=2.0,
)
REWEIGHT = Link(factor=_exp_factor, potential=_exp_potential, curvature=_exp_factor, most=None)


def tilt(problem: Problem, link: Link) -> Solution:
    """Solve for `reward` or `reweight`.

    Returns a solution with `feasible=False`, the certificate of a linear program and zero strengths when no factor that
    the link can produce meets all constraints.
    """
    shortfall, certificate = feasibility(problem, link)
    neutral = np.ones(len(problem.base))
    if certificate:
        return Solution(np.zeros(len(problem.target)), neutral, False, certificate, shortfall)
    # ten digits: beyond them lie the last bits of a BLAS, and plans are compared as bytes
    strength = np.array([float(f"{s:.10g}") for s in _newton(problem, link)])
    factor = link.factor(problem.offset + problem.gaps @ strength, problem.base)
    scale = problem.scale
    met = bool((problem.excess(factor) <= 1e-6 * scale).all())
    # Feasible only in the limit of an infinite strength: every constraint that pulls is part of the reason.
    pulling = tuple(int(i) for i in np.flatnonzero(problem.excess(neutral) > 0))
    return Solution(strength, factor, met, () if met else pulling, 0.0)


def tilt_along(problem: Problem, basis: Array) -> Solution:
    """Solve for offsets o = sum of strength times a column of `basis` (n, c), one for each constraint.

    With the gaps themselves as the basis this is `tilt`. Otherwise, as for likelihood differences, the offset is no longer
    the gradient of a convex function: the constraints that are violated are solved as equations, at the nearer edge of
    their band, until none is; one whose strength turns out to push it outward is let go. Infeasible when no factor at
    all meets the constraints, or when these offsets can't.
    """
    if np.array_equal(basis, problem.gaps):
        return tilt(problem, REWARD)
    neutral, c = np.ones(len(problem.base)), len(problem.target)
    shortfall, certificate = feasibility(problem, REWARD)
    if certificate:
        return Solution(np.zeros(c), neutral, False, certificate, shortfall)
    scale = np.sqrt((basis**2).mean(0)) + 1e-300
    # a basis that opposes its gap pulls the other way
    sense = np.sign((basis * problem.gaps).sum(axis=0))
    x, active, side = np.zeros(c), np.zeros(c, dtype=bool), np.zeros(c)
    for _ in range(6 * c + 1):
        factor = REWARD.factor(problem.offset + basis / scale @ x, problem.base)
        outside = problem.excess(factor) > 1e-9 * problem.scale
        outward = active & (x * side * sense < 0)
        if not outside.any() and not outward.any():
            break
        side = np.where(outside & ~active, np.sign(problem.signal(factor) - problem.target), side)
        active = (active | outside) & ~outward
        x[~active] = 0.0
        edge = (problem.target + side * problem.tolerance * (1 - 1e-9))[active]
        x[active] = _equations(problem, basis[:, active] / scale[active], active, edge, x[active])
    strength = np.array([float(f"{s:.10g}") for s in x / scale])
    factor = REWARD.factor(problem.offset + basis @ strength, problem.base)
    excess = problem.excess(factor)
    if (excess <= 1e-6 * problem.scale).all():
        return Solution(strength, factor, True)
    pulling = tuple(int(i) for i in np.flatnonzero(active | (excess > 1e-6 * problem.scale)))
    return Solution(np.zeros(c), neutral, False, pulling, left=problem.signal(factor))


def _equations(problem: Problem, basis: Array, active: Bools, edge: Array, x: Array) -> Array:
    """Damped Newton for g_c = edge_c over the active constraints; gives up where it gets no closer."""
    gaps, n = problem.gaps[:, active], len(problem.base)
    if not len(x):
        return x

    def rest(y: Array) -> Array:
        return gaps.T @ (problem.base * REWARD.factor(problem.offset + basis @ y, problem.base)) / n - edge

    now = rest(x)
    for _ in range(MAX_NEWTON):
        if np.abs(now).max() <= PRECISION:
            break
        o = problem.offset + basis @ x
        slope = -(gaps.T * (problem.base * REWARD.curvature(o, problem.base))) @ basis / n
        step = np.linalg.lstsq(slope, -now, rcond=None)[0]
        size = min(1.0, 5.0 / max(np.abs(step).max(), 1e-300))
        while size > 1e-10 and np.linalg.norm(rest(x + size * step)) >= np.linalg.norm(now) * (1 - 1e-4 * size):
            size *= 0.5
        if size <= 1e-10:
            break
        x = x + size * step
        now = rest(x)
    return x


def _newton(problem: Problem, link: Link) -> Array:
    """Proximal Newton: each step minimises the local quadratic plus the l1 term exactly, then backtracks."""
    n = len(problem.base)
    scale = np.sqrt((problem.base[:, None] * problem.gaps**2).sum(0) / n) + 1e-300
    gaps, target, tolerance = problem.gaps / scale, problem.target / scale, problem.tolerance / scale

    def value(x: Array) -> float:
        return (
            link.potential(problem.offset + gaps @ x, problem.base) / n
            + float(target @ x)
            + float(tolerance @ np.abs(x))
        )

    x = np.zeros(len(target))
    now = value(x)
    for _ in range(MAX_NEWTON):
        o = problem.offset + gaps @ x
        factor = link.factor(o, problem.base)
        gradient = target - gaps.T @ (problem.base * factor) / n
        if _stationarity(gradient, x, tolerance) <= PRECISION:
            break
        curvature = problem.base * link.curvature(o, problem.base)
        hessian = (gaps.T * curvature) @ gaps / n
        if link is REWEIGHT:
            mean = gaps.T @ (problem.base * factor) / problem.base.sum()
            hessian -= np.outer(mean, mean) * problem.base.sum() / n
        hessian += 1e-12 * np.eye(len(x))
        step = _lasso_quadratic(hessian, gradient, x, tolerance) - x
        size, slope = 1.0, float(gradient @ step) + float(tolerance @ (np.abs(x + step) - np.abs(x)))
        while size > 1e-12 and value(x + size * step) > now + 1e-4 * size * slope + 1e-15 * abs(now):
            size *= 0.5
        moved = x + size * step
        if size <= 1e-12 or np.abs(moved).max() > 1e6:
            break
        x, now = moved, value(moved)
    return x / scale


def _stationarity(gradient: Array, x: Array, tolerance: Array) -> float:
    on = np.abs(gradient + tolerance * np.sign(x))
    off = np.maximum(np.abs(gradient) - tolerance, 0.0)
    return float(np.where(x != 0, on, off).max(initial=0.0))


def _lasso_quadratic(hessian: Array, gradient: Array, x: Array, tolerance: Array) -> Array:
    """argmin over z of gradient.(z - x) + (z - x)' H (z - x) / 2 + tolerance.|z|, by coordinate descent and a solve."""
    z = x.copy()
    for _ in range(500):
        before = z.copy()
        for c in range(len(z)):
            slope = gradient[c] + hessian[c] @ (z - x) - hessian[c, c] * z[c]
            z[c] = -np.sign(slope) * max(abs(slope) - tolerance[c], 0.0) / hessian[c, c]
        if np.abs(z - before).max(initial=0.0) <= 1e-14 * (1 + np.abs(z).max(initial=0.0)):
            break
    return _polish(hessian, gradient, x, tolerance, z)


def _polish(hessian: Array, gradient: Array, x: Array, tolerance: Array, z: Array) -> Array:
    """With the signs known the optimum is linear: solve it, unless that flips a sign."""
    live = z != 0
    if not live.any():
        return z
    right = hessian[np.ix_(live, range(len(x)))] @ x - gradient[live] - tolerance[live] * np.sign(z[live])
    exact = np.linalg.lstsq(hessian[np.ix_(live, live)], right, rcond=None)[0]
    if (np.sign(exact) == np.sign(z[live])).all():
        z[live] = exact
    return z


def feasibility(problem: Problem, link: Link | None) -> tuple[float, tuple[int, ...]]:
    """Can any factor the link allows meet all constraints? (shortfall, constraints that clash), zero and empty when yes.

    The clash is irreducible: constraints are left out one by one as long as the rest stays impossible, so each one named
    is needed for the contradiction. `link=None` asks for a filter: factors in [0, 1].
    """
    shortfall = _least_violation(problem, link)
    if shortfall <= 1e-9:
        return 0.0, ()
    clash = list(range(len(problem.target)))
    for left_out in range(len(problem.target)):
        rest = [c for c in clash if c != left_out]
        if rest and _least_violation(_only(problem, rest), link) > 1e-9:
            clash = rest
    return shortfall, tuple(clash)


def _only(problem: Problem, wanted: list[int]) -> Problem:
    return Problem(
        problem.gaps[:, wanted], problem.base, problem.target[wanted], problem.tolerance[wanted], problem.offset
    )


def _least_violation(problem: Problem, link: Link | None) -> float:
    """Least total relative violation, by a linear program with one elastic slack per constraint."""
    n, c = problem.gaps.shape
    rows = np.flatnonzero(problem.base > 0)
    weighted = (problem.gaps[rows] * problem.base[rows, None]).T / n
    slack = np.diag(problem.scale)
    most = 1.0 if link is None else link.most
    equal: dict[str, Array] = {}
    if link is REWEIGHT:
        share = np.concatenate([problem.base[rows], np.zeros(c)])[None, :] / n
        equal = {"A_eq": share, "b_eq": np.array([problem.base.sum() / n])}
    result = linprog(
        np.concatenate([np.zeros(len(rows)), np.ones(c)]),
        A_ub=np.vstack([np.hstack([weighted, -slack]), np.hstack([-weighted, -slack])]),
        b_ub=np.concatenate([problem.target + problem.tolerance, problem.tolerance - problem.target]),
        bounds=[(0, most)] * len(rows) + [(0, None)] * c,
        method="highs",
        **equal,
    )
    return float(result.fun) if result.fun is not None else float("inf")


def drop(problem: Problem, budget: float) -> Solution:
    """Solve for `filter`: the fewest rows dropped, at most a share `budget` of them.

    The linear program has at most as many fractional rows as constraints; these are rounded by trying the few
    combinations, the one with the least excess first, then the fewest rows.
    """
    n, c = problem.gaps.shape
    weighted = (problem.gaps * problem.base[:, None]).T / n
    candidates = np.flatnonzero(problem.base > 0)
    a = weighted[:, candidates]
    result = linprog(
        -np.ones(len(candidates)),
        A_ub=np.vstack([a, -a]),
        b_ub=np.concatenate([problem.target + problem.tolerance, problem.tolerance - problem.target]),
        bounds=(0, 1),
        method="highs-ds",
    )
    keep = np.ones(n)
    if result.x is None:
        shortfall, clash = feasibility(problem, None)
        return Solution(np.zeros(c), keep, False, clash or tuple(range(c)), shortfall)

    def cost(tried: Array) -> tuple[float, float]:
        factor = np.zeros(n)
        factor[candidates] = tried
        return float(problem.excess(factor).sum().round(12)), float(-tried.sum())

    keep[candidates] = _whole(result.x, cost)
    spent = float((problem.base > 0).sum() - keep[candidates].sum())
    if spent > budget * n + 1e-9:
        return Solution(np.zeros(c), keep, False, tuple(range(c)), spent / n)
    met = bool((problem.excess(keep) <= 1e-6 * problem.scale).all())
    return Solution(np.zeros(c), keep, met, () if met else tuple(range(c)))


def _whole(relaxed: Array, cost: Callable[[Array], tuple[float, float]]) -> Array:
    """The few fractional entries of a linear program's solution rounded in the cheapest way."""
    whole = np.round(relaxed)
    fractional = np.flatnonzero(np.abs(relaxed - whole) > 1e-9)[:10]
    best, best_cost = whole, (np.inf, np.inf)
    for choice in range(2 ** len(fractional)):
        tried = whole.copy()
        tried[fractional] = [(choice >> bit) & 1 for bit in range(len(fractional))]
        if (tried_cost := cost(tried)) < best_cost:
            best, best_cost = tried, tried_cost
    return best


def mask(problem: Problem, after: Array, touched: Bools, always: Bools) -> Solution:
    """Solve for `tokens`: which rows get their token masks.

    Args:
        after: (n, c) gaps with the masks in place.
        touched: (n,) rows that have something to mask.
        always: (n,) those of them that are masked in any case; of the others the fewest that meet the constraints.

    Masking row i moves g_c by b_i (after_ic - before_ic) / N: `filter`'s linear program with other columns.
    """
    n, c = problem.gaps.shape
    neutral, change = np.ones(n), after - problem.gaps
    chosen = touched & always
    rows = np.flatnonzero(touched & ~always & (problem.base > 0) & (change != 0).any(axis=1))
    if len(rows):
        a = (change[rows] * problem.base[rows, None]).T / n
        today = problem.signal(neutral) + change[chosen].T @ problem.base[chosen] / n
        result = linprog(
            np.ones(len(rows)),
            A_ub=np.vstack([a, -a]),
            b_ub=np.concatenate(
                [problem.target + problem.tolerance - today, problem.tolerance - problem.target + today]
            ),
            bounds=(0, 1),
            method="highs-ds",
        )
        if result.x is None:
            return Solution(np.zeros(c), neutral, False, tuple(range(c)))

        def cost(tried: Array) -> tuple[float, float]:
            outside = np.maximum(np.abs(today + a @ tried - problem.target) - problem.tolerance, 0.0)
            return float(outside.sum().round(12)), float(tried.sum())

        chosen[rows] = _whole(result.x, cost) > 0
    moved = Problem(np.where(chosen[:, None], after, problem.gaps), problem.base, problem.target, problem.tolerance)
    outside = moved.excess(neutral)
    bad = tuple(int(i) for i in np.flatnonzero(outside > 1e-6 * problem.scale))
    return Solution(
        np.zeros(c),
        neutral,
        not bad,
        bad,
        float((outside / problem.scale).sum()) if bad else 0.0,
        chosen,
        moved.signal(neutral),
    )


def effective_sample(factor: Array, base: Array) -> float:
    """Kish's effective sample size as a share of the rows kept: (sum q)^2 / (n sum q^2)."""
    q = (factor * base)[base > 0]
    return float(q.sum() ** 2 / (len(q) * (q**2).sum())) if len(q) and q.any() else 0.0
