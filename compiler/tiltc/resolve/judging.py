"""What the evidence says about a fitted concept: rates, preference, status."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from tiltc import detectors
from tiltc.fit import measure_scores, rounded
from tiltc.groups import group_score
from tiltc.plan import Detection, PlanConcept, Preference, Projection, Status
from tiltc.resolve.fitting import Fitted, contrast_of, sampled_of
from tiltc.resolve.world import World, detector_scores, gap
from tiltc.resolved import Measured
from tiltc.spec import Readout
from tiltc.stats import benjamini_hochberg, length_controlled_effect, mean_effect

if TYPE_CHECKING:
    from tiltc.parse import Definition
    from tiltc.resolve.tools import TokenReader, VectorReadings

Array = npt.NDArray[np.float64]

#: two unrelated groups are rivals when the second's AUROC comes this close and their gaps correlate less than that
RIVAL_WITHIN, RIVAL_UNRELATED = 0.01, 0.3
#: false discovery rate at which a preference counts as a signal
Q_SIGNAL = 0.05


def measured(
    world: World,
    definition: Definition,
    role: Literal["declared", "library"],
    readout: Readout,
    fitted: Fitted,
    readings: VectorReadings | None = None,
    reader: TokenReader | None = None,
) -> Measured:
    """A concept with its evidence. `readings` are those of its `reader`, where it has one."""
    concept = definition.concept
    raw = detector_scores(world, definition) if detectors.has_detector(concept) else None
    mean, sd = _moments(raw, world)
    if readings is not None:
        scores = readings.responses()
    elif readout == "detector" or fitted.group is None:
        scores = ((raw if raw is not None else np.zeros(len(world.both))) - mean) / sd
    else:
        scores = group_score(fitted.group, world.responses)
    sampled = sampled_of(world, definition)
    rates = _rates(raw, world) if raw is not None and concept.surface != "length" else (None, None)
    plan = PlanConcept(
        name=definition.name,
        role=role,
        definition=concept.model_copy(update={"meta": None}),
        status=_status(fitted, world, readout),
        readout=readout,
        group=fitted.group,
        projection=None
        if readings is None or reader is None
        else Projection(
            key=f"{definition.name}.{readout}", objective=reader.objective, mean=readings.mean, sd=readings.sd
        ),
        detector_mean=mean,
        detector_sd=sd,
        detection=fitted.detection if reader is None else _as_read(world, fitted, readout, reader, scores, raw),
        preference=_preference(gap(world, scores), world, rates),
        contrast=contrast_of(world, definition),
        unfiltered=sampled is not None and sampled.unfiltered,
    )
    beside = role == "declared" and readout != "detector" and concept.surface != "length"
    defined = gap(world, raw) if beside and raw is not None else None
    return Measured(plan, gap(world, scores), reader=reader, defined=defined)


def _as_read(
    world: World, fitted: Fitted, readout: Readout, reader: TokenReader, scores: Array, raw: Array | None
) -> tuple[Detection, ...]:
    """All tools' held-out AUROC; that of the one in use as it is used, by the largest token and not by the mean, where the
    data has labels."""
    mine = reader.detection
    both, half = world.both, np.concatenate([world.pairs.half, world.pairs.half])
    held = both & ~half
    label = raw[held] > 0 if raw is not None else np.zeros(0, dtype=bool)
    if label.any() and not label.all():
        assert readout != "detector", "it reads no tokens"
        mine = measure_scores(readout, scores[held], label)
    return tuple({d.tool: d for d in (*fitted.detection, *([mine] if mine else []))}.values())


def _moments(raw: Array | None, world: World) -> tuple[float, float]:
    """Mean and sd of the detector readout over both responses of the usable pairs."""
    if raw is None:
        return 0.0, 1.0
    inside = raw[world.both]
    return float(f"{inside.mean():.7g}"), float(f"{max(inside.std(), 1e-6):.7g}")


def _rates(raw: Array, world: World) -> tuple[float, float]:
    """Share of chosen and of rejected responses in which the concept is present; of single ones, of wanted and unwanted."""
    n, usable = len(world.prompts), world.pairs.usable
    statuses = np.array(world.evidence.table.column("status").to_pylist())
    chosen, rejected = raw[:n][usable & (statuses != "unwanted")], raw[n:][usable & (statuses != "single")]
    first, second = (float(f"{side.mean():.6g}") if len(side) else 0.0 for side in (chosen, rejected))
    return first, second


def _status(fitted: Fitted, world: World, readout: str) -> Status:
    """Ambiguous when an unrelated second group detects the concept as well as the first and reads other pairs."""
    sae = next((d for d in fitted.detection if d.tool == "sae"), None)
    if readout != "sae" or sae is None or fitted.rival is None or fitted.group is None:
        return "resolved"
    if fitted.rival_auroc < sae.auroc.value - RIVAL_WITHIN:
        return "resolved"
    first, second = (gap(world, group_score(g, world.responses)) for g in (fitted.group, fitted.rival))
    together = float(np.corrcoef(first, second)[0, 1]) if first.any() and second.any() else 0.0
    return "ambiguous" if together < RIVAL_UNRELATED else "resolved"


def _preference(gap: Array, world: World, rates: tuple[float | None, float | None]) -> Preference:
    usable, pairs = world.pairs.usable, world.pairs
    cluster = pairs.usable_cluster
    effect = mean_effect(gap[usable], cluster)
    controlled = length_controlled_effect(gap[usable], pairs.length_gap[usable], cluster)
    first, second = (gap[usable & side].mean() if (usable & side).any() else 0.0 for side in (pairs.half, ~pairs.half))
    return Preference(
        effect=rounded(effect.interval),
        effect_length_controlled=rounded(controlled.interval),
        p=float(f"{effect.p:.6g}"),
        q=1.0,
        split_half_agrees=bool(first * second > 0),
        chosen_rate=rates[0],
        rejected_rate=rates[1],
    )


def judge(declared: list[Measured], library: tuple[Measured, ...], groups: Array, world: World) -> list[Measured]:
    """q over everything tested, and the status that follows from it."""
    usable = world.pairs.usable
    cluster = world.pairs.usable_cluster
    tested = [*declared, *library]
    p = [m.plan.preference.p for m in tested if m.plan.preference] + [
        mean_effect(g[usable], cluster).p for g in groups.T
    ]
    q = benjamini_hochberg(np.array(p))
    out: list[Measured] = []
    for measured, value in zip(tested, q, strict=False):
        plan = measured.plan
        assert plan.preference is not None
        preference = plan.preference.model_copy(update={"q": float(f"{value:.6g}")})
        status: Status = plan.status if plan.status == "ambiguous" else "resolved" if value < Q_SIGNAL else "weak"
        judged = plan.model_copy(update={"preference": preference, "status": status})
        out.append(dataclasses.replace(measured, plan=judged))
    return out
