"""The plan: what the compiler decided, in a form that is reviewed in a pull request and obeyed by the runtime.

A plan is a folder of two files. `plan.json` is canonical (sorted keys, indented, no clock, host or absolute path) and
carries a digest of itself. `rows.parquet` has one row per pair of the dataset, in its order (`ROW_COLUMNS`). Where the plan
steers, or reads a concept by a vector or attention probe, their tensors are a third file, `tools.safetensors`.
The field comments say which fields the runtime acts on; everything else is there for the reader.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from tiltc.spec import Budget, Concept, FileRef, HubRef, Readout, SaeRef, Signal, Steerer, Train, VectorTool, Verify

PLAN_VERSION = 5

#: Columns of `rows.parquet`: name, pyarrow type, meaning. Masks hold for the policy and for the reference; prompts and
#: steering for the policy alone, in training alone.
ROW_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("row_id", "string", "content hash of the pair, see `evidence.py`"),
    ("keep", "bool", "false: the pair is dropped"),
    ("weight", "double", "multiplies the pair's loss; the mean over kept rows is 1"),
    ("margin_offset", "double", "added inside the sigmoid of the DPO loss, in logits"),
    ("chosen_masked", "list<int32>", "tokens of the chosen response, counted from 0, that carry no loss; increasing"),
    ("rejected_masked", "list<int32>", "the same of the rejected response"),
    ("chosen_prompt", "int32", "number of the `prompts` that the policy reads the chosen response under; -1: none"),
    ("chosen_steered", "list<int32>", "numbers of the `steering` under which the policy reads the chosen response"),
    ("rejected_steered", "list<int32>", "the same of the rejected response"),
    ("reason", "string", "which actions touched the row, empty when none did"),
)


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lean(Frozen):
    """Leaves out what is empty of the fields that came later: pins from before keep their digests."""

    LATER: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _lean(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value or key not in self.LATER}


class ModelPin(Lean):
    LATER: ClassVar[tuple[str, ...]] = ("files",)

    name: str
    #: sha256 over the weight tensors' bytes in name order
    digest: str
    layers: int
    width: int
    #: sha256 of each file beside the weights that decides tokens or the forward pass, see `evidence/settings.py`; empty
    #: for built-in models, whose folders are checked against their own list
    files: dict[str, str] = {}


class SaePin(Lean):
    LATER: ClassVar[tuple[str, ...]] = ("config",)

    name: str
    #: sha256 over the parameter tensors' bytes in name order
    digest: str
    hook: str
    width: int
    features: int
    #: sha256 of the settings that it is read with; empty for built-in SAEs
    config: str = ""


class DataPin(Frozen):
    name: str
    #: sha256 over the row ids in order
    digest: str
    rows: int
    #: sha256 of the source file's bytes; None for data from the Hub
    file_sha256: str | None = None


class Pins(Lean):
    """Everything the plan depends on. The runtime refuses to run when one of these no longer holds."""

    LATER: ClassVar[tuple[str, ...]] = ("prompts",)

    spec: str
    evidence: str
    model: ModelPin
    sae: SaePin
    data: DataPin
    #: sha256 of the chat template text
    template: str
    #: sha256 of the tokenizer's vocabulary; empty where the evidence does not say
    tokenizer: str = ""
    max_length: int
    #: contrast set digest by concept name
    contrasts: dict[str, str] = {}
    #: sha256 of the file that `verify.prompts` names; empty for a built-in set
    prompts: str = ""
    #: digest of rows.parquet's contents (not its bytes): see `planfile.rows_digest`
    rows: str
    #: digest of tools.safetensors' contents (not its bytes); empty without one: see `evidence.weights`
    tools: str = ""


class Interval(Frozen):
    """A value with its 95% interval."""

    value: float
    low: float
    high: float


class Member(Frozen):
    """A feature of a group: it contributes weight * min(max activation / scale, 1)."""

    feature: int
    weight: float
    scale: float


class Group(Frozen):
    """A weighted group of SAE features that reads one concept from the max activations of a text.

    score = sum of weight * min(max activation / scale, 1); standardised = (score - mean) / sd, with the
    moments taken over both responses of all pairs.
    """

    members: tuple[Member, ...]
    mean: float
    sd: float


#: What a fitted readout was fitted to (paper section 3.2). Cross-entropy is class-balanced; pairwise is Bradley-Terry's.
Objective = Literal["difference of means", "cross-entropy", "pairwise", "token cross-entropy"]


class Projection(Frozen):
    """A vector or attention probe that reads a concept: the max over response tokens of what it reads, standardised.

    A vector is the tensor `key` of `tools.safetensors`, float32 (width,), of unit length, and reads <residual, vector>. An
    attention probe is a tensor (2H + 1, width + 1) and reads a logit: rows are H queries, H values and a residual, each
    with its bias last (`tiltc_runtime.attention`). Both are read at the SAE's hook. The moments are those of both
    responses of all pairs (paper section 2.2).
    """

    key: str
    objective: Objective
    mean: float
    sd: float


class Detection(Frozen):
    """Held-out AUROC of one tool for one concept."""

    tool: Literal["sae", "direction", "probe", "probe-pairwise", "attention", "words"]
    auroc: Interval
    positives: int
    negatives: int


class Preference(Frozen):
    """What the data says about a concept: is it more present in chosen than in rejected?"""

    #: mean gap of the standardised score, chosen minus rejected
    effect: Interval
    #: the same with the length gap regressed out
    effect_length_controlled: Interval
    p: float
    q: float
    split_half_agrees: bool
    chosen_rate: float | None = None
    rejected_rate: float | None = None


Status = Literal["resolved", "weak", "ambiguous", "unresolved"]


class PlanConcept(Frozen):
    """A resolved concept: definition, readout and evidence."""

    name: str
    #: declared: named by a signal; library: measured for collateral
    role: Literal["declared", "library", "gate"]
    definition: Concept
    status: Status
    readout: Readout
    group: Group | None = None
    #: for readouts that were fitted to residuals: vectors and attention probes
    projection: Projection | None = None
    #: moments of the detector score over both responses, for the `detector` readout
    detector_mean: float = 0.0
    detector_sd: float = 1.0
    detection: tuple[Detection, ...] = ()
    preference: Preference | None = None
    #: digest of the contrast set for `examples` and `contrast` concepts
    contrast: str | None = None
    #: of `contrast` concepts: too few answers passed the filter, so that it was not used
    unfiltered: bool = False


class Steering(Frozen):
    """What is added to the residual stream while the policy reads some rows: `size` times a vector, or what an adapter says.

    It is the tensor `key` of `tools.safetensors`, and is added to the output of decoder layer `layer`, counted from 0. A
    vector is float32 (width,) and is added from the last user turn on. An adapter (`tool` is reft) is float32
    (r, 2 width + 1): row k reads the output h as w_k h + b_k and writes that many times v_k, its columns being w_k, b_k, v_k.
    It is added on the first `ends` and the last `ends` tokens of the response.
    """

    concept: str
    tool: VectorTool | Steerer
    key: str
    layer: int
    #: multiples of the vector or of the adapter's change, signed: a direction's length is the mean difference with and
    #: without the concept
    size: float
    #: of an adapter
    ends: int | None = None


class Control(Frozen):
    """What the control run (`tiltc run --control`) says in place of one of the `prompts`."""

    #: as in `Action`: the signal whose instruction it stands in for
    signal: str
    text: str


#: mechanisms that a plan may hold: all of the language but `auto`
Built = Literal["filter", "reweight", "reward", "tokens", "steer", "inoculate"]


class Action(Frozen):
    """One intervention, with the reason: for the reviewer. Of the methods only GRPO acts on it, on its `reward` actions."""

    mechanism: Built
    signal: str
    concept: str
    #: tilt coefficient in logits per sd of gap (reward, reweight, residual steer and inoculate); rows touched otherwise
    strength: float
    rows_touched: int
    because: str


Kind = Literal["declared", "library", "discovered"]
Verb = Literal["suppress", "keep", "amplify"]


#: how many others a label names before it counts them
NAMED_APART = 2


def gated(name: str, when: str | None, apart: Iterable[str] = ()) -> str:
    """How a concept is written together with what its signal tells it apart from, and with its signal's gate."""
    others = sorted(apart)
    said = " and ".join(others) if len(others) <= NAMED_APART else f"{len(others)} concepts"
    return name + (f" apart from {said}" if others else "") + (f" when {when}" if when else "")


