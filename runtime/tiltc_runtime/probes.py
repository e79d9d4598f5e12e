"""The stage of a harvest that fits attention probes: every token of some labelled texts is read, held and fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from safetensors.numpy import save_file

from tiltc.canonical import canonical_json
from tiltc.evidence import LabelledText, Manifest, ProbePin, ProbeRecipe
from tiltc.evidence.attention import FOLDER, HELD, PIN, TENSOR, WEIGHTS
from tiltc.files import write_whole
from tiltc_runtime.activations import Nothing, Projected, Reader
from tiltc_runtime.asked import encode_asked
from tiltc_runtime.attention import fit_probe
from tiltc_runtime.disk import mark_whole, whole_shard
from tiltc_runtime.inputs import Inputs
from tiltc_runtime.refused import refuse
from tiltc_runtime.tokens import Ids

Tensor = torch.Tensor
#: a prompt and the one response to it that is read
Item = tuple[Ids, tuple[Ids]]


def fit_probes(inputs: Inputs, folder: Path, recipes: Sequence[ProbeRecipe], err: TextIO | None) -> bool:
    """Fit what an evidence folder lacks of `recipes`, each whole or not at all.

    Returns:
        False if it lacked nothing.
    """
    lacking = [recipe for recipe in recipes if whole_shard(folder / FOLDER / recipe.key) is None]
    if not lacking:
        return False
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    reader = Reader(inputs.loaded, inputs.sae)
    # as the other passes do: how a model is read does not depend on what is read first
    items = next(filter(None, map(inputs.usable, inputs.shards.values())), None)
    assert items is not None, "the evidence has rows that were read"
    reader.prepare(items)
    for recipe in lacking:
        if err is not None:
            err.write(f"harvest: attention probe {recipe.key[:12]}, {len(recipe.fit)} texts\n")
        fit_one(inputs, reader, folder / FOLDER / recipe.key, recipe, manifest.digest)
    return True


def fit_one(inputs: Inputs, reader: Reader, place: Path, recipe: ProbeRecipe, of: str) -> None:
    """Carry a recipe out and write its folder.

    Raises:
        Refused: T513, what was read or fitted is not finite.
        OSError: as the file system says.
    """
    items = items_of(inputs, recipe.source, recipe.fit)
    kept = Kept(items, reader.sae.config.d_in)
    reader.run(items, Nothing(), kept)
    labels = [text.label for text in recipe.fit]
    tensor, loss = fit_probe(kept.residuals, kept.sizes, labels, recipe)
    tokens = len(kept.residuals)
    # held-out texts are read once the others have made room
    del kept
    held = _largest(reader, items_of(inputs, recipe.source, recipe.held), tensor)
    if not (np.isfinite(tensor).all() and np.isfinite(held).all()):
        refuse("T513", f"residuals of the texts of attention probe {place.name[:12]} are not finite")
    pin = ProbePin(recipe=recipe, of=of, tokens=tokens, loss=loss)

    def fill(work: Path) -> None:
        save_file({TENSOR: tensor}, work / WEIGHTS)
        np.save(work / HELD, held, allow_pickle=False)
        (work / PIN).write_text(canonical_json(pin), encoding="utf-8")
        mark_whole(work, place.name, len(recipe.fit))

    write_whole(place, fill)


def items_of(inputs: Inputs, source: str, texts: Sequence[LabelledText]) -> list[Item]:
    """What is read of each text of the data or of a contrast set, `source` by digest. The compiler names texts that have
    tokens."""
    items: list[Item] = []
    for text in texts:
        if text.side == "example":
            example = inputs.contrasts[source][text.row]
            prompt, length = inputs.form.asked(example.prompt), inputs.spec.train.max_length
            encoded, side = encode_asked(inputs.tokenizer, prompt, example.response, length), 0
        else:
            [encoded] = inputs.encode([inputs.data.pairs[text.row]])
            side = ("chosen", "rejected").index(text.side)
        items.append((encoded.prompt, (encoded.responses[side],)))
    return items


def _largest(reader: Reader, items: Sequence[Item], tensor: np.ndarray) -> np.ndarray:
    """(m,) float32 the largest logit of each response."""
    projected = Projected({TENSOR: tensor}, len(items))
    if items:
        reader.run(items, Nothing(), projected)
    return projected.most[TENSOR].astype(np.float32)


class Kept:
    """Keeps the residuals (N, d) of all tokens of the responses, one response after the other; sinks are left out."""

    def __init__(self, items: Sequence[Item], width: int) -> None:
        # the first token of a sequence is the sink: of the response's where there is no prompt
        self.sizes = [len(response) - (not prompt) for prompt, (response,) in items]
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)]).tolist()
        self.residuals = torch.empty(self.starts[-1], width)

    def begin(self, residuals: Tensor, *, skip: int = 0) -> None:
        """Responses begin with nothing that they share."""

    def add(self, residuals: Tensor, spans: Sequence[tuple[int, int, int]], *, skip: int = 0) -> None:
        for row, (index, start, stop) in enumerate(spans):
            at = slice(self.starts[index], self.starts[index + 1])
            self.residuals[at] = residuals[row, start + skip : stop].float().cpu()
