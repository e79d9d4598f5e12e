"""The registry: every code is explained, and the codes of the front end each have a golden case."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tiltc.codes import CODES
from tiltc.codes.auditing import AUDITING
from tiltc.codes.conflict import CONFLICT
from tiltc.codes.effect import EFFECT
from tiltc.codes.resolving import RESOLVING
from tiltc.codes.solving import SOLVING
from tiltc.codes.stale import STALE
from tiltc.codes.syntax import SYNTAX

ROOT = Path(__file__).parent.parent.parent
FAMILIES = {"T1": SYNTAX, "T2": RESOLVING, "T3": CONFLICT, "T4": SOLVING, "T5": STALE, "T6": EFFECT, "T7": AUDITING}
#: Shown by test_source.py and test_hostile.py: their cases would be a megabyte, a pipe, many patterns or files.
WITHOUT_CASE = {"T102", "T117", "T118", "T119"}


def test_no_code_is_used_twice() -> None:
    """Each family keeps to its hundred, no two entries share a code, and no two a title."""
    every = [code for family in FAMILIES.values() for code in family]
    assert len({code.code for code in every}) == len(every) == len(CODES)
    assert len({code.title for code in every}) == len(every)
    for prefix, family in FAMILIES.items():
        assert all(re.fullmatch(rf"{prefix}\d\d", code.code) for code in family)


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.code)
def test_code_is_explained(code: object) -> None:
    """A page says what is meant, shows an example and says what to do; its lines fit a terminal."""
    explain = CODES[str(getattr(code, "code", ""))].explain
    assert re.search(r"^Example:", explain, re.MULTILINE)
    assert re.search(r"^What to do:", explain, re.MULTILINE)
    assert max(map(len, explain.splitlines())) <= 140


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.code)
def test_title_states_a_fault(code: object) -> None:
    """A title is short, without names or a full stop."""
    title = CODES[str(getattr(code, "code", ""))].title
    assert len(title) <= 48
    assert not re.search(r"[.:{}]$|`", title)


@pytest.mark.parametrize("code", [code.code for code in SYNTAX if code.code not in WITHOUT_CASE])
def test_code_has_a_golden_case(code: str) -> None:
    """Each code of the front end occurs in an accepted message."""
    goldens = (ROOT / "tests" / "err").glob("*.diag")
    assert any(f"[{code}]" in golden.read_text("utf-8") for golden in goldens)


def test_codes_in_the_sources_are_registered() -> None:
    """No stage reports a code that `explain` does not know."""
    used = {
        code: file.name
        for root in ("compiler", "runtime")
        for file in (ROOT / root).rglob("*.py")
        if file.parent.name != "codes"
        for code in re.findall(r"\"(T[1-7]\d\d)\"", file.read_text("utf-8"))
    }
    assert {code: file for code, file in used.items() if code not in CODES} == {}


def test_registered_front_end_codes_are_used() -> None:
    """No code of the front end is left over."""
    text = "".join(file.read_text("utf-8") for file in (ROOT / "compiler").rglob("*.py") if file.parent.name != "codes")
    assert [code.code for code in SYNTAX if f'"{code.code}"' not in text] == []
