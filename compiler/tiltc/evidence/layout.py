"""Evidence: what one pass of the frozen model over the data saw. Raw measurements only, no choice lives here.

Layout of an evidence folder, written by `tiltc_runtime.harvest`, readable without torch:

    manifest.json                 `Manifest`: pins, shard list with sha256 of every file, digest
    shards/00000/rows.parquet     `ROW_SCHEMA`, one row per pair
    shards/00000/{span}.indptr.npy    int64   (n + 1)      CSR over pairs, span in prompt | chosen | rejected
    shards/00000/{span}.indices.npy   uint32  (nnz)        feature ids, increasing within a row
    shards/00000/{span}.max.npy       float16 (nnz)        max activation over the span's tokens
    shards/00000/{span}.count.npy     uint16  (nnz)        tokens of the span on which the feature fired
    shards/00000/residual.npy         float16 (n, 2, d_in) mean residual over response tokens; chosen, rejected
    shards/00000/reconstruction.json  sums over a sample of the shard's response tokens, see `Reconstruction`
    shards/00000/shard.json       `ShardPin`: written with the shard, so that a resumed harvest knows it is whole
    contrast/<digest>/            the same for a contrast set: manifest.json, rows.parquet, response.*.npy, residual.npy
    request.json                  `Manifest.request`, written first: tells an unfinished harvest from a missing one

The first token of a sequence is an attention sink and enters no figure. A folder's name and place mean nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from tiltc.plan import DataPin, ModelPin, SaePin

SPANS = ("prompt", "chosen", "rejected")

#: rows.parquet of a shard: name, pyarrow type, meaning
ROW_SCHEMA: tuple[tuple[str, str, str], ...] = (
    ("row_id", "string", "sha256[:16] of canonical JSON of (prompt, chosen, rejected), `-k` added to the k-th repeat"),
    ("group", "string", "sha256[:16] of the prompt: rows of one prompt stay in the same half and bootstrap cluster"),
    ("status", "string", "ok | empty | identical | too_long; other than ok: no features, gap 0"),
    ("prompt", "string", "text of the conversation before the response"),
    ("chosen", "string", "text of the chosen response"),
    ("rejected", "string", "text of the rejected response"),
    ("prompt_tokens", "int32", "tokens read"),
    ("chosen_tokens", "int32", "tokens read"),
    ("rejected_tokens", "int32", "tokens read"),
    ("chosen_cut", "bool", "truncated at max_length"),
    ("rejected_cut", "bool", "truncated at max_length"),
)

#: rows.parquet of a contrast set
CONTRAST_SCHEMA: tuple[tuple[str, str, str], ...] = (
    ("label", "int8", "1 shows the concept, 0 does not"),
    ("pair", "string", "the same value on the two sides of a contrast pair, else empty"),
    ("prompt", "string", ""),
    ("response", "string", ""),
    ("tokens", "int32", "response tokens read"),
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

    format: Literal[1] = 1
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

    format: Literal[1] = 1
    rows: int
    positives: int
    files: dict[str, str]
    digest: str
