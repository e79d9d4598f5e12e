"""What `verify` found, as data: `report.json`. The Markdown and HTML pages show exactly this."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tiltc.plan import Finding, Interval, Kind, Verb, gated

REPORT_VERSION = 6

PolicyName = Literal["start", "plain", "control", "tilted"]
Measure = Literal["rate", "score"]
#: first_step: g of the plan; simulated: the plan's simulated training
Forecast = Literal["first_step", "simulated"]
#: plain, tilted: shift from start; difference: tilted minus plain
Shift = Literal["plain", "tilted", "difference"]
Verdict = Literal[
    "suppressed", "partly suppressed", "overshot", "still taught", "kept", "kept within noise", "moved",
    "amplified", "partly amplified", "no effect", "wrong direction", "not measurable",
]  # fmt: skip


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlanFacts(Frozen):
    """Which plan was tested."""

    name: str
    digest: str
    compiler: str
    model: str
    sae: str
    data: str
    mechanisms: tuple[str, ...]
    train: dict[str, Any]


class Settings(Frozen):
    """How it was tested. `prompt_count` prompts, each sampled `rollouts / prompt_count` times or so."""

    prompts: str
    prompt_count: int
    rollouts: int
    max_new_tokens: int
    temperature: float
    seed: int
    resamples: int


class PolicyFacts(Frozen):
    """What one policy's rollouts look like as text."""

    name: PolicyName
    #: identity of the weights, see `rollouts.py`
    digest: str
    rollouts: int
    mean_tokens: float
    #: share that ended by itself before max_new_tokens
    finished: float
    #: share that is empty, symbols only, or loops
    degenerate: float


class Levels(Frozen):
    """The level of one measure under each policy, with 95% intervals."""

    start: Interval
    tilted: Interval
    plain: Interval | None = None
    control: Interval | None = None


class Beside(Frozen):
    """An inoculated signal beside its control run, in which unrelated sentences stood in for its instructions."""

    #: the sentences
    texts: tuple[str, ...] = ()
    #: control minus start
    shift: Interval
    #: control minus plain: what any sentence does by itself
    by_itself: Interval | None = None
    #: tilted minus control: what the instructions do beyond that, by what they say
    beyond: Interval
    #: (control - plain) / (tilted - plain); None where tilted - plain is within noise
    share: Interval | None = None


class Outside(Frozen):
    """A concept where the gates of all signals that change it are shut: they touch no such pair, the policy need not care."""

    #: rollouts of each policy whose prompt expresses none of the gates, and their prompts
    rollouts: int
    prompts: int
    #: of the same measure as inside
    levels: Levels
    #: tilted minus start
    shift_tilted: Interval
    #: tilted minus plain
    difference: Interval | None = None
    #: tilted minus plain inside, less that outside
    beyond: Interval | None = None


class ConceptOutcome(Frozen):
    """One signal or concept under the policies: levels, shifts, and the verdict where a signal names it."""

    name: str
    about: str
    kind: Kind
    verb: Verb | None = None
    #: the gate: only rollouts whose prompt expresses it were used
    when: str | None = None
    #: what the signal tells the concept apart from: levels and shifts are of the rest
    apart: tuple[str, ...] = ()
    #: rollouts of each policy that were used
    rollouts: int
    #: what verdict and shifts are in: share of rollouts showing the concept, or mean standardised readout score
    measure: Measure
    #: detector presence, Wilson intervals
    rates: Levels | None = None
    #: mean standardised readout, bootstrap intervals
    scores: Levels | None = None
    #: tilted minus start
    shift_tilted: Interval
    #: plain minus start
    shift_plain: Interval | None = None
    #: tilted minus plain
    difference: Interval | None = None
    #: (plain - tilted) / (plain - start); None where plain - start is within noise
    recovery: Interval | None = None
    #: with `--control`, of signals that inoculate
    beside: Beside | None = None
    #: of suppressed and amplified concepts, where there are prompts on which no gate of theirs is open
    outside: Outside | None = None
    verdict: Verdict | None = None
    because: str = ""

    @property
    def label(self) -> str:
        return gated(self.name, self.when, self.apart)


