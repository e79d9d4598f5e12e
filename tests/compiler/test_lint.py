"""Linting: golden messages for what is wrong, silence for what is right."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from tiltc.cli import main
from tiltc.lint import lint

TESTS = Path(__file__).parent.parent
ERR = sorted((TESTS / "err").glob("*.yaml"))
OK = sorted((TESTS / "ok").glob("*.yaml"))


def linted(case: Path) -> str:
    """What `tiltc lint` prints for a case, with the overrides of its `# set:` lines."""
    overrides = re.findall(r"^# set: (.*)$", case.read_text("latin-1"), re.MULTILINE)
    flags = [flag for override in overrides for flag in ("--set", override)]
    out, err = io.StringIO(), io.StringIO()
    code = main(["lint", case.name, *flags], out, err)
    return out.getvalue().replace(case.name, "$FILE") + f"[{code}] {err.getvalue()}"


@pytest.mark.parametrize("case", ERR, ids=lambda case: case.stem)
def test_finding_reads_as_accepted(case: Path, accept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each faulty spec is answered with the text that was reviewed."""
    monkeypatch.chdir(case.parent)
    golden = case.with_suffix(".diag")
    if accept:
        golden.write_text(linted(case), "utf-8")
    assert linted(case) == golden.read_text("utf-8")


def test_every_golden_has_its_case() -> None:
    """No .diag file outlives the .yaml that it belongs to."""
    assert {file.stem for file in (TESTS / "err").glob("*.diag")} == {case.stem for case in ERR}


@pytest.mark.parametrize("case", OK, ids=lambda case: case.stem)
def test_sound_spec_has_no_findings(case: Path) -> None:
    """Each sound spec lints without a word."""
    file, found = lint(case)
    assert file is not None
    assert [diagnostic.code for diagnostic in found] == []


def test_a_concept_library_is_linted_as_what_it_is(tmp_path: Path) -> None:
    """What a spec lacks is not missing in a library; what is wrong in its definitions is said, and a slip in a spec stays one."""
    library = "tiltc: 1\nconcepts:\n  a: {about: Says a., pattern: '%s'}\n"
    for pattern, codes in (("a+", []), ("((", ["T140"])):
        (tmp_path / "ours.yaml").write_text(library % pattern)
        _, found = lint(tmp_path / "ours.yaml")
        assert [d.code for d in found] == codes
    (tmp_path / "spec.yaml").write_text(library % "a" + "name: x\n")
    assert [d.code for d in lint(tmp_path / "spec.yaml")[1]] == ["T121"]


def test_the_share_of_a_forward_form_is_above_nothing(tmp_path: Path) -> None:
    """0% of the pairs would be a plan that does nothing."""
    spec = "tiltc: 1\nname: x\nsignals:\n  - {suppress: std.style.bold, with: steer, form: forward, fraction: %s}\n"
    for share, codes in (("0%", ["T122"]), ("1%", [])):
        (tmp_path / "spec.yaml").write_text(spec % share)
        assert [d.code for d in lint(tmp_path / "spec.yaml")[1]] == codes


@pytest.mark.parametrize(
    "signal", ["suppress: sports", "keep: sports", "suppress: std.style.bold, apart_from: [sports]"]
)
def test_a_label_is_refused_before_a_harvest(tmp_path: Path, signal: str) -> None:
    """What no data can carry out is refused by lint, wherever a signal names it; a definition that nobody names is not."""
    spec = tmp_path / "spec.yaml"
    head = "tiltc: 1\nname: a\nconcepts: {sports: {about: Talks of sports., label: sports}}\nsignals:\n"
    spec.write_text(f"{head}  - {{{signal}}}\n")
    assert [d.code for d in lint(spec)[1]] == ["T204"]
    spec.write_text(f"{head}  - suppress: std.style.bold\n")
    assert [d.code for d in lint(spec)[1]] == []
