"""The typed form of a spec file: what a user may write. Frozen, closed, and the source of `schemas/spec.json`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_serializer, model_validator

VERSION = 1
#: `sae:` of a spec that is read by detectors alone
NO_SAE = "none"


class Closed(BaseModel):
    """A frozen model that knows all its keys."""

    # validators are built when first used: `lint` uses two of the twenty models here directly
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


def _share(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?\s*%", value.strip()):
        return float(value.strip().rstrip("% ")) / 100
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


#: A share of something: `5%` or `0.05`.
Share = Annotated[
    float,
    BeforeValidator(_share, json_schema_input_type=float | Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*%$")]),
    Field(ge=0, le=1),
]


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


#: A float that may be written as an integer.
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]

#: What random number generators take, numpy's among them.
MOST_SEED = 2**32 - 1
#: What trainers count with.
MOST_COUNT = 2**31 - 1

Surface = Literal[
    "bold", "italic", "heading", "list", "table", "code", "link", "horizontal-rule",
    "emoji", "em-dash", "exclamation", "question", "length", "quote", "bare-url",
]  # fmt: skip


def _listed(value: Any) -> Any:
    # JSON gives lists, which strict models take for tuples only where no validator of ours comes first
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


#: One text, or a list of them.
Texts = Annotated[
    tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...]), Field(min_length=1)
]


class Judge(Closed):
    """A model behind an OpenAI-compatible endpoint that says from 0 to 100 how much an answer shows a concept."""

    model: str = Field(min_length=1)
    endpoint: str | None = Field(default=None, description="by default what the environment has in TILTC_JUDGE")
    rubric: str | None = Field(default=None, description="what is judged; by default the concept's `about`")


class Contrast(Closed):
    """System prompts that ask for a concept and for its absence: the starting model's answers under both are compared."""

    positive: Texts = Field(description="one system prompt, or several")
    negative: Texts = Field(description="as many as `positive` has")
    questions: str = Field(
        default="builtin:general", description="`builtin:general`, `builtin:safety`, or a JSON lines file of `prompt`"
    )
    kept_by: str | None = Field(
        default=None, description="a concept with a detector: it must find the positive answers and none of the others"
    )
    drop_refusals: bool = Field(default=True, description="leave out what `std.safety.refusal` finds")
    judge: Judge | None = None
    temperature: Number = Field(default=0.7, ge=0)
    max_new_tokens: int = Field(default=128, ge=1, le=MOST_COUNT)
    seed: int = Field(default=0, ge=0, le=MOST_SEED)


class Concept(Closed):
    """Evidence to look for under a name. Exactly one kind of definition.

    `reads` says which text the definition is about: `response` (default) or `prompt` (topic gates).
    """

    about: str = Field(min_length=1)
    pattern: str | None = None
    words: tuple[str, ...] | None = None
    surface: Surface | None = None
    examples: str | None = None
    contrast: Contrast | None = None
    label: str | None = None
    features: tuple[int, ...] | None = None
    audit: str | None = Field(
        default=None,
        pattern=r"^[gdp]-[0-9a-f]{12}$",
        description="a cluster that `tiltc audit` found in this evidence, or a group that a plan of it lists",
    )
    at_least: int = Field(default=1, ge=1, description="matches needed for the concept to count as present")
    reads: Literal["response", "prompt"] = "response"
    parents: tuple[str, ...] = ()
    instructions: tuple[str, ...] = Field(
        default=(), description="ways to ask a model for the concept: what `with: inoculate` adds to the user's turn"
    )
    meta: dict[str, Any] | None = None

    @property
    def kind(self) -> str:
        """The one definition that is given: pattern, words, surface, examples, contrast, label, features or audit."""
        return next(k for k in DEFINITIONS if getattr(self, k) is not None)

    @property
    def meaning(self) -> dict[str, Any]:
        """What decides which texts show the concept: the identity of all that is derived from a definition."""
        return self.model_dump(mode="json", exclude={"about", "meta", "parents", "instructions"})

    @model_validator(mode="after")
    def _one_definition(self) -> Concept:
        given = [k for k in DEFINITIONS if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(DEFINITIONS)}; found {', '.join(given) or 'none'}")
        return self


