"""`allow:` entries that can't allow anything."""

from __future__ import annotations

from collections.abc import Iterator

from tiltc.codes import CODES
from tiltc.diagnostics import Diagnostic, Label, Severity
from tiltc.parse.specfile import SpecFile
from tiltc.parse.suggest import did_you_mean


def unknown_allows(file: SpecFile) -> Iterator[Diagnostic]:
    """An allow of a code that is not known, or of an error."""
    for index, allow in enumerate(file.spec.allow):
        at = file.at(("allow", index, "code"))
        code = CODES.get(allow.code)
        if code is None:
            helps = tuple(did_you_mean(allow.code, CODES))
            yield Diagnostic("T151", Label(at, f"no code `{allow.code}`"), helps=helps)
        elif code.severity is Severity.ERROR:
            yield Diagnostic("T152", Label(at, f"{code.code}, {code.title}, is an error"))
