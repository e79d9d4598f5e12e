"""The solver against a general-purpose optimiser, its own optimality conditions, and cases known to be impossible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tiltc.solve import REWARD, REWEIGHT, Link, Problem, drop, effective_sample, feasibility, tilt

LINKS = pytest.mark.parametrize("link", [REWARD, REWEIGHT], ids=["reward", "reweight"])


def random_problem(seed: int, n: int = 60, c: int = 3) -> Problem:
    rng = np.random.default_rng(seed)
    gaps = rng.normal(size=(n, c)) @ (np.eye(c) + 0.3 * rng.normal(size=(c, c))) + rng.uniform(-0.5, 0.5, c)
    today = gaps.mean(0)
    target = today * rng.choice([0.0, 0.3, 1.0, 1.5], size=c)
    return Problem(gaps, np.ones(n), target, 0.05 * np.abs(today) + 0.01)


def price(link: Link, q: np.ndarray) -> float:
    """The primal cost of factors q: binary entropy around 1 for reward, KL from uniform for reweight."""
    if link is REWEIGHT:
        return float((q * np.log(q) - q + 1).sum())
    half = q / 2
    return float((2 * (half * np.log(half) + (1 - half) * np.log(1 - half) + np.log(2))).sum())


@LINKS
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_equals_a_general_purpose_optimiser_of_the_primal(link: Link, seed: int) -> None:
    """The factors are the cheapest that meet the constraints, as SLSQP finds them without knowing the dual."""
    problem = random_problem(seed, n=24, c=2)
    solution = tilt(problem, link)
    assume(solution.feasible and np.abs(problem.gaps @ solution.strength).max() < 5)
    n = len(problem.base)
    matrix = problem.gaps.T / n
    constraints = [
        {"type": "ineq", "fun": lambda q: problem.tolerance - (matrix @ q - problem.target), "jac": lambda q: -matrix},
        {"type": "ineq", "fun": lambda q: problem.tolerance + (matrix @ q - problem.target), "jac": lambda q: matrix},
    ]
    if link is REWEIGHT:
        constraints.append({"type": "eq", "fun": lambda q: q.mean() - 1, "jac": lambda q: np.full(n, 1 / n)})
    upper = 2 - 1e-9 if link is REWARD else None
    slope = (lambda q: np.log(q)) if link is REWEIGHT else (lambda q: np.log(q / (2 - q)))
    best = minimize(
        lambda q: price(link, q), np.ones(n), jac=slope, bounds=[(1e-9, upper)] * n, constraints=constraints,
        method="SLSQP", options={"maxiter": 500, "ftol": 1e-13},
    )  # fmt: skip
    assume(best.success)
    assert price(link, solution.factor) <= best.fun + 1e-6 * (1 + abs(best.fun))
    np.testing.assert_allclose(solution.factor, best.x, atol=2e-3)


@LINKS
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), c=st.integers(1, 6))
def test_meets_every_constraint_where_that_is_possible(link: Link, seed: int, c: int) -> None:
    """Residuals stay below 1e-6 of the signal, and a constraint with slack gets no strength."""
    problem = random_problem(seed, n=200, c=c)
    solution = tilt(problem, link)
    if not solution.feasible:
        assert solution.certificate
        return
    scale = np.abs(problem.signal(np.ones(200))) + problem.tolerance
    assert (problem.excess(solution.factor) <= 1e-6 * scale).all()
    distance = problem.tolerance - np.abs(problem.signal(solution.factor) - problem.target)
    assert (solution.strength[distance > 1e-6] == 0).all()


@LINKS
def test_nothing_asked_nothing_changed(link: Link) -> None:
    """When today's signals already meet the spec, every factor is exactly 1."""
    problem = random_problem(3)
    idle = Problem(problem.gaps, problem.base, problem.signal(np.ones(60)), problem.tolerance)
    solution = tilt(idle, link)
    assert (solution.strength == 0).all()
    assert (solution.factor == 1).all()


@LINKS
def test_two_copies_of_a_concept_pulled_apart_are_named(link: Link) -> None:
    """The certificate names exactly the constraints that clash, not the bystander."""
    rng = np.random.default_rng(0)
    gap = rng.normal(size=300) + 0.4
    gaps = np.column_stack([gap, rng.normal(size=300) + 0.3, gap])
    today = gaps.mean(0)
    problem = Problem(gaps, np.ones(300), today * [0, 1, 1], 0.05 * today)
    solution = tilt(problem, link)
    assert not solution.feasible
    assert solution.certificate == (0, 2)
    assert solution.shortfall > 0.5


