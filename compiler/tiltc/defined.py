"""Does a plan hold by a concept's own definition, and not by its readout alone?

The solver balances the gaps of a readout. Those that the concept's own detector does not see are noise: where it alone
leans the other way, the readout's signal can be met and the concept be taught all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiltc.check.coverage import refusal
from tiltc.diagnostics import Diagnostics
from tiltc.stats import mean_effect

if TYPE_CHECKING:
    from tiltc.choose import Solved
    from tiltc.parse import SpecFile
    from tiltc.resolved import ResolvedSignal

Array = npt.NDArray[np.float64]

#: what readout and definition may differ by, as a share of today's signal, or of the target where that is larger
APART = 0.1


def defined_gaps(solved: Solved, signal: ResolvedSignal) -> tuple[Array, Array] | None:
    """A signal's gaps (n,) by its concept's own detector, today and as the plan's loss counts them; None without."""
    found = solved.checked.resolved.defined(signal)
    if found is None:
        return None
    gap, after = found
    return gap, np.where(solved.masked, after, gap) * solved.factor


def check_defined(spec_file: SpecFile, solved: Solved, found: Diagnostics) -> None:
    """T409: what the readout says is left of a signal is not what its definition says.

    Silent where a signal's strength was given or is not solved for, and where either can't be told from nothing today.
    """
    for band in solved.bands:
        signal = band.signal
        gaps = defined_gaps(solved, signal)
        if gaps is None or signal.index in solved.forward or getattr(signal.ask, "strength", None) is not None:
            continue
        cluster = solved.checked.resolved.pairs.cluster
        seen = np.where(solved.masked, solved.checked.resolved.gap_masked(signal), signal.gap) * solved.factor
        read, own = _left(signal.gap, seen, cluster), _left(*gaps, cluster)
        if read is None or own is None:
            continue
        difference, far = own[0] - read[0], max(1.0, abs(band.target / band.signal.today))
        if abs(difference) > max(APART * far, 1.96 * mean_effect(own[1] - read[1], cluster).se):
            verb = "leaves" if signal.verb == "suppress" else "keeps" if signal.verb == "keep" else "makes"
            chosen, rejected = (int(((gaps[0] * side) > 0).sum()) for side in (1, -1))
            found.add(
                "T409",
                spec_file.at(("signals", signal.index, signal.verb)),
                f"the plan {verb} {read[0]:.0%} of `{signal.label}` by its readout, {own[0]:.0%} by its own detector",
                notes=[
                    f"the detector finds it in chosen alone in {chosen} pairs, in rejected alone in {rejected}",
                    f"the readout leans to chosen in {int((signal.gap > 0).sum())}, to rejected in {int((signal.gap < 0).sum())}",
                ],
                helps=[
                    _solved_for(signal),
                    "`allow` it where the detector is the worse judge",
                ],
            )


def _solved_for(signal: ResolvedSignal) -> str:
    """What to write so that the strength is solved for by the detector."""
    mechanism = getattr(signal.ask, "with_", "auto")
    fitting = mechanism == "auto" or refusal("detector", mechanism, getattr(signal.ask, "form", None)) is None
    return f"solve for what the detector sees: `readout: detector`{'' if fitting else ' and `with: reward`'}"


def _left(gap: Array, counted: Array, cluster: npt.NDArray[np.int64]) -> tuple[float, Array] | None:
    """The share that is left of a mean gap, and its influence values (n,): their mean is zero, their se that of the share.

    None where the mean can't be told from zero.
    """
    today = mean_effect(gap, cluster)
    if today.interval.low <= 0 <= today.interval.high:
        return None
    left = float(counted.mean() / gap.mean())
    return left, (counted - left * gap) / gap.mean()
