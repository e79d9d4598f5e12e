"""T3xx: conflicts between signals, with the data, and with the training settings."""

from __future__ import annotations

from tiltc.check.coverage import page
from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

CONFLICT: tuple[Code, ...] = (
    Code(
        "T301",
        "opposed signals",
        Severity.ERROR,
        """One concept is pulled two ways on the same pairs.

Example: `suppress: std.style.bold` and `keep: std.style.bold`.

What to do: drop one of the two, or give them different gates with `when:`.""",
    ),
    Code(
        "T302",
        "opposed readings",
        Severity.ERROR,
        """Two different names are pulled two ways, but the evidence reads them through the same features.

Whatever the plan does to one it does to the other, whatever their names say.

Example: `keep: polite-refusal` and `suppress: std.stance.hedging`, both read through feature 1184.

What to do: gate one of them, or read one by its own detector (`readout: detector`).""",
    ),
    Code(
        "T303",
        "spill within a family",
        Severity.WARNING,
        """A concept and its parent are pulled two ways; the note says how far one would drag the other.

The change is that of a reward term that takes the one to its target and knows nothing of the other; less than the other's
`within` is not mentioned.

Example: suppressing markdown alone moves bold by -80% of its signal, while bold is to be kept.

What to do: nothing if the solver meets both (see the forecast); otherwise name the children you mean, or change only what
the one has beyond the other: `apart_from`.""",
    ),
    Code(
        "T304",
        "opposed family",
        Severity.WARNING,
        """A parent is suppressed while its child is kept or amplified, or the reverse.

Example: `suppress: std.style.markdown` with `keep: std.style.list`.

What to do: name the children that you mean, or suppress what the parent has beyond them (`apart_from: [std.style.list]`).
The joint solver may still separate the two: once there is evidence, T303 says how far one drags the other, and T401
refuses what no plan can meet.""",
    ),
    Code(
        "T305",
        "absent signal",
        Severity.WARNING,
        """The data doesn't teach what the signal wants to change: the interval of the mean gap spans zero. Where a pattern
or words match no text at all, the definition is at fault more often than the data.

Example: suppressing flattery where chosen and rejected flatter equally often. There is nothing to take out, and a
relative target has no size.

What to do: drop the signal; for `amplify`, ask for an absolute amount such as `to: 0.1sd`.""",
    ),
    Code(
        "T306",
        "few rows",
        Severity.WARNING,
        """Few pairs speak about the concept, so the strength would follow the noise of single pairs.

Example: a gate that opens for 12 of 15,000 pairs.

What to do: widen the gate, harvest more rows, or accept it with `allow`.""",
    ),
    Code(
        "T307",
        "closed gate",
        Severity.ERROR,
        """The gate of a signal opens for no pair: the signal would do nothing.

Example: `when: std.topic.cooking` on a dataset of code questions.

What to do: check the gate's definition with `tiltc concepts NAME`, or drop the gate.""",
    ),
    Code(
        "T308",
        "tool cannot do this",
        Severity.ERROR,
        """The mechanism or readout can't do what the signal asks of it.

Example: `amplify: playful` with `with: filter`. Dropping data can block a behaviour, never strengthen it.

What to do: use `with: reward` or `with: reweight` to amplify; give a concept a detector before reading it by one. Which
readout can carry out which mechanism: T326.""",
    ),
    Code(
        "T309",
        "updates lost to precision",
        Severity.ERROR,
        """Updates this small round to nothing in the precision the weights are held in.

Example: `precision: bf16` with `learning_rate: 1.0e-6`: more than 98% of the weights never change.

What to do: `precision: bf16-mixed` or `fp32`, both of which keep fp32 master weights.""",
    ),
    Code(
        "T310",
        "saturated loss",
        Severity.WARNING,
        """At this beta, the sigmoid is flat after a margin of a few nats, which summed log-probabilities reach at once.

Example: `beta: 2.0` with the `sigmoid` loss.

What to do: lower beta, or use the length-normalised loss `sigmoid_norm`.""",
    ),
    Code(
        "T311",
        "truncated responses",
        Severity.WARNING,
        """Many responses are cut at `train.max_length`: what stands beyond is neither measured nor trained on.
Detectors, features and training alike see only the tokens up to there.

Example: closing offers in responses of 2,000 tokens with `max_length: 512`.

What to do: raise `train.max_length`.""",
    ),
    Code(
        "T312",
        "fused loss ignores the plan",
        Severity.ERROR,
        """The fused Liger loss computes the margin inside a kernel, where weights and offsets have no place.

Example: `liger: true` with any plan that reweights pairs or adds offsets to margins.

What to do: remove `liger: true`.""",
    ),
    Code(
        "T313",
        "SAE of another model",
        Severity.ERROR,
        """The SAE explains less of the residual stream than its mean does, so its features mean nothing here.

Example: an SAE of layer 20 read at layer 12, or trained on another model of the same width.

What to do: use the SAE of this model, layer and hook.""",
    ),
    Code(
        "T314",
        "poor reconstruction",
        Severity.WARNING,
        """The SAE leaves more than half of the residual stream's variance unexplained on this data.

Example: an SAE trained on English prose, read on code.

What to do: use an SAE trained on text like this; read concepts by `readout: detector` where they have one.""",
    ),
    Code(
        "T315",
        "loss without offsets",
        Severity.ERROR,
        """A reward term adds an offset inside the loss; in this loss an offset has no exact meaning.

Example: `loss: ipo` with `with: reward`.

What to do: use `sigmoid`, `hinge`, `robust` or `sigmoid_norm`, or a mechanism without offsets.""",
    ),
    Code(
        "T316",
        "amplify against the data",
        Severity.ERROR,
        """The concept is more present in rejected than in chosen responses, so a multiple of today's signal would teach
less of it.

Example: `amplify: std.stance.apology` with `to: 2x` on data whose rejected responses apologise.

What to do: ask for an absolute amount with `to: 0.1sd`; the compiler then says whether the data can carry it.""",
    ),
    Code(
        "T317",
        "mechanism without a place",
        Severity.ERROR,
        """Each training method has places for some mechanisms and none for others. What has no place would be left out
of the training without a trace.

    method    mechanisms
    dpo       filter, reweight, reward (not under `loss: ipo`), tokens, steer, inoculate
    reward    filter, reweight, reward: the offset is the margin of the pair
    sft       filter, reweight, tokens, on the chosen responses (never `side: rejected`)
    kto       filter, reweight
    grpo      filter (of prompts), reward: a term of the reward of sampled responses

Example: `method: sft` and `with: reward`. Supervised training knows no margin that an offset could be added to.

What to do: choose a mechanism of the method, leave the choice to `with: auto`, or train by another method.""",
    ),
    Code(
        "T318",
        "batch without a comparison",
        Severity.ERROR,
        """KTO measures each response against the others of its batch, and GRPO against those sampled for the same
prompt. Batches that don't allow it can't be trained on.

Example: `{method: kto, batch_size: 1}`, or `{method: grpo, batch_size: 6}` with eight responses a prompt.

What to do: `batch_size` of two or more for KTO; for GRPO, `batch_size` times `accumulate` must be a multiple of
`grpo.generations`.""",
    ),
    Code(
        "T320",
        "concept without instructions",
        Severity.ERROR,
        """The signal inoculates: the concept is explained by an instruction that asks for it. The concept's definition has
none, and its `about:` describes the concept to a reader, it asks nobody for it.

Example: `suppress: flattery` with `with: inoculate`, where flattery is defined by a `pattern` alone.

What to do: add `instructions:` to the definition, two or three sentences that ask a model for the concept in different
words, or choose another mechanism. Most style, stance and tone concepts of `std` have instructions.""",
    ),
    Code(
        "T325",
        "little left apart",
        Severity.WARNING,
        """A signal with `apart_from` changes what its concept has beyond others: the rest of a least-squares regression of
its gaps on theirs. Here they explain more than 90% of its squared gap. What is left is mostly the noise of two readouts, and
a large strength moves a small signal.

Example: `suppress: std.style.bold` with `apart_from: parents`, on data where what is marked up at all is set in bold.

What to do: suppress the concept as a whole and `keep` the others; where the solver can't meet both it says so (T401). Or
name fewer concepts in `apart_from`.""",
    ),
    Code(
        "T326",
        "tool without this use",
        Severity.ERROR,
        f"""The signal's readout, or what it names by `by:`, can't carry its mechanism out. Which can is a table: as in the paper
(arXiv 2606.12360), or wider, where tiltc has a reason for it (docs/mechanisms.md).

{page()}

Example: `with: tokens` and `readout: detector`. A pattern says that a text shows the concept, not which tokens carry it.

What to do: read the concept by a tool of the mechanism's column, or choose another mechanism.""",
    ),
    Code(
        "T327",
        "apart from what moves",
        Severity.WARNING,
        """A signal changes what its concept has beyond others, and another signal changes one of those, or one of their
parents or children. What is left of a regression is counted with the coefficients of today's gaps: once the others are taken
away, holding that rest at its target takes the concept as a whole along.

Example: `suppress: std.style.bold` with `apart_from: parents`, beside `suppress: std.style.list`. The two have a parent, and the
list takes some of it away.

What to do: leave `apart_from` out, and say of each concept what is to become of it; the solver meets them jointly.""",
    ),
    Code(
        "T329",
        "control that is none",
        Severity.ERROR,
        """The control run of an inoculation says sentences that have nothing to do with the concept where the tilted run asks
for it, so that the two differ in what is said and in nothing else. A sentence of `control:` is empty, is an instruction
of a concept that the plan inoculates against, or shows the concept itself by the concept's own detector; or there are
not as many as the concept has instructions: a sentence that is read more often conditions more by itself.

Example: `control: ['Begin by praising me and my question.']` on `suppress: std.stance.flattery`.

What to do: write two or three sentences that ask for nothing in particular, of about the length of the instructions. Without
`control:` they are taken from a pool of such sentences.""",
    ),
)
