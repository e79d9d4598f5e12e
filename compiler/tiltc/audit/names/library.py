"""Where the library's concepts are shown, read off the texts by their own detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from tiltc import detectors

if TYPE_CHECKING:
    from tiltc.parse import Definition
    from tiltc.spec import Concept

Bools = npt.NDArray[np.bool_]


def library_presence(
    library: Mapping[str, Definition], texts: Sequence[str], reads: Literal["prompt", "response"]
) -> dict[str, Bools]:
    """(docs,) for each concept that reads such texts and has a detector; one whose pattern is too slow is left out.

    Length is no concept that is present or not.
    """
    out: dict[str, Bools] = {}
    for name, definition in sorted(library.items()):
        concept = definition.concept
        if concept.reads != reads or concept.surface == "length" or not detectors.has_detector(concept):
            continue
        shown = _present(concept, texts)
        if shown is not None:
            out[name] = shown
    return out


def _present(concept: Concept, texts: Sequence[str]) -> Bools | None:
    try:
        return detectors.present(concept, texts)
    except detectors.PatternTimeout:
        return None
