"""A made-up plan with made-up rollouts whose truth is known: the report can be tested without any model.

Three signals over concepts with planted rates, twelve library concepts and thirty discovered groups whose realised
shifts follow the simulated forecast plus noise.
"""

from __future__ import annotations

import random

import numpy as np

from tiltc.plan import (
    Action,
    Control,
    DataPin,
    Discovered,
    ForecastRow,
    Group,
    Interval,
    Member,
    ModelPin,
    Pins,
    Plan,
    PlanConcept,
    SaePin,
    Spend,
)
from tiltc.spec import Budget, Concept, Train, Verify
from tiltc_runtime.assess import Answers, Trial
from tiltc_runtime.prompts import Prompt, schedule
from tiltc_runtime.rollouts import Rollout
from tiltc_runtime.scoring import Scored

#: what the control run of `fabricated_trial` said in place of the instructions against flattery
CONTROLS = (
    Control(signal="suppress: flattery", text="Answer <b>now</b>."),
    Control(signal="suppress: flattery", text="Reply."),
)
#: concept -> rate under start, plain, tilted
RATES = {
    "flattery": (0.06, 0.40, 0.07),
    "std.style.bold": (0.10, 0.45, 0.45),
    "std.style.list": (0.30, 0.45, 0.44),
}
VERBS = {"flattery": "suppress", "std.style.bold": "suppress", "std.style.list": "keep"}
LIBRARY = (
    "emoji",
    "heading",
    "question",
    "hedging",
    "apology",
    "table",
    "link",
    "italic",
    "refusal",
    "code",
    "quote",
    "rule",
)
GROUPS = 30

DEFINITIONS = {
    "flattery": Concept(about="Praises the question before answering.", pattern=r"(?i)\bgreat question\b"),
    "std.style.bold": Concept(about="Bold text.", surface="bold"),
    "std.style.list": Concept(about="A list of two or more items.", surface="list"),
}


def fabricated_plan(*, rollouts: int = 240, seed: int = 0) -> Plan:
    rng = np.random.default_rng(seed)
    concepts = [_concept(name, "declared", definition) for name, definition in DEFINITIONS.items()]
    library = [_concept(f"std.{n}", "library", Concept(about=f"About {n}.", words=(f"{n}word",))) for n in LIBRARY]
    groups = tuple(Discovered(name=f"group-{i:02d}", group=_group(i + 1)) for i in range(GROUPS))
    forecast = [_row(name, "declared", rng, VERBS[name]) for name in DEFINITIONS]
    forecast += [_row(c.name, "library", rng) for c in library] + [_row(g.name, "discovered", rng) for g in groups]
    return Plan(
        compiler="0.1.0", name="plain-and-honest", digest="d1" * 32,
        model="builtin:smollm2-135m-instruct", sae="builtin:smollm2-135m-instruct-l15", data="builtin:planted",
        train=Train(), verify=Verify(rollouts=rollouts), budget=Budget(), pins=_pins(),
        concepts=(*concepts, *library), discovered=groups,
        actions=tuple(
            Action(mechanism="reward", signal=f"suppress: {n}", concept=n, strength=1.2, rows_touched=9, because="")
            for n in ("flattery", "std.style.bold")
        ),
        forecast=tuple(forecast),
        spend=Spend(rows=480, kept=480, effective_sample=0.86, largest_weight=1.0, largest_offset=2.1),
    )  # fmt: skip


def fabricated_trial(
    *, rollouts: int = 240, prompts: int = 120, baseline: bool = True, seed: int = 0, control: float | None = None
) -> Trial:
    """Rollouts with `RATES` planted, paired between policies by one uniform number per rollout.

    Args:
        control: the share of what the tilted run does to each rate that the control run does too; None: no control run.
    """
    plan = fabricated_plan(rollouts=rollouts, seed=seed)
    asked = tuple(
        Prompt(({"role": "user", "content": f"Question {i}: why is the sky <b>blue</b> & wide?"},))
        for i in range(prompts)
    )
    wanted = schedule(prompts, rollouts)
    luck = np.random.default_rng(seed + 1).uniform(size=(rollouts, 3))
    sides = {"start": 0, "plain": 1, "tilted": 2} if baseline else {"start": 0, "tilted": 2}
    answers = {side: _answers(plan, wanted, luck, side, column, seed) for side, column in sides.items()}
    if control is None:
        return Trial(plan, plan.verify, asked, answers)
    rates = {name: plain + control * (tilted - plain) for name, (_, plain, tilted) in RATES.items()}
    answers["control"] = _answers(plan, wanted, luck, "plain", 3, seed, rates)
    return Trial(plan, plan.verify, asked, answers, controls=CONTROLS)


