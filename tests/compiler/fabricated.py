"""A small, realistic plan that no compiler made: 480 pairs, five concepts, a reward term. For what reads plans."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from tiltc.canonical import sha256_text
from tiltc.plan import (
    Action,
    Allowed,
    DataPin,
    Defined,
    Detection,
    Discovered,
    Finding,
    ForecastRow,
    Group,
    Interval,
    Member,
    ModelPin,
    Pins,
    Plan,
    PlanConcept,
    Preference,
    SaePin,
    Spend,
)
from tiltc.planfile import row_table, sealed
from tiltc.spec import Budget, Concept, Keep, Lora, Suppress, Train, Verify

if TYPE_CHECKING:
    import pyarrow as pa

PAIRS = 480
BOLD, LISTS, HEADING, CODE = "std.style.bold", "std.style.list", "std.style.heading", "std.style.code"
MARKUP = ("std.style.markdown",)


def around(value: float, half: float) -> Interval:
    return Interval(value=value, low=round(value - half, 6), high=round(value + half, 6))


def group(*members: tuple[int, float]) -> Group:
    """A group of (feature, weight), all with scale 4."""
    return Group(members=tuple(Member(feature=f, weight=w, scale=4.0) for f, w in members), mean=0.31, sd=0.22)


def detection(sae: float, direction: float, probe: float) -> tuple[Detection, ...]:
    tools: tuple[tuple[Any, float], ...] = (("sae", sae), ("direction", direction), ("probe", probe))
    return tuple(Detection(tool=t, auroc=around(a, 0.006), positives=128, negatives=352) for t, a in tools)


def preference(effect: float, chosen: float, rejected: float) -> Preference:
    return Preference(
        effect=around(effect, 0.1),
        effect_length_controlled=around(effect * 0.9, 0.11),
        p=0.0001,
        q=0.0004,
        split_half_agrees=True,
        chosen_rate=chosen,
        rejected_rate=rejected,
    )


def concepts() -> tuple[PlanConcept, ...]:
    """Two declared concepts, a gate and two of the library."""
    return (
        PlanConcept(
            name=BOLD, role="declared", status="resolved",
            definition=Concept(about="Bold text.", surface="bold", parents=MARKUP),
            readout="sae", group=group((812, 0.61), (77, 0.39)), detection=detection(0.991, 0.984, 0.993),
            preference=preference(0.42, 0.41, 0.12),
        ),
        PlanConcept(
            name=LISTS, role="declared", status="resolved",
            definition=Concept(about="Lists.", surface="list", parents=MARKUP),
            readout="sae", group=group((2048, 1.0)), detection=detection(0.987, 0.981, 0.990),
            preference=preference(0.20, 0.30, 0.21),
        ),
        PlanConcept(
            name="creative", role="gate", definition=Concept(about="Asks for a poem.", words=("poem",), reads="prompt"),
            status="weak", readout="detector",
        ),
        PlanConcept(
            name=HEADING, role="library", status="resolved",
            definition=Concept(about="Headings.", surface="heading", parents=MARKUP),
            readout="sae", group=group((9, 1.0)), detection=detection(0.98, 0.97, 0.98),
        ),
        PlanConcept(
            name=CODE, role="library", definition=Concept(about="Code blocks.", surface="code"), status="weak",
            readout="detector", detector_mean=0.1, detector_sd=0.4,
        ),
    )  # fmt: skip


def forecast() -> tuple[ForecastRow, ...]:
    return (
        ForecastRow(
            name=BOLD, kind="declared", verb="suppress", plain=around(0.42, 0.1), tilted=around(0.021, 0.012),
            simulated_plain=0.381, simulated_tilted=0.044, target=0.0, tolerance=0.021,
            defined=Defined(plain=around(0.302, 0.08), tilted=around(0.087, 0.04)),
        ),
        ForecastRow(
            name=LISTS, kind="declared", verb="keep", plain=around(0.2, 0.09), tilted=around(0.197, 0.09),
            simulated_plain=0.172, simulated_tilted=0.169, target=0.2, tolerance=0.02,
        ),
        ForecastRow(
            name=HEADING, kind="library", plain=around(0.1, 0.07), tilted=around(0.075, 0.07),
            simulated_plain=0.08, simulated_tilted=0.061,
        ),
        ForecastRow(
            name=CODE, kind="library", plain=around(0.02, 0.08), tilted=around(0.022, 0.08),
            simulated_plain=0.01, simulated_tilted=0.011,
        ),
        ForecastRow(
            name="found-1", kind="discovered", plain=around(-0.3, 0.11), tilted=around(-0.22, 0.11),
            simulated_plain=-0.2, simulated_tilted=-0.18,
        ),
    )  # fmt: skip


def pins() -> Pins:
    return Pins(
        spec=sha256_text("spec"),
        evidence=sha256_text("evidence"),
        model=ModelPin(name="builtin:smollm2-135m-instruct", digest=sha256_text("model"), layers=30, width=576),
        sae=SaePin(
            name="builtin:smollm2-135m-instruct-l15", digest=sha256_text("sae"), hook="blocks.15.hook_resid_pre",
            width=576, features=4096,
        ),
        data=DataPin(name="builtin:planted", digest=sha256_text("data"), rows=PAIRS),
        template=sha256_text("template"),
        max_length=512,
        rows=sha256_text("rows"),
    )  # fmt: skip


def plan(**changes: Any) -> Plan:
    """The fabricated plan over `rows()`, with fields replaced by `changes`; sealed."""
    bare = Plan(
        compiler="0.1.0",
        name="plain-and-honest",
        model="builtin:smollm2-135m-instruct",
        sae="builtin:smollm2-135m-instruct-l15",
        data="builtin:planted",
        train=Train(learning_rate=3e-4, max_length=512, lora=Lora(layers=14)),
        verify=Verify(),
        budget=Budget(),
        pins=pins(),
        overrides={"train.beta": 0.1},
        concepts=concepts(),
        signals=(Suppress(suppress=BOLD), Keep(keep=LISTS)),
        discovered=(
            Discovered(
                name="found-1", group=group((33, 0.5), (34, 0.5)), title="sorry · confusion", audit="g-0123456789ab"
            ),
        ),
        actions=(
            Action(
                mechanism="reward", signal=f"suppress: {BOLD}", concept=BOLD, strength=0.83, rows_touched=288,
                because="60% of the rows carry it, too many to drop or to mask",
            ),
        ),
        forecast=forecast(),
        spend=Spend(rows=PAIRS, kept=474, effective_sample=0.881, largest_weight=1.0, largest_offset=2.31),
        findings=(
            Finding(
                code="T409", title="readout and definition disagree", severity="warning",
                text=f"the plan leaves 5% of `{BOLD}` by its readout, 29% by its own detector",
                notes=("the detector finds it in chosen alone in 160 pairs, in rejected alone in 21",),
                helps=("solve for what the detector sees: `readout: detector`",),
            ),
        ),
        allowed=(Allowed(code="T305", because="the gate is meant to be narrow"),),
    ).model_copy(update=changes)  # fmt: skip
    return sealed(bare, rows())


def row_ids(n: int = PAIRS) -> list[str]:
    return [sha256_text(f"pair {i}")[:16] for i in range(n)]


def rows(offset: float = 1.0, n: int = PAIRS, drop: int = 6, seed: int = 0) -> pa.Table:
    """A `rows.parquet`: 60% of the pairs with an offset around `offset`, the first `drop` dropped."""
    draw = random.Random(seed)
    offsets = [round(offset * draw.gauss(0.8, 0.3), 6) if draw.random() < 0.6 else 0.0 for _ in range(n)]
    return row_table(
        {
            "row_id": row_ids(n),
            "keep": [i >= drop for i in range(n)],
            "weight": [1.0] * n,
            "margin_offset": offsets,
            "reason": [f"reward {BOLD}" if value else "" for value in offsets],
        }
    )
