"""A model and an SAE that don't belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.diagnostics import Diagnostics

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.parse import SpecFile

#: fraction of variance unexplained above which features can't be read as the model's own
POOR_FVU, BROKEN_FVU = 0.5, 1.0


def reconstruction(spec_file: SpecFile, evidence: Evidence, found: Diagnostics) -> None:
    """T313, T314: harvest measured how well the SAE explains this model's residuals."""
    measured = evidence.manifest.reconstruction
    if measured.fvu < POOR_FVU:
        return
    found.add(
        "T313" if measured.fvu >= BROKEN_FVU else "T314",
        spec_file.at(("sae",)),
        f"`{evidence.manifest.sae.name}` explains little of `{evidence.manifest.model.name}` at `{evidence.manifest.sae.hook}`",
        notes=[
            f"fraction of variance unexplained: {measured.fvu:.2f} over {measured.tokens} tokens, L0 {measured.l0:.0f}"
        ],
        helps=["check that the SAE was trained on this model, layer and hook"],
    )
