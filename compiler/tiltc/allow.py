"""Warnings a spec accepts: taken out of the findings, and reported when they accept nothing."""

from __future__ import annotations

from tiltc.diagnostics import Diagnostics, Severity
from tiltc.parse.specfile import SpecFile
from tiltc.spec import Allow

#: codes whose finding hangs on the machine's speed: nobody can say that an allow of one is not needed
OF_THE_MACHINE = frozenset({"T118"})


def apply_allows(
    file: SpecFile, found: Diagnostics, judged: tuple[str, ...] = ("T1",)
) -> tuple[Diagnostics, tuple[Allow, ...]]:
    """The findings without the warnings that the spec allows, and the allows that were used.

    Args:
        judged: prefixes of the codes that every check has been made for. An allow of such a code that nothing
            needed is reported; one of a later stage's code is left for that stage.
    """
    allowed = {allow.code for allow in file.spec.allow}
    kept = Diagnostics([d for d in found.found if d.severity is Severity.ERROR or d.code not in allowed])
    silenced = {d.code for d in found.found if d.severity is not Severity.ERROR}
    used = tuple(allow for allow in file.spec.allow if allow.code in silenced)
    for index, allow in enumerate(file.spec.allow):
        if allow.code.startswith(judged) and allow.code not in silenced | OF_THE_MACHINE:
            help = "take it out, so that it does not hide a later finding"
            kept.add("T153", file.at(("allow", index)), f"nothing here is {allow.code}", helps=[help])
    return kept, used