def test_signs_follow_the_loss() -> None:
    """Suppressing a concept that chosen carries more of gives a positive offset, as the loss adds it inside the sigmoid."""
    rng = np.random.default_rng(1)
    gap = rng.normal(size=(400, 1)) + 0.5
    suppress = tilt(Problem(gap, np.ones(400), np.zeros(1), np.array([0.01])), REWARD)
    amplify = tilt(Problem(gap, np.ones(400), 1.5 * gap.mean(0), np.array([0.01])), REWARD)
    assert suppress.strength[0] > 0 > amplify.strength[0]


def test_pure_suppression_is_the_bradley_terry_fit() -> None:
    """With zero tolerance the strength is the logistic regression coefficient of "chosen wins" on the gaps (design 7)."""
    rng = np.random.default_rng(2)
    gaps = rng.normal(size=(500, 2)) + np.array([0.4, 0.1])
    solution = tilt(Problem(gaps, np.ones(500), np.zeros(2), np.full(2, 1e-12)), REWARD)
    fit = minimize(lambda w: np.logaddexp(0, -gaps @ w).mean(), np.zeros(2), tol=1e-12).x
    np.testing.assert_allclose(solution.strength, fit, atol=1e-4)


def test_one_sided_concept_has_no_finite_strength() -> None:
    """If no pair leans the other way, taking the signal to zero is reported as impossible, with the concept's index."""
    gap = np.abs(np.random.default_rng(4).normal(size=(200, 1))) + 0.1
    solution = tilt(Problem(gap, np.ones(200), np.zeros(1), np.array([1e-9])), REWEIGHT)
    assert not solution.feasible
    assert solution.certificate == (0,)


def test_filter_drops_the_fewest_rows() -> None:
    """Against trying every subset of twelve rows."""
    rng = np.random.default_rng(5)
    gaps = rng.choice([-1.0, 0.0, 1.0, 2.0], size=(12, 1), p=[0.2, 0.3, 0.3, 0.2])
    today = float(gaps.mean())
    problem = Problem(gaps, np.ones(12), np.array([0.4 * today]), np.array([0.2 * abs(today)]))
    kept = [
        k
        for k in range(2**12)
        if (problem.excess(np.array([(k >> i) & 1 for i in range(12)], dtype=float)) <= 1e-12).all()
    ]
    fewest = 12 - max(bin(k).count("1") for k in kept)
    solution = drop(problem, 1.0)
    assert solution.feasible
    assert int((solution.factor == 0).sum()) == fewest


def test_filter_beyond_its_budget_is_infeasible() -> None:
    """The share it would need is reported."""
    gap = np.random.default_rng(6).normal(size=(300, 1)) + 1
    solution = drop(Problem(gap, np.ones(300), np.zeros(1), np.array([0.02])), 0.05)
    assert not solution.feasible
    assert 0.05 < solution.shortfall < 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_swapping_chosen_and_rejected_flips_the_strength(seed: int) -> None:
    """The problem has no preferred sign."""
    problem = random_problem(seed, n=100, c=2)
    mirrored = Problem(-problem.gaps, problem.base, -problem.target, problem.tolerance)
    one, two = tilt(problem, REWARD), tilt(mirrored, REWARD)
    assert one.feasible == two.feasible
    if one.feasible:
        np.testing.assert_allclose(one.strength, -two.strength, atol=1e-7)


def test_dropped_rows_carry_nothing() -> None:
    """Rows with base 0 change neither strength nor signal."""
    problem = random_problem(7, n=100, c=2)
    base = np.ones(100)
    base[80:] = 0
    loud = problem.gaps.copy()
    loud[80:] = 1e3
    one = tilt(Problem(problem.gaps, base, problem.target, problem.tolerance), REWEIGHT)
    two = tilt(Problem(loud, base, problem.target, problem.tolerance), REWEIGHT)
    np.testing.assert_allclose(one.strength, two.strength, rtol=1e-9)


def test_feasible_problem_has_no_certificate() -> None:
    """No constraint is named when nothing clashes."""
    assert feasibility(random_problem(8, n=300), REWARD) == (0.0, ())


def test_effective_sample_is_kishs() -> None:
    """n equal weights give 1, one live row of n gives 1/n."""
    assert effective_sample(np.ones(10), np.ones(10)) == 1.0
    assert effective_sample(np.eye(10)[0], np.ones(10)) == pytest.approx(0.1)
