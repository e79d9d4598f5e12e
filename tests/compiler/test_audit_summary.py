"""What `tiltc audit` prints."""

from __future__ import annotations

import re

import pytest

from tests.compiler.audits import fabricated_audit
from tests.compiler.golden_file import check_golden
from tiltc.audit.summary import summary
from tiltc.audit.titles import titles

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("plan", [False, True])
def test_the_summary_is_as_accepted(accept: bool, plan: bool) -> None:
    """The summary of the fabricated audit is, letter for letter, the one that a person has read and accepted."""
    check_golden(f"audit{'-against' if plan else ''}.txt", summary(fabricated_audit(plan=plan)), accept)


@pytest.mark.parametrize("size", [0, 1, 40, 400])
def test_it_fits_a_screen_and_drives_no_terminal(size: int) -> None:
    """Sixty lines at most whatever was found, and no control or direction character of the data."""
    page = summary(fabricated_audit(hypotheses=size, responses=max(1, size), contexts=max(1, size), plan=True))
    assert len(page.splitlines()) <= 60
    assert not CONTROL.search(page.replace("\n", ""))


def test_nothing_found_is_said() -> None:
    """An audit without hypotheses, concepts and noise still reads."""
    bare = fabricated_audit(hypotheses=0, concepts=0).model_copy(update={"noise": ()})
    page = summary(bare)
    assert page.count("nothing to report") == 3
    assert page.count("not tested") == 3
    assert "none of the library's concepts" in page


def test_clusters_of_one_title_are_told_apart() -> None:
    """Titles that several clusters of a kind share carry a piece of the id; others stay as they are."""
    audit = fabricated_audit(responses=60, contexts=60)
    called = titles(audit)
    for kind in ("g", "d", "k", "p"):
        names = [name for key, name in called.items() if key.startswith(kind)]
        assert len(set(names)) == len(names)
    assert sum(called[r.id] != r.label.title for r in audit.responses) > 10
    assert sum(called[r.id] == r.label.title for r in audit.responses) > 10
