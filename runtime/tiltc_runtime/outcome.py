"""What the rollouts say: levels, shifts, recovery and a verdict per concept. Pure numbers, no model in sight.

Every policy answers the same prompts with the same seeds, so rollout k of one is paired with rollout k of the others.
Samples of one prompt are not independent: every interval of a mean or a difference resamples prompts, not rollouts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiltc.plan import Interval
from tiltc_runtime.report.model import Beside, Levels, Verb, Verdict

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

Z95 = 1.959963984540054
#: bootstrap resamples behind every interval of a report
RESAMPLES = 1000


@dataclass(frozen=True)
class Paired:
    """One measurement of every rollout under each policy, (rollouts,), in the same order of prompt and sample."""

    start: Array
    tilted: Array
    plain: Array | None = None
    control: Array | None = None

    def only(self, used: Bools) -> Paired:
        rest = (None if side is None else side[used] for side in (self.plain, self.control))
        return Paired(self.start[used], self.tilted[used], *rest)


@dataclass(frozen=True)
class Shifts:
    """Differences between policies with paired bootstrap intervals, and the draws behind them (resamples,)."""

    start: Interval
    tilted: Interval
    plain: Interval | None
    shift_tilted: Interval
    shift_plain: Interval | None
    difference: Interval | None
    recovery: Interval | None
    #: draws of tilted - start and plain - start, for verdicts about both at once
    draws_tilted: Array
    draws_plain: Array | None
    #: level of the control run, and what it says about the effect; None without one
    control: Interval | None = None
    beside: Beside | None = None
    #: of a rate: no rollout of any policy shows the concept
    never: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a signal asks of the realised shift, as shares of the plain shift.

    Attributes:
        share: suppress: what may remain; amplify: the multiple asked for; keep: 1.
        tolerance: how far the shift may be from what is asked.
        direction: sign of the data's pull, for when the plain shift is too small to show it.
    """

    verb: Verb
    share: float
    tolerance: float
    direction: int


@dataclass(frozen=True)
class Judged:
    """A verdict and one sentence of evidence."""

    verdict: Verdict
    because: str


#: the finding that a verdict is reported as; the others need no reaction
VERDICT_CODES: dict[Verdict, str] = {
    "no effect": "T601",
    "wrong direction": "T602",
    "partly suppressed": "T603",
    "partly amplified": "T603",
    "overshot": "T603",
    "still taught": "T603",
    "moved": "T604",
    "not measurable": "T605",
}


def wilson(successes: int, n: int) -> Interval:
    """Wilson's 95% score interval of a proportion (Wilson 1927). n must be positive."""
    rate, z2 = successes / n, Z95**2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * float(np.sqrt(rate * (1 - rate) / n + z2 / (4 * n**2)))
    return Interval(value=rate, low=max(0.0, min(rate, centre - half)), high=min(1.0, max(rate, centre + half)))


def rates(shown: Paired) -> Levels:
    """Share of rollouts that show the concept (`shown` holds zeros and ones)."""
    plain, control = (
        None if side is None else wilson(int(side.sum()), len(side)) for side in (shown.plain, shown.control)
    )
    start, tilted = (wilson(int(side.sum()), len(side)) for side in (shown.start, shown.tilted))
    return Levels(start=start, tilted=tilted, plain=plain, control=control)


@dataclass(frozen=True)
class Resampler:
    """The same draws of prompts for every quantity, so that all differences stay paired.

    Attributes:
        prompt: (rollouts,) number of the prompt behind each rollout, 0..prompts-1.
        draws: (resamples, prompts) how often each prompt was drawn.
    """

    prompt: Ints
    draws: Array

    @classmethod
    def of(cls, prompt: Ints, seed: int, resamples: int = RESAMPLES) -> Resampler:
        numbered = np.unique(prompt, return_inverse=True)[1].astype(np.int64)
        count = int(numbered.max()) + 1
        draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
        return cls(numbered, draws.astype(np.float64))

    def means(self, values: Array, used: Bools | None = None) -> Array:
        """The mean of the used `values` (rollouts,) in every resample; NaN where none of them was drawn."""
        weight = np.ones(len(values)) if used is None else used.astype(np.float64)
        prompts = self.draws.shape[1]
        sums = np.bincount(self.prompt, np.where(weight > 0, values, 0.0), prompts)
        sizes = self.draws @ np.bincount(self.prompt, weight, prompts)
        return np.divide(self.draws @ sums, sizes, out=np.full(len(sizes), np.nan), where=sizes > 0)