DEFINITIONS = ("pattern", "words", "surface", "examples", "contrast", "label", "features", "audit")

#: How a signal is carried out. `auto` lets the compiler choose and say why.
Mechanism = Literal["auto", "filter", "reweight", "reward", "tokens", "steer", "inoculate"]
#: Readouts that are vectors in the residual stream: a difference of means, and linear probes by two objectives.
VectorTool = Literal["direction", "probe", "probe-pairwise"]
#: What else can steer than a vector: a low-rank change of the residual stream that is fitted to texts with the concept.
Steerer = Literal["reft"]
#: What scores a response for the gap: the SAE group, the largest projection of a token on a vector, the largest logit of an
#: attention probe, or the concept's own detector.
Readout = Literal["sae", "direction", "probe", "probe-pairwise", "attention", "detector"]
Unit = Literal["token", "word", "span"]
Form = Literal["residual", "forward"]
Side = Literal["chosen", "rejected"]
Offset = Literal["gap", "fixed"]


def _apart_from(value: Any) -> Any:
    # one finding, where a union would give one for each of its members
    names = isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value)
    if value not in ("parents", "siblings", "keeps") and not names:
        raise ValueError("must be `parents`, `siblings`, `keeps` or a list of concepts")
    return tuple(value) if isinstance(value, list) else value


#: What a signal is to be told apart from: relatives by `parents:`, what the spec keeps, or concepts by name.
ApartFrom = Annotated[
    Literal["parents", "siblings", "keeps"] | Annotated[tuple[str, ...], Field(min_length=1)],
    BeforeValidator(_apart_from),
]


class _Signal(Closed):
    when: str | None = Field(default=None, description="a gate: only pairs whose prompt expresses this concept")

    @property
    def verb(self) -> Literal["suppress", "keep", "amplify"]:
        return type(self).__name__.lower()  # type: ignore[return-value]

    @property
    def concept(self) -> str:
        return str(getattr(self, self.verb))


class _Change(_Signal):
    """What suppress and amplify share: how the change is carried out."""

    with_: Mechanism = Field(default="auto", alias="with")
    strength: Number | None = Field(
        default=None, ge=0, description="override the solved strength (logits per sd of gap); the verb gives the sign"
    )
    offset: Offset | None = Field(
        default=None,
        description="`with: reward`: in proportion to the gap (the default), or fixed: the same for every pair that leans to"
        " the concept",
    )
    unit: Unit | None = Field(
        default=None, description="`with: tokens`: what is masked around a match; word by default"
    )
    form: Form | None = Field(
        default=None,
        description="`with: steer` and `inoculate`: residual (an offset from the frozen model's likelihoods, the default)"
        " or forward (the policy itself is steered or prompted in training)",
    )
    by: Steerer | None = Field(
        default=None,
        description="`with: steer`: what steers in place of a vector: reft, a low-rank adapter that harvest fits to texts"
        " that show the concept. What the concept is read by stays as it is",
    )
    size: Number | None = Field(
        default=None,
        gt=0,
        description="`with: steer`: multiples of the vector, or of what the adapter says, that are added; 1 by default",
    )
    control: Texts | None = Field(
        default=None,
        description="`with: inoculate`, `form: forward`: what `tiltc run --control` says in place of the concept's"
        " instructions: as many sentences, which have nothing to do with it and are matched by length; by default those of a"
        " fixed pool",
    )
    apart_from: ApartFrom | None = Field(
        default=None,
        description="change only what the concept has beyond these: `parents`, `siblings`, `keeps`, or a list of concepts."
        " The signal's gap is then the rest of a regression on theirs",
    )
    side: Side | None = Field(
        default=None,
        description="on which responses: for `with: tokens` those that are masked, both by default; for `with: steer`, `form:"
        " forward` those that the policy reads steered, chosen by default",
    )
    fraction: Share | None = Field(
        default=None,
        gt=0,
        description="`form: forward`: share of the pairs, those with the largest gap, with `side: rejected` the smallest;"
        " by default 5% for `steer`, all that lean to the concept for `inoculate`",
    )


