"""Check: what is refused before anything is solved or trained (design section 6).

A rule is a small function over a spec, one file a family. `static` rules need the spec alone and run in `lint`;
`RULES` need evidence and run in `compile`. To add one: write it, list it here, register its code in `tiltc.codes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiltc.diagnostics import Diagnostics
from tiltc.source.compose import MOST

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.parse import SpecFile
    from tiltc.resolved import CheckedSpec, ResolvedSpec


def static(spec_file: SpecFile) -> Diagnostics:
    """Everything that can be refused without evidence."""
    from tiltc.check import instructions, methods, opposed, settings, tools

    found = Diagnostics()
    for rule in (
        opposed.same_concept,
        opposed.family,
        opposed.moving_ground,
        tools.mechanism_cannot,
        tools.uncovered_tool,
        tools.no_tokens,
        tools.blind_gate,
        tools.no_labels,
        instructions.no_instructions,
        instructions.idle_control,
        methods.misplaced_mechanism,
        methods.batches,
        settings.fused_path,
        settings.loss_without_offsets,
        settings.lost_updates,
        settings.saturated_beta,
    ):
        said = Diagnostics()
        rule(spec_file, said)
        found.extend(said.found[:MOST])
    return found


def check(spec_file: SpecFile, resolved: ResolvedSpec, evidence: Evidence) -> tuple[CheckedSpec | None, Diagnostics]:
    """Everything that evidence can refuse."""
    from tiltc.check import measured, pairing
    from tiltc.resolved import CheckedSpec

    found = Diagnostics()
    for rule in (
        measured.shared_features,
        measured.spilling_parent,
        measured.explained_away,
        measured.absent_signal,
        measured.against_the_data,
        measured.closed_gate,
        measured.truncated_concept,
        measured.few_rows,
    ):
        rule(spec_file, resolved, found)
    pairing.reconstruction(spec_file, evidence, found)
    return (None if found.failed else CheckedSpec(resolved)), found
