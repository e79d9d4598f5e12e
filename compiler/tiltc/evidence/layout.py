"""Evidence: what one pass of the frozen model over the data saw. Raw measurements only, no choice lives here.

Layout of an evidence folder, written by `tiltc_runtime.harvest`, readable without torch:

    manifest.json                 `Manifest`: pins, shard list with sha256 of every file, digest
    shards/00000/rows.parquet     `ROW_SCHEMA`, one row per pair
    shards/00000/{span}.indptr.npy    int64   (n + 1)      CSR over pairs, span in prompt | chosen | rejected
    shards/00000/{span}.indices.npy   uint32  (nnz)        feature ids, increasing within a row
    shards/00000/{span}.max.npy       float16 (nnz)        max activation over the span's tokens
    shards/00000/{span}.count.npy     uint16  (nnz)        tokens of the span on which the feature fired
    shards/00000/{span}.peak.npy      uint16  (nnz)        number of the token on which the max occurred, see below
    shards/00000/residual.npy         float16 (n, 2, d_in) mean residual over response tokens; chosen, rejected
    shards/00000/reconstruction.json  sums over a sample of the shard's response tokens, see `Reconstruction`
    shards/00000/trained.json     only where tokens and text of a row differ: `Differences`, see `tiltc.evidence.trained`
    shards/00000/shard.json       `ShardPin`: written with the shard, so that a resumed harvest knows it is whole
    contrast/<digest>/            the same for a contrast set: manifest.json, rows.parquet, response.*.npy, residual.npy
    sampled/<key>/                answers.jsonl and manifest.json: what a `contrast` concept's set was made of, see `sampled.py`
    likelihood/<key>/             scores.parquet (`LIKELIHOOD_SCHEMA`) and manifest.json (`LikelihoodManifest`), see below
    likelihood/parts/<key>/       the shards of such a pass until it is done
    attention/<key>/              probes that were fitted on single tokens, see `tiltc.evidence.attention`
    reft/<key>/                   adapters that were fitted to texts, see `tiltc.evidence.reft`
    request.json                  `Manifest.request`, written first: tells an unfinished harvest from a missing one

A row is `empty` where a response has no tokens of its text, `identical` where both are the same tokens, and has the status
`header` where a response begins with the header of a role that the generation prompt does not name.

The first token of a sequence is an attention sink and enters no figure. A folder's name and place mean nothing.

Peaks count the tokens of the span from 0, all of those in `{span}_tokens`, the sink too: so a prompt's smallest peak is
1, and a response's is 0 (1 after an empty prompt, whose sink is the response's first token). The first of equal maxima
counts; 65535 stands for this token or a later one, in counts as well.

`{span}_starts` says where in the row's text each of these tokens starts: token k covers the characters from starts[k]
to starts[k + 1], the last token those to the text's end. Tokens of the chat template or special tokens cover nothing:
before the text they start at 0, after it at its end, between two messages at the end of the first. Of tokens that share
a character (a part of an emoji each) the last covers it. With tokenizers that leave white space out of offsets, it
belongs to the token before. The list is empty where this is not certain: slow tokenizers, offsets with holes, templates
that change the text other than at its ends, rows without features.

Likelihoods are there where a spec asked for them (`tiltc.evidence.likelihood` has the keys). `likelihood/clean` has
log p(y | x) of both responses, summed over the response tokens that training sees, in nats. The others have what the
same tokens gain from an instruction at the end of the last user turn, from a vector added from that turn on, or from an
adapter on both ends of the response: log p(y | x; instructed or steered) - log p(y | x). Rows other than ok have none,
nor have those that with the instruction are longer than the model's context.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from tiltc.plan import DataPin, ModelPin, SaePin

#: Version of this layout. Older evidence is refused by name.
FORMAT: Final = 2

SPANS = ("prompt", "chosen", "rejected")

#: rows.parquet of a shard: name, pyarrow type, meaning
ROW_SCHEMA: tuple[tuple[str, str, str], ...] = (
    ("row_id", "string", "sha256[:16] of canonical JSON of (prompt, chosen, rejected), `-k` added to the k-th repeat"),
    ("group", "string", "sha256[:16] of the prompt: rows of one prompt stay in the same half and bootstrap cluster"),
    (
        "status",
        "string",
        "ok | empty | identical | header | too_long | single (no rejected response) | unwanted (no chosen one)",
    ),
    ("prompt", "string", "text of the conversation before the response; where tokens say another, what they say"),
    ("chosen", "string", "text of the chosen response, where tokens say another, what they say; as far as it was read"),
    ("rejected", "string", "the same of the rejected response"),
    ("prompt_tokens", "int32", "tokens read"),
    ("chosen_tokens", "int32", "tokens read"),
    ("rejected_tokens", "int32", "tokens read"),
    ("chosen_cut", "bool", "truncated at max_length"),
    ("rejected_cut", "bool", "truncated at max_length"),
    ("prompt_starts", "list<int32>", "where the tokens read start in `prompt`, in characters; empty where unknown"),
    ("chosen_starts", "list<int32>", "the same in `chosen`"),
    ("rejected_starts", "list<int32>", "the same in `rejected`"),
)

#: rows.parquet of a contrast set
CONTRAST_SCHEMA: tuple[tuple[str, str, str], ...] = (
    ("label", "int8", "1 shows the concept, 0 does not"),
    ("pair", "string", "the same value on the two sides of a contrast pair, else empty"),
    ("prompt", "string", ""),
    ("response", "string", ""),
    ("tokens", "int32", "response tokens read"),
)

#: scores.parquet of a likelihood folder
LIKELIHOOD_SCHEMA: tuple[tuple[str, str, str], ...] = (
    ("row_id", "string", ""),
    ("chosen", "double", "nats over the chosen response; null where there is none"),
    ("rejected", "double", "the same of the rejected response"),
)


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardPin(Frozen):
    name: str
    rows: int
    #: file name -> sha256 of its bytes
    files: dict[str, str]


class Reconstruction(Frozen):
    """How well the SAE explains the residuals it was read on, over the first response tokens of every shard.

    fvu = sum |x - decode(encode(x))|^2 / sum |x - mean(x)|^2, with the mean taken within a shard (sinks left out);
    l0 = features firing per token.
    """

    fvu: float
    l0: float
    tokens: int


class Manifest(Frozen):
    """`manifest.json` of an evidence folder. `digest` is the sha256 of the canonical JSON of all other fields."""

    format: Literal[2] = FORMAT
    #: what the spec asked for, so that `compile` can find the folder: model, sae, data, rows, max_length
    request: dict[str, str | int | None]
    model: ModelPin
    sae: SaePin
    data: DataPin
    template: str
    #: sha256 of the tokenizer's vocabulary
    tokenizer: str = ""
    max_length: int
    #: of the model's forward pass
    dtype: str
    shards: tuple[ShardPin, ...]
    reconstruction: Reconstruction
    digest: str


class ContrastManifest(Frozen):
    """`manifest.json` of a contrast set's folder."""

    format: Literal[2] = FORMAT
    rows: int
    positives: int
    files: dict[str, str]
    digest: str


class LikelihoodManifest(Frozen):
    """`manifest.json` of a likelihood folder."""

    format: Literal[2] = FORMAT
    kind: Literal["clean", "prompt", "steer", "reft"]
    #: of `steer` and `reft`: the decoder layer whose output is changed, and how many times the change is added
    layer: int | None = None
    size: float | None = None
    #: of the instruction's text, of the vector's float32 bytes, or of the adapter's and where it is added
    sha256: str = ""
    #: digests of the evidence's model and rows
    model: str
    data: str
    rows: int
    #: rows that have scores
    available: int
    files: dict[str, str]
    digest: str
