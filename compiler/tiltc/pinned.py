"""What can be said of a plan beside its spec without evidence: is it still a plan of this spec?"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from tiltc.evidence import contrast_digest, local_path

if TYPE_CHECKING:
    from tiltc.parse import SpecFile
    from tiltc.plan import Plan

#: fields of a plan that it has from its spec as they are
SAME = ("name", "model", "sae", "data", "train", "verify", "budget", "signals")


def outdated(spec_file: SpecFile, plan: Plan) -> list[str]:
    """Why the plan is not one of this spec as it is now, a line each; nothing where it may be."""
    notes: list[str] = []
    if plan.pins.spec != spec_file.digest:
        fields = [name for name in SAME if getattr(plan, name) != getattr(spec_file.spec, name)]
        notes.append(f"the spec means something else now: {', '.join(fields) or 'its concepts or what it allows'}")
    if plan.compiler != version("tiltc"):
        notes.append(f"it was compiled by tiltc {plan.compiler}, this is {version('tiltc')}")
    return notes + _contrasts(spec_file, plan)


def untold(spec_file: SpecFile, plan: Plan) -> list[str]:
    """What only evidence can tell, a line each."""
    from tiltc.datafile import data_sha256, split_of

    data = local_path(spec_file.spec.data, spec_file.folder)
    if plan.pins.data.file_sha256 is None or data is None or not data.exists():
        return []
    same = data_sha256(data, split_of(spec_file.spec.data)) == plan.pins.data.file_sha256
    return (
        []
        if same
        else [f"{data.name} has other bytes than when it was harvested; evidence tells if its rows are others"]
    )


def _contrasts(spec_file: SpecFile, plan: Plan) -> list[str]:
    """Examples whose file says something else than it did."""
    out: list[str] = []
    for name, pinned in sorted(plan.pins.contrasts.items()):
        definition = spec_file.library.get(name)
        if definition is None or definition.concept.kind != "examples":
            continue
        try:
            now = contrast_digest(definition)
        except (OSError, ValueError) as problem:
            out.append(f"the examples of `{name}` can't be read: {problem}")
            continue
        if now != pinned:
            out.append(f"the examples of `{name}` are others now")
    return out
