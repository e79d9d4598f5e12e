"""Attention probes: fitted by harvest on every token of some labelled texts, and kept in the evidence.

    attention/<key>/probe.json           `ProbePin`: the recipe, the evidence that it was carried out on, and the loss
    attention/<key>/probe.safetensors    `probe` float32 (2H + 1, d + 1): H queries, H values and a residual, bias last
    attention/<key>/held.npy             float32 (m,) the largest logit over the tokens of each of the recipe's `held` texts
    attention/<key>/shard.json           `ShardPin`

The compiler chooses the texts, their labels and the settings; harvest does as the recipe says. A folder's name is the key
of its recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from tiltc.canonical import canonical_json, sha256_text
from tiltc.evidence.layout import ShardPin

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

FOLDER, PIN, WEIGHTS, HELD = "attention", "probe.json", "probe.safetensors", "held.npy"
#: name of the only tensor of `probe.safetensors`
TENSOR = "probe"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelledText(_Frozen):
    """A response of row `row` of the data, or example `row` of a contrast set, both counted from 0."""

    row: int
    side: Literal["chosen", "rejected", "example"]
    label: bool


class ProbeRecipe(_Frozen):
    """What an attention probe is fitted to, and how (paper sections 3.1 to 3.3).

    Every token of a text has the text's label, in a class-balanced cross-entropy: the mean over tokens of
    -(n-/n+ y log s(z) + (1 - y) log(1 - s(z))), n in tokens.
    """

    #: digest of the data, or of the contrast set
    source: str
    fit: tuple[LabelledText, ...]
    #: texts of the contrast set that are not fitted on; of the data all tokens are read anyway
    held: tuple[LabelledText, ...] = ()
    heads: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    epochs: int = 12
    #: texts in a batch
    batch: int = 64
    seed: int = 0

    @property
    def key(self) -> str:
        return sha256_text(canonical_json(self))[:24]


class ProbePin(_Frozen):
    """A recipe as it was carried out: `of` is the digest of the evidence's manifest, `tokens` those that were fitted on,
    `loss` the mean of each epoch."""

    recipe: ProbeRecipe
    of: str
    tokens: int
    loss: tuple[float, ...]


@dataclass(frozen=True)
class AttentionProbe:
    """A fitted probe: its tensor (2H + 1, d + 1), the logits of held-out texts (m,), and the sha256 of its file."""

    tensor: np.ndarray
    held: np.ndarray
    sha256: str


def read_probe(evidence: Path, key: str) -> AttentionProbe | None:
    """The probe that was fitted by a recipe, None if it was not harvested."""
    import numpy as np
    from safetensors.numpy import load_file

    folder = evidence / FOLDER / key
    if not (folder / "shard.json").is_file():
        return None
    pin = ShardPin.model_validate_json((folder / "shard.json").read_bytes())
    held = np.load(folder / HELD, allow_pickle=False)
    return AttentionProbe(load_file(folder / WEIGHTS)[TENSOR], held, pin.files[WEIGHTS])