class Suppress(_Change):
    """Take the concept out of what the data teaches."""

    suppress: str
    to: Share = Field(default=0.0, description="share of today's signal that may remain")
    within: Share = Field(default=0.05, description="tolerance, as a share of today's signal")
    readout: Readout | None = None


class Keep(_Signal):
    """Leave what the data teaches about the concept as it is."""

    keep: str
    within: Share = 0.10
    readout: Readout | None = None


def _factor(value: Any) -> Any:
    if isinstance(value, str):
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)x", value):
            return {"times": float(match[1])}
        if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*sd", value):
            return {"sd": float(match[1])}
    return value


class Target(Closed):
    """An amplify target: a multiple of today's signal, or an absolute first-step signal in sd of the score."""

    times: float | None = Field(default=None, ge=0)
    sd: float | None = Field(default=None, ge=0)


class Amplify(_Change):
    """Make the data teach more of the concept."""

    amplify: str
    to: Annotated[
        Target,
        BeforeValidator(
            _factor, json_schema_input_type=Target | Annotated[str, Field(pattern=r"^\d+(\.\d+)?(x|\s*sd)$")]
        ),
    ] = Target(times=2.0)
    within: Share = 0.05
    readout: Readout | None = None


Signal = Suppress | Keep | Amplify


def _skip(value: Any) -> Any:
    # counts stay integers, shares become floats
    return value if isinstance(value, int) else _share(value)


#: How many rows may be left out: a count, or a share such as `1%`.
Skip = Annotated[
    int | float,
    BeforeValidator(_skip, json_schema_input_type=int | float | Annotated[str, Field(pattern=r"^\d+(\.\d+)?\s*%$")]),
    Field(ge=0),
]
#: What a column of the data can be said to be.
Column = Literal[
    "prompt", "system", "chosen", "rejected", "completion", "messages", "label", "margin", "tools", "chat_template_kwargs"
]  # fmt: skip


