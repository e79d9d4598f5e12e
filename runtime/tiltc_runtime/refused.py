"""What stops a loader: findings, carried to the verb that prints them."""

from __future__ import annotations

from typing import NoReturn

from tiltc.diagnostics import Diagnostics


class Refused(Exception):
    """Something that a user named can't be used. `diagnostics` say what and why."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        super().__init__("; ".join(f"{d.code}: {d.primary.text}" for d in diagnostics))
        self.diagnostics = diagnostics


def refuse(code: str, text: str, *, notes: tuple[str, ...] = (), helps: tuple[str, ...] = ()) -> NoReturn:
    """Raise `Refused` with one finding that has no place in a file."""
    found = Diagnostics()
    found.add(code, None, text, notes=notes, helps=helps)
    raise Refused(found)