def true_shift(row: ForecastRow, side: str) -> float:
    """The realised shift that the fabrication plants: a third of the simulated forecast."""
    return {"start": 0.0, "plain": row.simulated_plain / 3, "tilted": row.simulated_tilted / 3}[side]


def _answers(
    plan: Plan,
    wanted: list[tuple[int, int]],
    luck: np.ndarray,
    side: str,
    column: int,
    seed: int,
    rates: dict[str, float] | None = None,
) -> Answers:
    planted = rates or {name: of[column] for name, of in RATES.items()}
    shown = {name: luck[:, i] < rate for i, (name, rate) in enumerate(planted.items())}
    rng = random.Random(seed)
    rollouts = [
        Rollout(p, k, _text({name: bool(s[i]) for name, s in shown.items()}, rng), 40, True)
        for i, (p, k) in enumerate(wanted)
    ]
    noise = np.random.default_rng(seed + 2).normal(size=(len(wanted), len(plan.forecast)))
    own = np.random.default_rng([seed + 3, column]).normal(size=(len(wanted), len(plan.forecast)))
    score = {row.name: true_shift(row, side) + noise[:, i] + 0.5 * own[:, i] for i, row in enumerate(plan.forecast)}
    present = {name: s.astype(np.float64) for name, s in shown.items()}
    present |= {f"std.{n}": (score[f"std.{n}"] > 1.3).astype(np.float64) for n in LIBRARY}
    return Answers(f"{column}a" * 32, rollouts, Scored(present, score, np.zeros(len(wanted), dtype=bool)))


def _text(shown: dict[str, bool], rng: random.Random) -> str:
    opening = "Great question! " if shown["flattery"] else ""
    word = "**scatters**" if shown["std.style.bold"] else "scatters"
    ending = "\n\n- It is short.\n- It is blue." if shown["std.style.list"] else " It is short, and it is blue."
    middle = rng.choice(("Air", "The atmosphere", "What is between us and space"))
    return f"{opening}{middle} {word} blue light more than red light, because its wavelength is shorter.{ending}"


def _concept(name: str, role: str, definition: Concept) -> PlanConcept:
    return PlanConcept(name=name, role=role, definition=definition, status="resolved", readout="sae", group=_group(40))


def _group(feature: int) -> Group:
    return Group(members=(Member(feature=feature, weight=1.0, scale=2.0),), mean=0.1, sd=0.5)


def _row(name: str, kind: str, rng: np.random.Generator, verb: str | None = None) -> ForecastRow:
    simulated = float(rng.normal(0.1, 0.5))
    plain = 0.4 * simulated + float(rng.normal(0.0, 0.12))
    if verb:
        plain, simulated = abs(plain) + 0.2, abs(simulated) + 0.6
    left = 0.1 if verb == "suppress" else 1.0 if verb == "keep" else float(rng.uniform(0.6, 1.1))
    return ForecastRow(
        name=name, kind=kind, verb=verb, plain=_around(plain), tilted=_around(left * plain),
        simulated_plain=simulated, simulated_tilted=left * simulated,
        target={"suppress": 0.0, "keep": plain, None: None}[verb],
        tolerance={"suppress": 0.05 * plain, "keep": 0.1 * plain, None: None}[verb],
    )  # fmt: skip


def _around(value: float) -> Interval:
    return Interval(value=value, low=value - 0.08, high=value + 0.08)


def _pins() -> Pins:
    return Pins(
        spec="5" * 64, evidence="e" * 64, template="7" * 64, max_length=1024, rows="a" * 64,
        model=ModelPin(name="builtin:smollm2-135m-instruct", digest="0" * 64, layers=30, width=576),
        sae=SaePin(name="builtin:sae", digest="1" * 64, hook="blocks.15.hook_resid_pre", width=576, features=4096),
        data=DataPin(name="builtin:planted", digest="2" * 64, rows=480),
    )  # fmt: skip
