"""A spec may come from a stranger: it is answered soon, with one code, and reads nobody's files aloud."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from benchmarks import hostile

from tiltc.detectors.surface import COUNTERS
from tiltc.render import FORMATS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository to work in, and the variables that a hostile spec names."""
    where = tmp_path / "repository"
    where.mkdir()
    for name, value in hostile.environment(where).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    monkeypatch.delenv("TILTC_PATHS", raising=False)
    monkeypatch.chdir(where)
    return where


@pytest.mark.parametrize("name", [*hostile.FOREIGN, *hostile.FILES])
def test_nothing_of_a_foreign_file_is_shown(name: str, folder: Path) -> None:
    """One code for what a spec names and must not read, in every format, and no word of it."""
    case = hostile.CASES[name]
    hostile.write(case, folder)
    assert [fault for format in FORMATS for fault in hostile.faults(case, format)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile.SPECS)
def test_a_spec_made_to_take_long_takes_no_time(name: str, folder: Path) -> None:
    """One code within two seconds of the processor."""
    case = hostile.CASES[name]
    hostile.write(case, folder)
    start = time.process_time()
    assert hostile.faults(case, "json") == []
    assert time.process_time() - start < hostile.MOST_SECONDS


def test_circles_and_chains_in_the_thousands_take_no_time(folder: Path) -> None:
    """What the slow tests show of all specs that are made to take long, for one."""
    test_a_spec_made_to_take_long_takes_no_time("circle of parents", folder)


@pytest.mark.parametrize("mark", ["-", "*", "_", "- ", "_*", "[[a]"])
def test_a_text_of_one_mark_is_scored_in_linear_time(mark: str) -> None:
    """A hundred thousand characters of what begins a rule, emphasis or a link."""
    assert hostile.slowest_detector(mark)[0] < hostile.MOST_SECONDS


def test_a_rule_is_a_rule_wherever_it_stands() -> None:
    """What the hint of the detector lets through is what CommonMark calls a thematic break."""
    count = COUNTERS["horizontal-rule"]
    for rule in ("---", "***", "___", "- - -", " _  _  _ ", "-" * 80, "> ---", "- ***", "* * *\t"):
        assert count(f"a\n\n{rule}\n\nb") == 1, rule
    for none in ("--", "- -", "a ---", "-*-", "--- a", "***a***"):
        assert count(f"a\n\n{none}\n\nb") == 0, none


def test_the_user_can_allow_folders_and_a_spec_can_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library beside the repository is read where `TILTC_PATHS` says so, by whatever name a spec calls it."""
    case = hostile.Case("T116", {"spec.yaml": hostile.extends("../shared/library.yaml")})
    hostile.write(case, folder)
    (folder.parent / "shared").mkdir()
    (folder.parent / "shared" / "library.yaml").write_text(hostile.LIBRARY)
    assert hostile.faults(case, "text") == []
    monkeypatch.setenv("TILTC_PATHS", os.pathsep.join(["/nowhere", str(folder.parent / "shared")]))
    assert "no findings" in hostile.shown(case, "text")


def test_a_library_with_a_slip_is_shown_as_it_is(folder: Path) -> None:
    """What says `tiltc:` is the user's own, and its lines help to mend it."""
    case = hostile.Case(
        "T120", {"spec.yaml": hostile.extends("a.yaml"), "a.yaml": "tiltc: 1\nconcpets: {}\nconcepts: {}\n"}
    )
    hostile.write(case, folder)
    page = hostile.shown(case, "text")
    assert "a.yaml:2:1" in page
    assert "concpets: {}" in page
