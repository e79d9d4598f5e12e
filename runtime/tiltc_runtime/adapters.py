"""The stage of a harvest that fits ReFT adapters: some texts that show a concept, read through the whole model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
from safetensors.numpy import save_file

from tiltc.canonical import canonical_json
from tiltc.evidence import AdapterPin, AdapterRecipe, LabelledText, Manifest
from tiltc.evidence.reft import FOLDER, HELD, PIN, TENSOR, WEIGHTS
from tiltc.files import write_whole
from tiltc_runtime.disk import mark_whole, whole_shard
from tiltc_runtime.inputs import Inputs
from tiltc_runtime.loading import LoadedModel
from tiltc_runtime.probes import items_of
from tiltc_runtime.reft import fit_adapter, gained
from tiltc_runtime.refused import refuse
from tiltc_runtime.tokens import Ids


def fit_adapters(
    inputs: Inputs,
    folder: Path,
    recipes: Sequence[AdapterRecipe],
    load: Callable[[], LoadedModel],
    err: TextIO | None,
) -> bool:
    """Fit what an evidence folder lacks of `recipes`, each whole or not at all.

    Args:
        load: gives the whole model; called only when something is missing.

    Returns:
        False if it lacked nothing.
    """
    lacking = [recipe for recipe in recipes if whole_shard(folder / FOLDER / recipe.key) is None]
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes()) if lacking else None
    for recipe in lacking:
        assert manifest is not None, "something is missing"
        name = f"ReFT adapter {recipe.key[:12]}"

        def say(text: str, name: str = name) -> None:
            if err is not None:
                err.write(f"harvest: {name}, {text}\n")
                err.flush()

        say(f"{len(recipe.fit)} texts")
        fit_one(inputs, load(), folder / FOLDER / recipe.key, recipe, manifest.digest, say)
    return bool(lacking)


def fit_one(
    inputs: Inputs, loaded: LoadedModel, place: Path, recipe: AdapterRecipe, of: str, say: Callable[[str], None]
) -> None:
    """Carry a recipe out and write its folder.

    Raises:
        Refused: T513, what was fitted is not finite.
        OSError: as the file system says.
    """
    fit, held = _texts(inputs, recipe, recipe.fit), _texts(inputs, recipe, recipe.held)
    tensor, loss = fit_adapter(loaded.model, fit, recipe, say)
    # what is not finite is not fit to be measured either
    gains = gained(loaded.model, held, tensor, recipe) if np.isfinite(tensor).all() else np.full(len(held), np.nan)
    if not np.isfinite(gains).all():
        helps = ("harvest with `--dtype float32`",) if loaded.dtype != "float32" else ()
        refuse("T513", f"what ReFT adapter {place.name[:12]} adds is not finite", helps=helps)
    tokens = sum(len(response) for _, response in fit)
    pin = AdapterPin(recipe=recipe, of=of, tokens=tokens, loss=loss)

    def fill(work: Path) -> None:
        save_file({TENSOR: tensor}, work / WEIGHTS)
        np.save(work / HELD, gains, allow_pickle=False)
        (work / PIN).write_text(canonical_json(pin), encoding="utf-8")
        mark_whole(work, place.name, len(recipe.fit))

    write_whole(place, fill)


def _texts(inputs: Inputs, recipe: AdapterRecipe, texts: Sequence[LabelledText]) -> list[tuple[Ids, Ids]]:
    return [(prompt, response) for prompt, (response,) in items_of(inputs, recipe.source, texts)]
