"""ReFT adapters: low-rank changes of the residual stream, fitted by harvest on texts that show a concept (paper section 3.1).

    reft/<key>/adapter.json           `AdapterPin`: the recipe, the evidence that it was carried out on, and the loss
    reft/<key>/adapter.safetensors    `adapter` float32 (r, 2d + 1), see `plan.Steering`
    reft/<key>/held.npy               float32 (m,) nats a token that each of the recipe's `held` texts gains from the adapter
    reft/<key>/shard.json             `ShardPin`

The compiler chooses the texts and the settings; harvest does as the recipe says. A folder's name is the key of its recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiltc.canonical import canonical_json, sha256_text
from tiltc.evidence.attention import LabelledText
from tiltc.evidence.layout import Frozen

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

FOLDER, PIN, WEIGHTS, HELD = "reft", "adapter.json", "adapter.safetensors", "held.npy"
#: name of the only tensor of `adapter.safetensors`
TENSOR = "adapter"


class AdapterRecipe(Frozen):
    """What a NoDiReFT adapter is fitted to, and how (paper section 3.3; the fields below `held` have its values).

    The model is frozen, its residual stream h is h + W2 (W1 h + b) at one layer on the first `ends` and the last `ends` tokens
    of a response, and the loss is the mean of -log p over the response tokens of a batch.
    """

    #: digest of the data, or of the contrast set
    source: str
    #: the decoder layer whose output is changed, from 0; -1 is what enters layer 0
    layer: int
    #: texts that show the concept
    fit: tuple[LabelledText, ...]
    #: texts with and without it that are not fitted on: what the adapter does is measured on them
    held: tuple[LabelledText, ...]
    rank: int = 8
    ends: int = 11
    #: of what the adapter adds
    dropout: float = 0.05
    learning_rate: float = 9e-4
    #: texts in a batch
    batch: int = 8
    epochs: int = 3
    seed: int = 0

    @property
    def key(self) -> str:
        return sha256_text(canonical_json(self))[:24]


class AdapterPin(Frozen):
    """A recipe as it was carried out: `of` is the digest of the evidence's manifest, `tokens` those with a loss, `loss` the
    mean of each epoch, with dropout."""

    recipe: AdapterRecipe
    of: str
    tokens: int
    loss: tuple[float, ...]


@dataclass(frozen=True)
class Adapter:
    """A fitted adapter: its tensor (r, 2d + 1), and the nats a token that the held-out texts gain from it (m,)."""

    tensor: np.ndarray
    held: np.ndarray


def read_adapter(evidence: Path, key: str) -> Adapter | None:
    """The adapter that was fitted by a recipe, None if it was not harvested."""
    import numpy as np
    from safetensors.numpy import load_file

    folder = evidence / FOLDER / key
    if not (folder / "shard.json").is_file():
        return None
    return Adapter(load_file(folder / WEIGHTS)[TENSOR], np.load(folder / HELD, allow_pickle=False))
