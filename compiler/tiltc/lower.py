"""Lower: the solved spec as a plan and its rows."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tiltc.canonical import sha256_text
from tiltc.choose import Solved
from tiltc.controls import control_texts
from tiltc.datafile import data_sha256
from tiltc.evidence import local_path
from tiltc.forecast import forecast
from tiltc.plan import Action, Allowed, Control, Finding, Pins, Plan, PlanConcept, Spend, Steering
from tiltc.planfile import row_table, sealed
from tiltc.protocols import Decision
from tiltc.resolve.pulls import steering_tool
from tiltc.solve import effective_sample

if TYPE_CHECKING:
    import pyarrow as pa

    from tiltc.evidence import Manifest
    from tiltc.parse import SpecFile
    from tiltc.resolved import Pull, ResolvedSignal
    from tiltc.spec import Side

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: weights and offsets are written to this many significant digits: beyond them lie the last bits of a BLAS
DIGITS = 9


class Compiled(NamedTuple):
    """A plan, its `rows.parquet` table, and the vectors of its `tools.safetensors` by key; digests filled in."""

    plan: Plan
    rows: pa.Table
    tools: dict[str, Array]


def lower(
    spec_file: SpecFile,
    solved: Solved,
    manifest: Manifest,
    allowed: tuple[Allowed, ...],
    findings: tuple[Finding, ...] = (),
) -> Compiled:
    """The solved spec in the form that is written."""
    rows, tools = _rows(solved), _tools(solved)
    spec = spec_file.spec
    concepts = _concepts(solved)
    plan = Plan(
        compiler=version("tiltc"),
        name=spec.name,
        model=spec.model,
        sae=spec.sae,
        data=spec.data,
        train=spec.train,
        verify=spec.verify,
        budget=spec.budget,
        pins=_pins(spec_file, manifest, concepts),
        overrides=dict(sorted(spec_file.overrides.items())),
        signals=spec.signals,
        concepts=concepts,
        discovered=solved.checked.resolved.discovered,
        prompts=_prompts(solved),
        steering=_steering(solved),
        controls=_controls(solved),
        # a signal whose mechanism turned out to have nothing to do has none
        actions=tuple(_action(d) for d in solved.decisions if d.strength or d.rows.any()),
        forecast=forecast(solved),
        spend=_spend(solved),
        findings=findings,
        allowed=allowed,
    )
    return Compiled(sealed(plan, rows, tools), rows, tools)


def _forward(solved: Solved) -> list[tuple[ResolvedSignal, Pull, Bools]]:
    """Signals that are carried out by a forward form, with the rows on which the policy is intervened on."""
    signals = solved.checked.resolved.signals
    return [(s, s.pull, solved.forward[s.index]) for s in signals if s.pull is not None and s.index in solved.forward]


def _prompts(solved: Solved) -> tuple[str, ...]:
    """The instructions of all signals, each signal's in a row."""
    return tuple(prompt for _, pull, _ in _forward(solved) for prompt in pull.prompts)


def _controls(solved: Solved) -> tuple[Control, ...]:
    """What stands in for each of the instructions in the control run, in their order."""
    out: list[Control] = []
    for signal, pull, _ in _forward(solved):
        own: tuple[str, ...] = getattr(signal.ask, "control", None) or ()
        texts = control_texts(pull.prompts, own, [control.text for control in out])
        out += [Control(signal=f"{signal.verb}: {signal.label}", text=text) for text in texts]
    return tuple(out)


def _steering(solved: Solved) -> tuple[Steering, ...]:
    return tuple(
        Steering(
            concept=signal.concept.plan.name,
            tool="reft" if pull.adapter is not None else steering_tool(signal.ask),
            key=_steering_key(signal),
            layer=pull.layer,
            size=pull.size,
            ends=pull.ends,
        )
        for signal, pull, _ in _forward(solved)
        if pull.steers
    )


def _steering_key(signal: ResolvedSignal) -> str:
    return f"{signal.concept.plan.name}.steer.{signal.index}"


def _tools(solved: Solved) -> dict[str, Array]:
    """The vectors and probes that the plan reads concepts by, and the vectors and adapters that it steers with."""
    resolved = solved.checked.resolved
    read = {
        s.concept.plan.projection.key: s.concept.reader.tensor
        for s in resolved.signals
        if s.concept.plan.projection is not None and s.concept.reader is not None
    }
    steered = {_steering_key(s): pull.tensor for s, pull, _ in _forward(solved) if pull.steers}
    return read | steered