class _DataRef(Closed):
    """How the rows of a data set are to be read, where that is not plain."""

    columns: dict[Column, str] = Field(
        default_factory=dict, description="columns under other names, as `{prompt: question}`"
    )
    skip: Skip = Field(
        default=0, description="rows that may be left out because they can't be used: a count or a share"
    )

    @field_validator("skip")
    @classmethod
    def _at_most_all(cls, value: float) -> float:
        if isinstance(value, float) and value > 1:
            raise ValueError("a share is at most 100%; a count is a whole number")
        return value

    @model_serializer(mode="wrap")
    def _plainly(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        # what is not said is not written: digests of specs and plans that say nothing stay as they are
        return {k: v for k, v in handler(self).items() if k not in _UNSAID or v}


#: keys of a data reference that are written only where they say something
_UNSAID = frozenset(("columns", "skip", "split"))


class HubRef(_DataRef):
    """Something on the Hugging Face Hub, pinned by commit."""

    hub: str
    revision: str | None = None
    split: str = "train"
    config: str | None = None
    rows: int | None = Field(default=None, ge=1)


class FileRef(_DataRef):
    """A data file or folder, local or `builtin:NAME`, and, optionally, how many of its first rows to use, and as what."""

    file: str
    split: str | None = Field(default=None, description="of a file or folder with several; by default `train`")
    rows: int | None = Field(default=None, ge=1)


class SaeRef(Closed):
    """An SAE in a SAELens release."""

    release: str
    id: str


class Budget(Closed):
    """How much of the data a plan may spend."""

    drop: Share = Field(default=0.05, description="share of rows that may be dropped")
    effective_sample: Share = Field(default=0.6, description="least effective sample size, as a share of the rows kept")


class Lora(Closed):
    """LoRA settings; `layers` is the first decoder layer that gets adapters."""

    r: int = Field(default=16, ge=1, le=MOST_COUNT)
    alpha: int = Field(default=32, ge=1, le=MOST_COUNT)
    layers: int = Field(default=0, ge=0, le=MOST_COUNT)


class Grpo(Closed):
    """What `method: grpo` samples, and what it rewards beside the plan's feature terms."""

    generations: int = Field(
        default=8, ge=2, le=MOST_COUNT, description="responses sampled for a prompt: the group that is compared"
    )
    max_new_tokens: int = Field(default=256, ge=1, le=MOST_COUNT)
    temperature: Number = Field(default=1.0, gt=0)
    reward: str | None = Field(
        default=None, description="folder of a reward model, as `method: reward` leaves it in `model/`; none by default"
    )


class Train(Closed):
    """Training settings, handed to the trainer as they are.

    `loss` is DPO's. `beta` is that of DPO and KTO, and the weight of the KL term of GRPO.
    """

    method: Literal["dpo", "reward", "sft", "kto", "grpo"] = "dpo"
    beta: Number = Field(default=0.1, gt=0)
    learning_rate: Number = Field(default=5e-6, gt=0)
    epochs: Number = Field(default=1.0, gt=0)
    batch_size: int = Field(default=8, ge=1, le=MOST_COUNT)
    accumulate: int = Field(default=1, ge=1, le=MOST_COUNT)
    warmup: Share = 0.1
    max_length: int = Field(default=1024, ge=8, le=MOST_COUNT)
    loss: Literal["sigmoid", "hinge", "robust", "sigmoid_norm", "ipo"] = "sigmoid"
    precision: Literal["fp32", "bf16-mixed", "bf16"] = "fp32"
    lora: Lora | None = None
    max_steps: int | None = Field(default=None, ge=1, le=MOST_COUNT)
    save_steps: int = Field(default=50, ge=1, le=MOST_COUNT)
    liger: bool = False
    grpo: Grpo | None = None
    seed: int = Field(default=0, ge=0, le=MOST_SEED)


class Verify(Closed):
    """Where and how often to sample when the forecast is tested."""

    prompts: str = "builtin:general"
    rollouts: int = Field(default=128, ge=2, le=MOST_COUNT)
    max_new_tokens: int = Field(default=96, ge=1, le=MOST_COUNT)
    temperature: Number = Field(default=1.0, ge=0)
    seed: int = Field(default=0, ge=0, le=MOST_SEED)


class Allow(Closed):
    """A warning that is accepted, with the reason."""

    code: str
    because: str = Field(min_length=3)


class Spec(Closed):
    """A learning-signal spec."""

    tiltc: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    model: str | HubRef = "builtin:smollm2-135m-instruct"
    sae: str | SaeRef = Field(
        default="builtin:smollm2-135m-instruct-l15",
        description="a SAELens folder or release, `builtin:NAME`, or `none` where every readout is a detector",
    )
    data: str | HubRef | FileRef = "builtin:planted"
    extends: tuple[str, ...] = ()
    concepts: dict[str, Concept] = Field(default_factory=dict)
    signals: tuple[Signal, ...] = Field(min_length=1, max_length=256)
    budget: Budget = Budget()
    train: Train = Train()
    verify: Verify = Verify()
    allow: tuple[Allow, ...] = ()
    meta: dict[str, Any] | None = None


class ConceptFile(Closed):
    """A concept library: what `extends` points at, and the form of `std`."""

    tiltc: Literal[1]
    extends: tuple[str, ...] = ()
    concepts: dict[str, Concept]
    meta: dict[str, Any] | None = None
