"""T4xx: solve and budget."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

SOLVING: tuple[Code, ...] = (
    Code(
        "T401",
        "infeasible spec",
        Severity.ERROR,
        """No weights or offsets meet all the named constraints together; leaving out any one of them would do.

The evidence is a certificate of a linear program over all factors that the mechanism can give to a pair.

Example: `suppress: bold` and `keep: {markdown, within: 1%}` where the gaps of the two correlate at 0.97.

What to do: widen `within`, gate one of the signals, or ask for less with `to:`.""",
    ),
    Code(
        "T402",
        "drop budget exceeded",
        Severity.ERROR,
        """A filter would have to drop more rows than `budget.drop` allows.

Example: suppressing a concept that half of the pairs carry by `with: filter` under `drop: 5%`.

What to do: use `with: reward`, ask for less with `to:`, or raise the budget.""",
    ),
    Code(
        "T403",
        "effective sample below budget",
        Severity.ERROR,
        """The plan would lean on so few pairs that the effective sample falls below `budget.effective_sample`.

Example: suppressing a concept of which nine in ten pairs carry more in chosen.

What to do: widen tolerances, ask for less, or lower the budget knowingly.""",
    ),
    Code(
        "T404",
        "one-sided concept",
        Severity.ERROR,
        """Every pair that differs in the concept differs in the same direction, so weights can't balance it.

Example: emoji only ever in chosen. A tilt would have to ignore all of those pairs.

What to do: `with: filter`, or a larger share with `to:`.""",
    ),
    Code(
        "T406",
        "saturated offsets",
        Severity.WARNING,
        """Some offsets are so large that these pairs teach nothing, or nothing else can outweigh them.

Example: an offset of 9 leaves 0.01% of a pair's gradient.

What to do: ask for less, or drop those rows with `with: filter`.""",
    ),
    Code(
        "T407",
        "strength misses its target",
        Severity.WARNING,
        """A strength given by hand, or a forward form, which has none, doesn't take the signal where it is wanted.

Example: `strength: 0.2` leaves 70% of a signal that is to be suppressed; or `form: forward` leaves 80%, by what it amounts
to at the first step. Training under a forward form goes on to something that no forecast sees: where it was measured,
inoculation undid half of what its first step would have left whole.

What to do: remove `strength` or `form` and let the compiler solve for it, say with `to:` what is wanted, or accept it
with `allow`.""",
    ),
    Code(
        "T408",
        "masks leave a rest",
        Severity.ERROR,
        """Every token that reaches the threshold is masked, and what is left of the responses still differs in the concept;
or a concept that is to be kept stood on the same tokens.

A mask has no strength. A concept that lies in single words is gone with them, one that colours a whole text is not.

Example: `with: tokens` for a formal tone: its words are masked, its sentences still read as formal.

What to do: `unit: span`, which masks whole sentences, or a smaller unit where the masks take too much; both sides, where `side`
names one; a larger `within`; or a mechanism that is solved for.""",
    ),
    Code(
        "T409",
        "readout and definition disagree",
        Severity.WARNING,
        """A concept has a detector (`pattern`, `words`, `surface`) and is read by something else. The plan meets the signal by
the readout; by the detector another share of it is left, more than 10% of today's signal away and more than chance allows.

Readouts have gaps on pairs that do not differ in the concept at all. Where these lean to rejected, the solver can weigh
them against the pairs that do: the mean of the gaps is then where it is wanted, and the concept is taught all the same.
This shows most where a concept is in chosen responses alone.

Example: `suppress: goblins` leaves 5% by its readout, 43% by its own detector.

What to do: `readout: detector` solves for what the detector sees, with `filter`, `reweight` or `reward`; masks and vectors need to
see tokens, which a detector does not. `allow` it where the
detector is the worse judge, as a handful of words is for a tone.""",
    ),
)
