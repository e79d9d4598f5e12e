"""What resolving has to say about names: unresolved, ambiguous, poorly read."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from tiltc import detectors
from tiltc.diagnostics import Diagnostics, Label, Span
from tiltc.evidence.surviving import FEWEST
from tiltc.figures import interval
from tiltc.plan import Detection, Interval
from tiltc.resolve.fitting import CONTRASTED, Fitted
from tiltc.resolved import ResolvedSignal
from tiltc.stats import Effect

if TYPE_CHECKING:
    from tiltc.evidence import SampledManifest
    from tiltc.parse import Definition, SpecFile

#: a concept counts as detected when the lower end of its held-out AUROC reaches this
LEAST_AUROC = 0.60
#: the SAE group is clearly worse than the direction when it is lower by more than this and the intervals don't touch
CLEARLY_WORSE = 0.02


def report_unresolved(spec_file: SpecFile, name: str, fitted: Fitted, at: Span, found: Diagnostics) -> None:
    notes = [f"{fitted.positives} of {fitted.texts} texts show it"]
    sae = next((d for d in fitted.detection if d.tool == "sae"), None)
    if sae is not None:
        notes.append(f"best group: held-out AUROC {_show(sae.auroc)}; needed: lower end of at least {LEAST_AUROC:.2f}")
    elif spec_file.library[name].concept.kind == "features":
        found.add("T206", at, f"none of the features of `{name}` fires on this data", notes=notes)
        return
    else:
        notes.append("at least 10 with and 10 without are needed in each half of the data")
    near = difflib.get_close_matches(name, [n for n in spec_file.library if n != name], 3, 0.5)
    own = spec_file.library[name].concept.kind in CONTRASTED
    helps = [
        "read it as a vector: `readout: direction`" if own else "give the concept a contrast set: `examples: FILE`"
    ] + ([f"similar names: {', '.join(f'`{n}`' for n in near)}"] if near else [])
    definition = spec_file.library[name]
    text, labels = f"nothing in the evidence detects `{name}`", list[Label]()
    if definition.own and definition.concept.kind in ("pattern", "words") and not fitted.positives:
        text = f"the `{definition.concept.kind}` of `{name}` matches none of {fitted.texts:,} texts"
        written = spec_file.definition_at(name, definition.concept.kind)
        labels = [Label(written, "defined here")] if written else []
        notes, helps = notes[1:], ["try the definition on a text that should show it", *helps]
    found.add("T201", at, text, labels=labels, notes=notes, helps=helps)


def report_blind(definition: Definition, detection: Detection, at: Span, found: Diagnostics) -> None:
    """T201: a vector or attention probe that was asked for and doesn't tell held-out texts apart."""
    tool = TOOL_NAMES.get(detection.tool, detection.tool)
    notes = [
        f"held-out AUROC {_show(detection.auroc)}, {detection.positives} texts with it and {detection.negatives} without; "
        f"needed: lower end of at least {LEAST_AUROC:.2f}"
    ]
    helps = ["try another readout"]
    if definition.concept.kind == "contrast":
        helps = [
            "read some of the answers in `sampled/` of the evidence: does the model do what its system prompts say?",
            "give the concept a contrast set of other texts: `examples: FILE`",
        ]
    elif definition.concept.kind == "examples":
        helps.append("give more examples, or examples that differ in little but the concept")
    found.add("T201", at, f"the {tool} of `{definition.name}` does not detect it", notes=notes, helps=helps)


def report_lost_cluster(name: str, key: str, at: Span | None, found: Diagnostics) -> None:
    """T212: an id names features by their hash, so there is no nearest one to offer."""
    helps = ["run `tiltc audit` on the evidence that this spec compiles against, and copy the id from there"]
    found.add("T212", at, f"`{name}` names cluster {key}, which an audit of this evidence does not find", helps=helps)


def report_unread(name: str, at: Span, found: Diagnostics) -> None:
    """T213: single tokens and likelihoods need a second pass, once it is known what to read."""
    text = f"the evidence lacks what this signal reads of `{name}` in a second pass"
    found.add("T213", at, text, helps=["run `tiltc harvest` on this spec again"])


#: readouts whose names say too little of what they are
TOOL_NAMES = {"probe-pairwise": "pairwise probe", "attention": "attention probe", "reft": "ReFT adapter"}


def report_no_vector(name: str, tool: str, at: Span, found: Diagnostics) -> None:
    notes = ["at least 10 texts with and 10 without are needed in each half, in the data or in a contrast set"]
    text = f"no {TOOL_NAMES.get(tool, tool)} can be fitted for `{name}`"
    found.add("T214", at, text, notes=notes, helps=["leave `by` out" if tool == "reft" else "leave `readout` out"])