def percentile(value: float, draws: Array) -> Interval:
    """`value` with the 2.5% and 97.5% points of its bootstrap draws, widened to hold the value itself."""
    known = draws[np.isfinite(draws)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (value, value)
    return Interval(value=value, low=float(min(low, value)), high=float(max(high, value)))


@dataclass(frozen=True)
class Ends:
    """The 95% intervals of one measurement. Those of rates and of their differences are never without width.

    Where all rollouts agree a bootstrap draws the same again and again. That none of n prompts is otherwise says that fewer
    than 1.96^2 / (n + 1.96^2) of all are (Wilson's upper end at 0 of n), and no rate or difference is known better than that.

    Attributes:
        prompts: distinct prompts that a rate was counted over; None for scores.
    """

    prompts: int | None

    def level(self, value: float, draws: Array) -> Interval:
        return self._wide(percentile(value, draws), 0.0, 1.0, 1.0)

    def difference(self, value: float, draws: Array) -> Interval:
        return self._wide(percentile(value, draws), -1.0, 1.0, 1.0)

    def ratio(self, value: float, draws: Array, whole: float) -> Interval:
        """Of a part, which is a difference of rates, to `whole`."""
        return self._wide(percentile(value, draws), -np.inf, np.inf, abs(whole))

    def _wide(self, found: Interval, least: float, most: float, per: float) -> Interval:
        if self.prompts is None or found.high - found.low > 1e-12:
            return found
        room = wilson(0, self.prompts).high / per
        return Interval(value=found.value, low=max(least, found.value - room), high=min(most, found.value + room))


def spans_zero(interval: Interval) -> bool:
    return interval.low <= 0 <= interval.high


def shifts(values: Paired, resampler: Resampler, used: Bools | None = None, *, rate: bool = False) -> Shifts:
    """Levels and differences of a measurement over the used rollouts (at least one).

    Args:
        rate: `values` holds zeros and ones, and means of it are shares of rollouts.
    """
    every = np.ones(len(values.start), dtype=bool) if used is None else used
    seen, ends = values.only(every), Ends(len(np.unique(resampler.prompt[every])) if rate else None)
    start, tilted = float(seen.start.mean()), float(seen.tilted.mean())
    start_draws, tilted_draws = (resampler.means(side, every) for side in (values.start, values.tilted))
    moved = tilted_draws - start_draws
    levels = ends.level(start, start_draws), ends.level(tilted, tilted_draws)
    other = _control(values, resampler, every, ends)
    moved_tilted = ends.difference(tilted - start, moved)
    if values.plain is None or seen.plain is None:
        return Shifts(*levels, None, moved_tilted, None, None, None, moved, None, *other)
    plain, plain_draws = float(seen.plain.mean()), resampler.means(values.plain, every)
    taught = plain_draws - start_draws
    shift_plain = ends.difference(plain - start, taught)
    return Shifts(
        *levels,
        plain=ends.level(plain, plain_draws),
        shift_tilted=moved_tilted,
        shift_plain=shift_plain,
        difference=ends.difference(tilted - plain, tilted_draws - plain_draws),
        recovery=_ratio((plain - tilted, plain_draws - tilted_draws), (plain - start, taught), shift_plain, ends),
        draws_tilted=moved,
        draws_plain=taught,
        control=other[0],
        beside=other[1],
        never=rate and not (start or plain or tilted),
    )


def _control(values: Paired, resampler: Resampler, used: Bools, ends: Ends) -> tuple[Interval | None, Beside | None]:
    """The level of the control run, and what unrelated sentences do by themselves."""
    sides = {"start": values.start, "plain": values.plain, "control": values.control, "tilted": values.tilted}
    if values.control is None:
        return None, None
    mean = {name: float(side[used].mean()) for name, side in sides.items() if side is not None}
    draws = {name: resampler.means(side, used) for name, side in sides.items() if side is not None}

    def minus(one: str, other: str) -> Interval:
        return ends.difference(mean[one] - mean[other], draws[one] - draws[other])

    beside = Beside(shift=minus("control", "start"), beyond=minus("tilted", "control"))
    if "plain" in mean:
        made = minus("tilted", "plain")
        by_itself = mean["control"] - mean["plain"], draws["control"] - draws["plain"]
        share = _ratio(by_itself, (made.value, draws["tilted"] - draws["plain"]), made, ends)
        beside = beside.model_copy(update={"by_itself": ends.difference(*by_itself), "share": share})
    return ends.level(mean["control"], draws["control"]), beside


def _ratio(part: tuple[float, Array], whole: tuple[float, Array], known: Interval, ends: Ends) -> Interval | None:
    """part / whole, each a value with its draws; not defined when the whole, whose interval is `known`, may be zero."""
    if spans_zero(known):
        return None
    draws = np.divide(part[1], whole[1], out=np.full(len(whole[1]), np.nan), where=whole[1] != 0)
    return ends.ratio(part[0] / whole[0], draws, whole[0])


def judge(wanted: Wanted, found: Shifts) -> Judged:
    """The verdict on one signal. With a baseline the comparison is tilted against plain, else tilted against start."""
    if found.difference is None or found.shift_plain is None or found.draws_plain is None:
        return _judge_alone(wanted, found.shift_tilted)
    if wanted.verb == "keep" and found.never:
        return Judged("not measurable", "no rollout of any policy shows it: there is nothing here to be kept")
    if wanted.verb == "keep":
        return _judge_keep(wanted, found.difference, found.shift_plain)
    direction = _direction(wanted, found.shift_plain)
    asked = direction if wanted.verb == "amplify" else -direction
    if spans_zero(found.difference):
        if wanted.verb == "suppress" and spans_zero(found.shift_plain):
            return Judged("not measurable", "plain training does not measurably move it on these prompts")
        return Judged("no effect", "the interval of tilted minus plain holds zero")
    if found.difference.value * asked < 0:
        return Judged("wrong direction", "tilted differs from plain, against what the signal asks")
    rest = percentile(
        found.shift_tilted.value - wanted.share * found.shift_plain.value,
        found.draws_tilted - wanted.share * found.draws_plain,
    )
    return _judge_target(wanted.verb, rest, wanted.tolerance * abs(found.shift_plain.value), direction)


def _direction(wanted: Wanted, plain: Interval) -> int:
    if spans_zero(plain) or wanted.verb == "amplify":
        return wanted.direction
    return 1 if plain.value > 0 else -1


def _judge_target(verb: Verb, rest: Interval, band: float, direction: int) -> Judged:
    """`rest` is how far the tilted shift is from its target; positive in `direction` means too much is left."""
    if rest.low <= band and rest.high >= -band:
        verdict: Verdict = "suppressed" if verb == "suppress" else "amplified"
        return Judged(verdict, "away from plain, and its distance from the target is within tolerance and noise")
    beyond = rest.value * direction > 0
    if verb == "amplify":
        if beyond:
            return Judged("overshot", "beyond the target: more than was asked for")
        return Judged("partly amplified", "in the direction asked for, short of the target")
    if beyond:
        return Judged("partly suppressed", "in the direction asked for, short of the target")
    return Judged("overshot", "beyond the target, to the other side of it")


def _judge_keep(wanted: Wanted, difference: Interval, plain: Interval) -> Judged:
    band = wanted.tolerance * abs(plain.value)
    if difference.low > band or difference.high < -band:
        return Judged("moved", "tilted minus plain lies outside the tolerance")
    if difference.low >= -band and difference.high <= band:
        return Judged("kept", "tilted minus plain lies within the tolerance")
    return Judged("kept within noise", "no departure shows, but the interval is wider than the tolerance")


def _judge_alone(wanted: Wanted, shift: Interval) -> Judged:
    """Without a baseline only the shift from the start is known, not what plain training would have done."""
    if wanted.verb == "keep":
        return Judged("not measurable", "what plain training does is unknown without a baseline")
    toward = shift.value * wanted.direction
    if wanted.verb == "suppress":
        if spans_zero(shift):
            return Judged("not measurable", "it does not move, and without a baseline nobody knows if it would have")
        if toward > 0:
            return Judged("still taught", "tilted still moves the way the data pulls; no baseline to say from how far")
        return Judged("overshot", "tilted moves against the pull of the data")
    if spans_zero(shift):
        return Judged("no effect", "the interval of tilted minus start holds zero")
    if toward < 0:
        return Judged("wrong direction", "tilted moves away from what the signal asks")
    return Judged("amplified", "tilted minus start; no baseline to say how much of it plain training does")
