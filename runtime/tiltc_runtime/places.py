"""Where a run may write: into a folder of its own, and over nothing that it reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tiltc.diagnostics import Diagnostics
from tiltc.evidence import local_path
from tiltc.figures import one_line
from tiltc.folders import REFERENCE, RUN, over_input, refusal
from tiltc.paths import locate
from tiltc.plan import Plan
from tiltc.planfile import PLAN_FILES
from tiltc_runtime import runfolder
from tiltc_runtime.record import RECORD_FILE

#: what a run writes into each of its folders; `model/` is told by the record
OWN_NAMES = {
    runfolder.PLAN: rf"{'|'.join(map(re.escape, PLAN_FILES))}|\.tiltc-.*",
    runfolder.REFERENCE: r"[0-9a-f]{64}\.(npy|part)|\.tiltc-.*",
    runfolder.CHECKPOINTS: r"(tmp-)?checkpoint-\d+",
    runfolder.VERIFY: r"(report\.(json|md|html|sha256)|rollouts\.jsonl?)(\.part)?|rollouts\.part|\.tiltc-.*",
}
#: strangers that a finding names
NAMED = 5


def refused_run(out: Path, plan: Path, reference: Path | None, *, fresh: bool) -> Diagnostics:
    """T585, T586 for places that a run of the plan folder `plan` would write to, or with `fresh` clear, and must not."""
    found = refusal(out, RUN)
    if reference is not None:
        found.extend(refusal(reference, REFERENCE))
    if fresh and not found:
        found.extend(over_input((out / name for name in runfolder.OWNED_FOLDERS), [plan]))
        for name in runfolder.OWNED_FOLDERS:
            found.extend(_strangers(out, name))
    return found


def refused_inputs(out: Path, plan: Plan, root: Path, *, fresh: bool) -> Diagnostics:
    """T586 where a run would write over something that its plan names, or with `fresh` remove it."""
    written = runfolder.OWNED_FOLDERS if fresh else (runfolder.MODEL, runfolder.CHECKPOINTS)
    return over_input((out / name for name in written), _named(plan, root))


def _named(plan: Plan, root: Path) -> Iterator[Path]:
    """The local files and folders that a plan names."""
    reward = plan.train.grpo.reward if plan.train.grpo else None
    for ref in (plan.model, plan.sae, plan.data, reward):
        path = local_path(ref, root)
        if path is not None:
            yield path
    if not plan.verify.prompts.startswith("builtin:"):
        yield locate(plan.verify.prompts, root)


def _strangers(out: Path, name: str) -> Diagnostics:
    found = Diagnostics()
    folder, own = out / name, _own_names(out, name)
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() and own else []
    strange = [path for path in there if not re.fullmatch(own, path)]
    if strange:
        more = f" and {len(strange) - NAMED} more" if len(strange) > NAMED else ""
        notes = [f"{', '.join(map(one_line, strange[:NAMED]))}{more}", "nothing was removed"]
        text = f"{one_line(folder)} holds what no run wrote there"
        found.add("T585", None, text, notes=notes, helps=["move it elsewhere, then start again"])
    return found


def _own_names(out: Path, name: str) -> str:
    """What names a run gives in this folder, as a pattern; empty where that isn't known."""
    if name != runfolder.MODEL:
        return OWN_NAMES.get(name, "")
    try:
        outputs = json.loads((out / RECORD_FILE).read_bytes())["outputs"]
        return "|".join(re.escape(str(path).partition("/")[0]) for path in outputs)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