class ForecastPoint(Frozen):
    """Forecast and realised shift of the standardised score of one signal, concept or discovered group."""

    #: with the signal's gate, see `plan.gated`
    name: str
    kind: Kind
    verb: Verb | None = None
    first_step_plain: float
    first_step_tilted: float
    simulated_plain: float
    simulated_tilted: float
    realised_tilted: Interval
    realised_plain: Interval | None = None
    #: tilted minus plain
    realised_difference: Interval | None = None

    def foreseen(self, forecast: Forecast, shift: Shift) -> float:
        """What a forecast says about a shift."""
        plain, tilted = getattr(self, f"{forecast}_plain"), getattr(self, f"{forecast}_tilted")
        return {"plain": plain, "tilted": tilted, "difference": tilted - plain}[shift]

    def realised(self, shift: Shift) -> Interval | None:
        return {
            "plain": self.realised_plain, "tilted": self.realised_tilted, "difference": self.realised_difference,
        }[shift]  # fmt: skip


class ForecastTest(Frozen):
    """How well one forecast predicts the realised shifts, over all concepts and discovered groups."""

    forecast: Forecast
    shift: Shift
    items: int
    #: squared Pearson correlation; interval from resampling items
    r2: Interval
    pearson: float
    spearman: float
    #: least-squares slope through the origin, realised per forecast
    slope: float
    #: share of the squared realised shifts explained by that line
    r2_origin: float
    sign_agreement: Interval
    #: the same over shifts whose own interval excludes zero
    sign_agreement_measured: Interval | None
    permutation_p: float
    #: the R² that a perfect forecast would reach with these rollouts
    noise_ceiling: Interval | None


class Better(Frozen):
    """R² of the simulated forecast minus R² of the first-step forecast, for the tilted shift."""

    forecast: Literal["first_step", "simulated", "undecided"]
    difference: Interval


class CollateralRow(Frozen):
    """How far something that no signal names moved, in sd of its score."""

    name: str
    #: of discovered groups, see `plan.Discovered`
    title: str = ""
    audit: str = ""
    #: a concept that the spec changes and that is read from the same features: no spec can hold one and change the other
    shares: str = ""
    #: how far the plan's own first step moves it, as a share of today's signal
    along: float = 0.0
    kind: Kind
    #: tilted minus plain; tilted minus start without a baseline
    shift: Interval
    p: float
    q: float
    rates: Levels | None = None

    @property
    def called(self) -> str:
        """What a reader is told: the name of a discovered group says nothing."""
        return f"{self.title} ({self.audit})" if self.title and self.audit else self.name


class Noise(Frozen):
    """Median half-width of the 95% intervals of a shift: what is smaller than this can't be seen."""

    rate: float | None
    score: float | None


class Mark(Frozen):
    """Where a named concept shows in a text: [start, end) in characters."""

    start: int
    end: int
    concept: str


class SampleText(Frozen):
    text: str
    marks: tuple[Mark, ...] = ()


class Sample(Frozen):
    """The same prompt with the same seed under each policy."""

    prompt: str
    start: SampleText
    tilted: SampleText
    plain: SampleText | None = None
    control: SampleText | None = None


class FrontierPoint(Frozen):
    """One run of a sweep, as far as one signal goes."""

    #: digest
    plan: str
    #: share of the signal that the plan leaves, by the first step
    left: float
    #: level of the tilted policy
    level: Interval
    #: mean absolute shift of what no signal names, in sd; None where nothing else was measured
    spill: float | None
    #: nats a token of the starting policy's rollouts, see `loss.py`
    loss: float | None


class Frontier(Frozen):
    """A signal at several strengths: what is reached, what moves along, and how far the policy goes from the start."""

    #: with the signal's gate
    name: str
    verb: Verb
    measure: Measure
    points: tuple[FrontierPoint, ...]
    start: Interval
    plain: Interval | None
    loss_start: float | None
    loss_plain: float | None


class Report(Frozen):
    """`report.json`. No clock, host or path in it."""

    report_version: Literal[6] = 6
    plan: PlanFacts
    settings: Settings
    policies: tuple[PolicyFacts, ...]
    concepts: tuple[ConceptOutcome, ...]
    points: tuple[ForecastPoint, ...]
    forecasts: tuple[ForecastTest, ...]
    better: Better | None
    collateral: tuple[CollateralRow, ...]
    noise: Noise
    samples: tuple[Sample, ...]
    #: with `--sweep`
    frontiers: tuple[Frontier, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def has_baseline(self) -> bool:
        return any(policy.name == "plain" for policy in self.policies)

    @property
    def has_control(self) -> bool:
        return any(policy.name == "control" for policy in self.policies)