def report_idle_adapter(name: str, own: Effect, more: Effect, at: Span, found: Diagnostics) -> None:
    """T216: an adapter that makes texts with the concept no likelier, or all texts alike."""
    if own.interval.low > 0 and more.interval.low > 0:
        return
    idle = "texts that show it no likelier" if own.interval.low <= 0 else "all texts likelier alike"
    found.add(
        "T216",
        at,
        f"the adapter of `{name}` makes {idle}",
        notes=[
            f"held-out texts with the concept gain {interval(own.interval)} nats a token, {interval(more.interval)} more than"
            " others"
        ],
        helps=["leave `by` out: the concept's direction needs no training", "give it more texts, in a contrast set"],
    )


def report_no_layer(name: str, at: Span, found: Diagnostics) -> None:
    text = f"`{name}` can't be steered: the SAE reads what enters the first layer, which no layer puts out"
    found.add("T214", at, text, helps=["leave `form` out: the residual form steers there"])


def report_no_threshold(name: str, at: Span, found: Diagnostics) -> None:
    notes = ["a threshold is the one with the best F1 over texts of the data that show the concept or don't"]
    helps = ["define the concept by `pattern`, `words` or `surface`, or leave `readout` out"]
    found.add("T215", at, f"there is no threshold from which on a token shows `{name}`", notes=notes, helps=helps)


def report_silent(name: str, fitted: Fitted, at: Span, found: Diagnostics) -> None:
    """T211: some of the pinned features, but not all, are of no use."""
    if fitted.silent and fitted.group is not None:
        listed = ", ".join(map(str, fitted.silent[:8])) + (" ..." if len(fitted.silent) > 8 else "")
        found.add(
            "T211",
            at,
            f"{len(fitted.silent)} of the features of `{name}` never fire here: {listed}",
            notes=[f"read through the others: {', '.join(str(m.feature) for m in fitted.group.members)}"],
            helps=["remove them from `features:`, or check which SAE they were pinned for"],
        )


def report_unfiltered(
    spec_file: SpecFile, name: str, sampled: SampledManifest | None, at: Span, found: Diagnostics
) -> None:
    """T217: too few answers passed the filter of a `contrast`, so that the concept is read from all of them."""
    asked = spec_file.library[name].concept.contrast
    if sampled is None or not sampled.unfiltered or asked is None:
        return
    filters = ["refusals are left out"] if asked.drop_refusals else []
    filters += [f"`{asked.kept_by}` must agree"] if asked.kept_by else []
    filters += [f"`{asked.judge.model}` judges"] if asked.judge else []
    found.add(
        "T217",
        spec_file.definition_at(name, "contrast") or at,
        f"the answers that `{name}` is read from were not filtered",
        notes=[
            f"fewer than {FEWEST} of a side pass: {', '.join(filters)}",
            f"so {sampled.positives} positive and {sampled.negatives} negative answers stand for it, whatever they show",
        ],
        helps=[
            "read some: `tiltc harvest` keeps them in `sampled/`",
            "ask more plainly, ask more questions, or filter less",
        ],
    )


def report_readings(spec_file: SpecFile, signals: tuple[ResolvedSignal, ...], found: Diagnostics) -> None:
    for signal in signals:
        plan = signal.concept.plan
        tools = {d.tool: d for d in plan.detection}
        at = spec_file.at(("signals", signal.index, signal.verb))
        if plan.status == "ambiguous":
            features = ", ".join(str(m.feature) for m in plan.group.members) if plan.group else "none"
            found.add(
                "T202",
                at,
                f"two unrelated groups detect `{plan.name}` equally well",
                notes=[f"the first was taken: features {features}", f"held-out AUROC: {_show(tools['sae'].auroc)}"],
                helps=["define the concept more narrowly", "pin the features you mean: `features: [..]`"],
            )
        if plan.readout == "sae" and "direction" in tools and _clearly_worse(tools["sae"], tools["direction"]):
            found.add(
                "T203",
                at,
                f"the SAE group of `{plan.name}` is a poor reading of it",
                notes=[f"held-out AUROC: {tool} {_show(d.auroc)}" for tool, d in tools.items()],
                helps=["read it by its own detector: `readout: detector`"]
                if detectors.has_detector(plan.definition)
                else [],
            )


def _clearly_worse(sae: Detection, direction: Detection) -> bool:
    return sae.auroc.value < direction.auroc.value - CLEARLY_WORSE and sae.auroc.high < direction.auroc.low


def _show(interval: Interval) -> str:
    return f"{interval.value:.3f} (95% {interval.low:.3f}-{interval.high:.3f})"
