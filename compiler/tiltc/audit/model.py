"""What an audit found, as data: `audit.json`. The terminal summary and the page show exactly this."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from tiltc.plan import DataPin, Interval, ModelPin, SaePin

AUDIT_VERSION = 1

#: feature: where is a response concept rewarded? prompt: which shift of responses does a prompt concept come with?
View = Literal["feature", "prompt"]
#: paired: chosen against rejected. unpaired: a data set against a reference data set, called chosen and rejected here.
Design = Literal["paired", "unpaired"]


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(Frozen):
    """Every number that the audit chose, so that it can be repeated. Where a number scales with the data, see `scale.py`."""

    design: Design = "paired"
    rows: int
    #: rows that entered the tests: usable ones; for the feature view, those outside of the silent bucket
    usable: int
    active: int
    #: prompts: rows of one prompt are one cluster for intervals and p-values
    prompts: int
    tau: float
    silent: float
    data_clusters: int
    prompt_clusters: int
    delta_clusters: int
    n_top: int
    fewest_rows: int
    fewest_features: int
    fires_in: int
    geometry_rows: int
    components: int
    #: share of feature pairs that became edges
    edges: float
    resolution: float
    swaps: int
    resamples: int
    seed: int


class Nearest(Frozen):
    """A concept of the library, and how well the cluster's activity detects it (0.5 is chance)."""

    concept: str
    auroc: Interval


class Snippet(Frozen):
    """A piece of a text in which the cluster fires: [start, end) in characters is where it peaks."""

    text: str
    start: int
    end: int


class Label(Frozen):
    """A name for reading, made from the data. It enters no test."""

    title: str
    source: Literal["concept", "terms", "imported", "llm", "none"]
    #: words that are more common where the cluster fires than elsewhere, the most distinctive first
    terms: tuple[str, ...] = ()
    snippets: tuple[Snippet, ...] = ()
    nearest: tuple[Nearest, ...] = ()
    #: labels of the cluster's features from a label file, the strongest features first
    imported: tuple[str, ...] = ()


class ResponseCluster(Frozen):
    """Response features that go together: fire in the same texts (feature view), or shift together (prompt view)."""

    #: `g-` (feature view) or `d-` (prompt view) and the first 12 hex digits of the sha256 of the features
    id: str
    view: View
    features: tuple[int, ...]
    label: Label
    #: place on the view's map of responses, in [0, 1]
    x: float
    y: float
    #: share of chosen and of rejected responses in which any of its features fires on more than tau of the tokens
    chosen_share: float
    rejected_share: float


class Context(Frozen):
    """Rows that belong together: by what both responses are about (feature view), or by their prompt (prompt view)."""

    #: `k-` (feature view) or `p-` (prompt view) and 12 hex digits of its content
    id: str
    view: View
    #: prompt features of a prompt cluster; empty in the feature view
    features: tuple[int, ...]
    rows: int
    label: Label
    x: float
    y: float
    #: prompts nearest to its centre
    prompts: tuple[str, ...]


class Test(Frozen):
    """Inside against outside: what is different about the preference in this context.

    `delta` is in the units of the view's statistic: share of a cluster's features (u) in the feature view, sd of the
    chosen-minus-rejected difference in the prompt view. Intervals are 95%, bootstrapped over prompts.
    """

    delta: Interval
    #: at equal difference in log length; None where it could not be estimated
    delta_length: Interval | None
    #: at equal |difference|: is chosen favoured more often than elsewhere when the two responses differ as much? Contexts
    #: of the feature view are made of what occurs in responses; this is what is left of delta beyond that
    delta_difference: float
    d: float
    #: Welch's z with independent rows, as in the paper
    z: float
    #: two-sided, cluster-robust; q is Benjamini-Hochberg's over everything that the audit tested
    p: float
    q: float
    #: the smaller |delta| of the two halves of the rows, and whether the halves agree in sign
    delta_min: float
    agrees: bool
    #: 95% quantile of |delta| when chosen and rejected are exchanged at random
    noise: float
    #: delta with the plan's rows, weights and offsets (`--against`)
    planned: float | None = None


class Example(Frozen):
    """A pair that shows a hypothesis: `pair` is a place in `Audit.pairs`; marks are [start, end) where the cluster peaks."""

    pair: int
    #: the row's own value of the tested statistic
    value: float
    chosen: tuple[tuple[int, int], ...] = ()
    rejected: tuple[tuple[int, int], ...] = ()


class Hypothesis(Frozen):
    """In `context`, training on this data would move `response` up (delta > 0: leans to chosen) or down."""

    #: `<context id>:<response id>`; `all:<response id>` for the whole data set
    id: str
    view: View
    #: None: the whole data set against no preference
    context: str | None
    response: str
    rows: int
    mean_inside: float
    mean_outside: float
    test: Test
    #: passes the view's default filters: halves that agree, and more than what the context is made of, see `families.py`
    passes: bool
    examples: tuple[Example, ...] = ()


class ConceptEffect(Frozen):
    """What the whole data set teaches of a library concept, read by its detector. Effects in sd of the score."""

    name: str
    about: str
    effect: Interval
    effect_length: Interval
    p: float
    q: float
    agrees: bool
    noise: float
    chosen_rate: float | None
    rejected_rate: float | None
    planned: float | None = None


class Pair(Frozen):
    """An example pair. Texts may be cut at the end; marks never reach beyond."""

    row_id: str
    prompt: str
    chosen: str
    rejected: str


class Noise(Frozen):
    """How large chance alone would make things: quantiles over label swaps of the largest value in a view."""

    view: View
    #: the tests of the whole data set against no preference, apart from those of contexts
    whole: bool
    tests: int
    largest_z_median: float
    largest_z_95: float
    largest_delta_95: float
    #: tests with q < 0.05: in the data, and in the mean label swap
    found: int
    found_swapped: float
    #: share of label swaps in which any test of the view had q < 0.05
    swaps_with_any: float


class Audit(Frozen):
    """`audit.json`. No clock, host or path in it."""

    audit_version: Literal[1] = 1
    compiler: str
    evidence: str
    #: what the harvest was asked for (`Manifest.request`): a spec that asks for the same finds this evidence
    request: dict[str, str | int | None] = {}
    model: ModelPin
    sae: SaePin
    data: DataPin
    #: what `rejected` stands for in an unpaired audit
    reference: DataPin | None = None
    #: digest of the plan, with `--against`
    plan: str | None = None
    settings: Settings
    concepts: tuple[ConceptEffect, ...]
    responses: tuple[ResponseCluster, ...]
    contexts: tuple[Context, ...]
    #: whole data set, then feature view, then prompt view; within each the strongest first
    hypotheses: tuple[Hypothesis, ...]
    pairs: tuple[Pair, ...]
    noise: tuple[Noise, ...]
    #: what a reader should know first: truncation, few rows, reconstruction
    cautions: tuple[str, ...] = ()

    def response(self, key: str) -> ResponseCluster:
        return next(r for r in self.responses if r.id == key)

    def context(self, key: str) -> Context:
        return next(c for c in self.contexts if c.id == key)
