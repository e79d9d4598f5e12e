"""What a concept's gap has beyond the gaps of others (paper section 9, R3).

    r_i = D_ic - sum_k b_k D_ik        b = argmin sum_i r_i^2

Exchanging chosen and rejected turns the sign of every gap, so there is no intercept: whichever side is called chosen, b is
the same and r turns its sign. r is orthogonal to each D_k, so an offset along it moves no D_k's first step, to first order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: directions of the others' gaps that are this much smaller than their largest are two names for one thing
SAME = 1e-6
#: a rest smaller than this share of the gap is the rounding of the coefficients, and is nothing
NOTHING = 1e-7


@dataclass(frozen=True)
class Residual:
    """The gap that is left, and how it came about.

    Attributes:
        gap: (n,) r, in the concept's own units.
        coefficients: (k,) b, to nine digits.
        explained: share of the squared gap that the others explain.
        influence: (n,) what each pair adds to the mean of r; its mean is that of r, and its spread counts that b was
            estimated on the same pairs.
    """

    gap: Array
    coefficients: Array
    explained: float
    influence: Array


def residual(gap: Array, others: Array) -> Residual:
    """Least squares through zero of a gap (n,) on those of others (n, k). Pairs that don't count are zero in all of them.

    With A = D'D / n, the mean of r depends on pair i through r_i - mean(D)' A^-1 D_i r_i = r_i (1 - h_i), where h are the
    fitted values of a regression of 1 on D (the delta method).
    """
    solved = np.linalg.lstsq(others, np.column_stack([gap, np.ones(len(gap))]), rcond=SAME)[0]
    coefficients = np.array([float(f"{b:.9g}") for b in solved[:, 0]])
    rest = gap - others @ coefficients
    whole, left = float(gap @ gap), float(rest @ rest)
    if left <= NOTHING**2 * whole:
        rest, left = np.zeros(len(gap)), 0.0
    explained = 1 - left / whole if whole else 0.0
    return Residual(rest, coefficients, explained, rest * (1 - others @ solved[:, 1]))