class Apart(Frozen):
    """What a signal's gap leaves out: its concept's gap less the sum of coefficient times gap of the others.

    A gap is a difference of scores, so the same sum over scores reads a single response.
    """

    coefficients: dict[str, float]
    #: share of the concept's squared gap that the others explain
    explained: float


class Defined(Frozen):
    """First-step signal of a concept by its own detector: how much more often it is in chosen than in rejected.

    Shares of pairs, each pair counted by its factor: of the readout's gaps the solver meets a target on, those that the
    definition does not see are noise.
    """

    plain: Interval
    tilted: Interval


class ForecastRow(Frozen):
    """First-step signal g and simulated shift of one signal, concept or group, without and with the plan.

    Means over all pairs; those on which a signal's gate is closed add nothing to its row.
    A declared row is a signal's; one without a verb is that of a concept as a whole, over all pairs, where all signals that
    name it have a gate or tell it apart from others.
    """

    name: str
    kind: Kind
    verb: Verb | None = None
    #: the signal's gate: `verify` judges the rollouts whose prompt expresses it
    when: str | None = None
    #: what the signal leaves out of its concept's gap: all figures of the row are of the rest
    apart: Apart | None = None
    #: share of all pairs on which the gate is open; a figure over this is the mean over those pairs
    share: float = 1.0
    #: first-step signal (design: g), sd of gap
    plain: Interval
    tilted: Interval
    #: mean shift after simulated training, sd of score
    simulated_plain: float
    simulated_tilted: float
    target: float | None = None
    tolerance: float | None = None
    #: the same by the concept's own detector, where it is read by something else
    defined: Defined | None = None

    @property
    def label(self) -> str:
        """Name, others and gate: what tells the rows of a plan from each other."""
        return gated(self.name, self.when, self.apart.coefficients if self.apart else ())


