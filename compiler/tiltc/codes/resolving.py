"""T2xx: resolving names."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

RESOLVING: tuple[Code, ...] = (
    Code(
        "T201",
        "unresolved concept",
        Severity.ERROR,
        """Nothing in the evidence detects the concept, so there is nothing to suppress, keep or amplify.

A name is resolved by evidence only: texts that show the concept and texts that don't, and SAE features that tell them
apart on rows they were not chosen on. A name without such evidence is never guessed.

Example: `suppress: std.tone.poetic` on a dataset of unit conversions.

The same holds for a vector or probe that was asked for (`readout: direction`): it must tell held-out texts apart, the lower end
of its AUROC's interval at 0.60 or more, or else the plan would be solved for noise.

What to do: check the definition with `tiltc concepts NAME`; give the concept a contrast set (`examples: FILE`, at least
20 rows with and 20 without); or harvest data in which it occurs.""",
    ),
    Code(
        "T202",
        "ambiguous concept",
        Severity.WARNING,
        """Two groups of features that have nothing to do with each other detect the concept equally well.

The first is used. Which of the two the name means is a question about the name, not about the data.

Example: `words: [bank]` is detected by features of money and by features of rivers.

What to do: narrow the definition, or pin the features you mean with `features: [..]`.""",
    ),
    Code(
        "T203",
        "poor SAE reading",
        Severity.WARNING,
        """The SAE group reads the concept clearly worse than a plain difference of means on the same rows.

The gap of each pair is read through the group, so the plan would act on a blurred picture of the concept.

Example: held-out AUROC 0.81 for the group, 0.97 for the direction.

What to do: read the concept by its own detector (`readout: detector`), use a larger SAE, or accept it with `allow`.""",
    ),
    Code(
        "T204",
        "definition not supported",
        Severity.ERROR,
        """The concept's kind of definition is part of the language, but this version can't turn it into evidence. `tiltc lint`
says so too: no data and no model would help.

Example: `label:` needs feature labels, which the SAE doesn't have.

What to do: define the concept by `pattern`, `words`, `surface`, `examples` or `contrast`.""",
    ),
    Code(
        "T206",
        "silent features",
        Severity.ERROR,
        """None of the pinned features fires on this data, or their ids lie outside of the SAE.

Example: `features: [70000]` with an SAE of 4,096 features.

What to do: pin ids that `tiltc show` or an audit reports, or define the concept by what it looks like in text.""",
    ),
    Code(
        "T207",
        "gate without detector",
        Severity.ERROR,
        """A gate decides per prompt, so its concept needs a detector.

Example: `when: my-topic` where `my-topic` is defined by `examples`.

What to do: define the gate by `pattern` or `words` with `reads: prompt`.""",
    ),
    Code(
        "T208",
        "pattern too slow",
        Severity.ERROR,
        """A regular expression ran for too long on one text of the dataset, so its answer is not known.

Example: `(a+)+$` on a long run of the letter a.

What to do: avoid nested repetition; anchor the pattern; use `words` for plain lists.""",
    ),
    Code(
        "T210",
        "nothing to learn from",
        Severity.ERROR,
        """Fewer than two prompts have a pair of two different, nonempty responses that fit `train.max_length`, so there is
nothing to measure and no error to estimate.

Example: a dataset in which every chosen response equals the rejected one.

