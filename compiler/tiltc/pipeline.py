"""The whole compiler on one screen.

    source -> parse -> [static check] -> resolve -> check -> choose -> lower -> plan

Each stage is `stage(input) -> (output | None, Diagnostics)`. It reports all its findings; the next does not start on an
error. Warnings that the spec allows are taken out at the end (`allow.py`).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tiltc.diagnostics import Diagnostic, Diagnostics, Span

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.lower import Compiled
    from tiltc.parse import SpecFile


#: families of codes whose every check has been made by the end of a compile
JUDGED = ("T1", "T2", "T3", "T4")


def compile_spec(
    spec_file: SpecFile, evidence: Evidence, cache: Path | None = None, said: Diagnostics | None = None
) -> tuple[Compiled | None, Diagnostics]:
    """Compile a parsed spec against evidence into a plan, its rows and its vectors.

    Args:
        cache: folder for results that follow from the evidence alone; None recomputes them.
        said: what parsing found. It is among the findings returned, and the spec's allows are applied to it too.
    """
    from tiltc.allow import OF_THE_MACHINE, apply_allows
    from tiltc.check import check, static
    from tiltc.choose import choose
    from tiltc.derived import Derived
    from tiltc.findings import as_findings
    from tiltc.lower import lower
    from tiltc.plan import Allowed
    from tiltc.resolve import resolve

    found = Diagnostics(list(said or ()))
    # of what was said before, all that is no finding on the spec is one on this machine's store: no part of a plan
    before = frozenset(found.found)
    found.extend(static(spec_file))
    if found.failed:
        return None, found
    derived = Derived(cache / evidence.manifest.digest[:16] if cache else None)
    resolved, more = resolve(spec_file, evidence, derived)
    found.extend(more)
    if resolved is None:
        return None, found
    checked, more = check(spec_file, resolved, evidence)
    found.extend(more)
    if checked is None:
        return None, found
    solved, more = choose(spec_file, checked)
    found.extend(more)
    if solved is None:
        return None, found
    found, used = apply_allows(spec_file, found, JUDGED)
    allowed = tuple(Allowed(code=a.code, because=a.because) for a in used if a.code not in OF_THE_MACHINE)
    told = (d for d in found if d.code not in OF_THE_MACHINE and (d.code.startswith(JUDGED) or d not in before))
    told = as_findings(sorted(told, key=partial(_standing, spec_file)))
    return lower(spec_file, solved, evidence.manifest, allowed, told), found


def _standing(spec_file: SpecFile, d: Diagnostic) -> tuple[bool, Span]:
    """Orders findings by place, the same from whichever folder the spec is compiled."""
    span = d.primary.span
    if span is None:
        return True, Span("", 0, 0, 0, 0)
    return False, span._replace(path=spec_file.names.get(span.path, span.path))