class Discovered(Frozen):
    """A feature group found in the data that no concept names: for collateral and for testing the forecast."""

    name: str
    group: Group
    #: a name for reading, made from the texts in which the group is loud as an audit makes it; it enters no test
    title: str = ""
    #: what a spec may name the group by, `audit: ID`: `g-` and 12 hex digits of the hash of its features
    audit: str = ""

    @property
    def called(self) -> str:
        """What a reader is told in place of `name`, which says nothing."""
        return f"{self.title} ({self.audit})" if self.title and self.audit else self.name


class Spend(Frozen):
    """What the plan costs."""

    rows: int
    kept: int
    #: rows with nothing to learn from: empty, identical or too long. They are not kept, and no budget pays for them
    unusable: int = 0
    effective_sample: float
    largest_weight: float
    largest_offset: float


class Allowed(Frozen):
    code: str
    because: str


class Finding(Frozen):
    """What a stage had to say, as it is kept: without its place, which moves with every comment of the spec."""

    code: str
    title: str
    severity: str
    text: str
    notes: tuple[str, ...] = ()
    helps: tuple[str, ...] = ()


class Plan(Frozen):
    """`plan.json`."""

    plan_version: Literal[5] = 5
    compiler: str
    name: str
    #: the runtime acts on: model, sae, data, train, verify, pins, prompts, steering, controls, and rows.parquet
    model: str | HubRef
    sae: str | SaeRef
    data: str | HubRef | FileRef
    train: Train
    verify: Verify
    budget: Budget
    pins: Pins
    overrides: dict[str, Any] = {}
    #: as the spec has them, in its order, with the defaults filled in
    signals: tuple[Signal, ...] = ()
    concepts: tuple[PlanConcept, ...]
    discovered: tuple[Discovered, ...] = ()
    #: instructions added at the end of the last user turn, and vectors: what rows.parquet counts from 0
    prompts: tuple[str, ...] = ()
    steering: tuple[Steering, ...] = ()
    #: one for each of the `prompts`, in their order
    controls: tuple[Control, ...] = ()
    actions: tuple[Action, ...]
    forecast: tuple[ForecastRow, ...]
    spend: Spend
    #: warnings and notes that the compiler had and the spec doesn't allow
    findings: tuple[Finding, ...] = ()
    allowed: tuple[Allowed, ...] = ()
    #: sha256 over the canonical JSON of all other fields
    digest: str = ""