What to do: check the data (`tiltc harvest` counts the rows it can't use, by reason), or raise `train.max_length`.""",
    ),
    Code(
        "T211",
        "partly silent features",
        Severity.WARNING,
        """Some of the pinned features never fire on this data, or the SAE doesn't have them. The concept is read through the
others alone, which may not be what the name means.

Example: `features: [3, 99999]` with an SAE of 4,096 features.

What to do: remove the ids that are of no use, or check that they were pinned for this SAE.""",
    ),
    Code(
        "T209",
        "contrast set not harvested",
        Severity.ERROR,
        """The evidence was harvested before this contrast set existed, or the definition changed since: the file of
`examples:`, or a system prompt, the questions, a setting, the judge or the filter of a `contrast:`.

Example: a row was added to `playful.jsonl` after `tiltc harvest`.

What to do: run `tiltc harvest SPEC` again; only the contrast set is read, the pairs are not. Answers under system prompts
that did not change are not sampled again.""",
    ),
    Code(
        "T212",
        "unknown audit cluster",
        Severity.ERROR,
        """The concept is defined by a cluster of an audit, and an audit of this evidence does not find that cluster.

A cluster's id is the hash of its features. Other data, another SAE, or another version of tiltc make other clusters,
and then the id means nothing here: it is refused, never matched to something similar.

Example: `audit: g-1f0c9a62b3d4` from an audit of 2,000 rows, compiled against evidence of 15,000 rows.

What to do: run `tiltc audit` on the evidence that the spec compiles against and copy the id from there; or pin the
features themselves with `features: [..]`.""",
    ),
    Code(
        "T213",
        "second pass missing",
        Severity.ERROR,
        """The signal needs more than what whole responses show, and the evidence does not have it yet.

What a token mask hides, and what a vector or an attention probe reads, is known once the data has been read: `tiltc
harvest` then fits attention probes and goes over the responses a second time. `steer` and `inoculate` need the
likelihood of every response under the concept's direction, adapter or instructions, which is a pass of the whole model;
an adapter (`by: reft`) is fitted before.

Example: `with: tokens` was added to a spec after its data had been harvested.

What to do: run `tiltc harvest` on the spec again. Only what is missing is computed.""",
    ),
    Code(
        "T214",
        "no vector",
        Severity.ERROR,
        """The signal is read by a direction or a probe, or steered by a ReFT adapter, and there are too few labelled texts to fit
one.

All are fitted on one half of the texts that show the concept and of those that don't, and measured on the other; an adapter
is fitted to those alone that show it.

Example: `readout: probe` for a concept that is defined by `features:`.

What to do: leave `readout` or `by` out, or define the concept by `pattern`, `words`, `surface` or `examples`.""",
    ),
    Code(
        "T215",
        "no token threshold",
        Severity.ERROR,
        """A token mask needs a score from which on a token shows the concept, and nothing says which.

The threshold is the one with the best F1 between responses that show the concept and responses that don't. A contrast
set has means over whole responses for vectors, and no tokens to set a threshold on.

Example: `with: tokens` and `readout: direction` for a concept defined by `examples:` or `contrast:`.

What to do: leave `readout` out, so that the SAE's features are used; or define the concept by a detector.""",
    ),
    Code(
        "T216",
        "adapter without effect",
        Severity.WARNING,
        """A signal is steered by a ReFT adapter (`by: reft`), and on texts that it was not fitted to the adapter does nothing for
the concept: those that show it become no likelier, or no more so than those that don't.

An offset from such likelihoods is about something else than the concept: how long a response is, or how much it is like the
data. Whether the concept reaches its target all the same is solved for and forecast as always (T401, T407).

Example: held-out texts with the concept gain +0.002 nats a token (-0.004 to +0.008), -0.001 (-0.006 to +0.004) more than others.

What to do: leave `by` out; or fit it to more texts, or to texts that show the concept more plainly, as a contrast set.""",
    ),
    Code(
        "T217",
        "contrast without its filter",
        Severity.WARNING,
        """The concept is read from the starting model's answers under contrasted system prompts. Fewer than 20 of a side passed
the definition's filter, which is too few to fit anything to, so that all were kept that have any text. Answers that refuse, or
that don't show what their system prompt asked for, then stand for the concept too: what is read may be another thing.

Example: `contrast: {positive: Be rude., negative: Be polite., kept_by: insult}` with a model that insults nobody.

What to do: read some of the answers, in `sampled/` of the evidence folder. Ask for the concept more plainly, or more questions
(`questions:`); or filter less (`kept_by`, `judge`, `drop_refusals`). A model that can't be told to show a concept gives no
contrast: define it by `examples:`.""",
    ),
)