def _interventions(solved: Solved) -> dict[str, Any]:
    """Columns of the forward forms. A row takes its paraphrase by its id, so that others may come and go around it."""
    ids = solved.checked.resolved.pairs.row_ids
    prompt = [-1] * len(ids)
    steered: dict[Side, list[list[int]]] = {"chosen": [[] for _ in ids], "rejected": [[] for _ in ids]}
    first, number = 0, 0
    for _, pull, rows in _forward(solved):
        for i in np.flatnonzero(rows):
            if pull.prompts:
                prompt[i] = first + int(sha256_text(ids[i])[:8], 16) % len(pull.prompts)
            else:
                steered[pull.side][i].append(number)
        first += len(pull.prompts)
        number += pull.steers
    return {"chosen_prompt": prompt, "chosen_steered": steered["chosen"], "rejected_steered": steered["rejected"]}


def _pins(spec_file: SpecFile, manifest: Manifest, concepts: tuple[PlanConcept, ...]) -> Pins:
    return Pins(
        spec=spec_file.digest,
        evidence=manifest.digest,
        model=manifest.model,
        sae=manifest.sae,
        data=manifest.data,
        template=manifest.template,
        tokenizer=manifest.tokenizer,
        max_length=manifest.max_length,
        contrasts={c.name: c.contrast for c in concepts if c.contrast},
        prompts=_prompts_pin(spec_file),
        rows="",  # filled in by `sealed`
    )


def _prompts_pin(spec_file: SpecFile) -> str:
    file = local_path(spec_file.spec.verify.prompts, spec_file.folder)
    return data_sha256(file) if file is not None and (file.is_file() or file.is_dir()) else ""


def _concepts(solved: Solved) -> tuple[PlanConcept, ...]:
    resolved = solved.checked.resolved
    declared = {s.concept.plan.name: s.concept.plan for s in resolved.signals}
    gates = {g.plan.name: g.plan for g in resolved.gates}
    library = {m.plan.name: m.plan for m in resolved.library}
    return (*declared.values(), *gates.values(), *library.values())


def _action(decision: Decision) -> Action:
    signal = decision.band.signal
    said = signal.pull.said if decision.mechanism == "steer" and signal.pull is not None else ""
    side: Side | None = getattr(signal.ask, "side", None) if decision.mechanism in ("tokens", "steer") else None
    parts = (decision.because, f"in {side} responses alone" if side else "", said)
    return Action(
        mechanism=decision.mechanism,
        signal=f"{signal.verb}: {signal.label}",
        concept=signal.concept.plan.name,
        strength=_digits(decision.strength),
        rows_touched=int(decision.rows.sum()),
        because="; ".join(part for part in parts if part),
    )


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _rows(solved: Solved) -> pa.Table:
    weight = (
        np.where(solved.keep, solved.weight / solved.weight[solved.keep].mean(), 0.0)
        if solved.keep.any()
        else solved.weight
    )
    return row_table(
        {
            "row_id": solved.checked.resolved.pairs.row_ids,
            "keep": solved.keep,
            "weight": [_digits(w) for w in weight],
            "margin_offset": [_digits(o) for o in solved.offset],
            **_masks(solved),
            **_interventions(solved),
            "reason": _reasons(solved),
        }
    )


def _masks(solved: Solved) -> dict[str, list[list[int]]]:
    masking = solved.checked.resolved.masking
    if masking is None:
        return {}
    sides = {"chosen_masked": masking.chosen, "rejected_masked": masking.rejected}
    return {
        name: [tokens.tolist() if on else [] for tokens, on in zip(side, solved.masked, strict=True)]
        for name, side in sides.items()
    }


def _reasons(solved: Solved) -> list[str]:
    said: list[list[str]] = [[] if ok else ["not usable"] for ok in solved.checked.resolved.pairs.usable]
    for decision in solved.decisions:
        what = f"{decision.mechanism} {decision.band.signal.label}"
        for row in np.flatnonzero(decision.rows):
            said[row].append(what)
    return ["; ".join(s) for s in said]


def _spend(solved: Solved) -> Spend:
    base = solved.keep * solved.weight
    return Spend(
        rows=len(solved.keep),
        kept=int(solved.keep.sum()),
        unusable=int((~solved.checked.resolved.pairs.usable).sum()),
        effective_sample=_digits(effective_sample(1 - np.tanh(0.5 * (solved.offset + solved.implied)), base)),
        largest_weight=_digits(float(base.max(initial=0.0))),
        largest_offset=_digits(float(np.abs(solved.offset).max(initial=0.0))),
    )
