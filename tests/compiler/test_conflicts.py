"""What the compiler refuses once it has evidence: one spec a file, its findings beside it as a person reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compiler.synthetic import SyntheticEvidence, evidence, with_answers
from tiltc.codes import CODES
from tiltc.evidence import recipe_of
from tiltc.parse import SpecFile, parse
from tiltc.pipeline import compile_spec
from tiltc.render import render
from tiltc.show import show

FOLDER = Path(__file__).parents[1] / "conflicts"
CASES = sorted(FOLDER.glob("*.yaml"))

#: Rates in chosen and rejected behind every case. Flattery carries no preference.
RATES = {
    "std.style.bold": (0.50, 0.20),
    "std.style.emoji": (0.45, 0.20),
    "std.stance.apology": (0.10, 0.40),
    "std.stance.flattery": (0.30, 0.30),
}


@pytest.fixture(scope="module")
def data() -> SyntheticEvidence:
    # what the golden file of T217 speaks of; bold stands for what its answers show
    recipe = recipe_of(parsed(FOLDER / "t217-unfiltered-contrast.yaml").library["rude"])
    return with_answers(evidence(800, RATES, seed=11), recipe, "std.style.bold", unfiltered=True)


def parsed(path: Path) -> SpecFile:
    spec_file, found = parse(path)
    assert spec_file is not None, list(found)
    return spec_file


@pytest.mark.parametrize("case", CASES, ids=[c.stem for c in CASES])
def test_findings_read_as_accepted(
    case: Path, data: SyntheticEvidence, accept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole text of the findings is the one that was reviewed."""
    monkeypatch.chdir(FOLDER)
    spec_file, found = parse(case.name)
    assert spec_file is not None
    _, more = compile_spec(spec_file, data)
    found.extend(more)
    page = render(found, "text", spec_file.sources, False)
    golden = case.with_suffix(".diag")
    if accept:
        golden.write_text(page, encoding="utf-8")
    assert page == golden.read_text(encoding="utf-8")
    assert case.stem[:4].upper() in {d.code for d in found}


def test_every_conflict_code_has_a_case_or_a_reason() -> None:
    """A code of the compiler's own stages is shown by a golden file; the exceptions are tested where they can arise."""
    shown = {c.stem[:4].upper() for c in CASES}
    elsewhere = {
        "T202", "T203", "T208", "T209",  # tests/compiler/test_fit.py, test_resolve.py
        "T303", "T306", "T311", "T313", "T314",  # tests/compiler/test_compile.py, test_rules.py
        "T404", "T406", "T210", "T316",
        "T212",  # tests/compiler/test_audit_spec.py
        "T408",  # tests/compiler/test_tokens.py
        "T409",  # tests/compiler/test_defined.py
        "T216",  # tests/compiler/test_reft.py
    }  # fmt: skip
    own = {c for c in CODES if c[:2] in ("T2", "T3", "T4")}
    assert own == shown | elsewhere


@pytest.mark.parametrize("unfiltered", [True, False])
def test_a_filter_that_was_not_used_is_told_of(data: SyntheticEvidence, unfiltered: bool) -> None:
    """The warning, the plan and both pages say it, and say nothing where the filter was used. Who accepts it can allow it."""
    spec_file = parsed(FOLDER / "t217-unfiltered-contrast.yaml")
    made = with_answers(data, recipe_of(spec_file.library["rude"]), "std.style.bold", unfiltered=unfiltered)
    result, found = compile_spec(spec_file, made)
    assert result is not None, list(found)
    assert ("T217" in {d.code for d in found}) == unfiltered
    assert [c.unfiltered for c in result.plan.concepts if c.name == "rude"] == [unfiltered]
    for style in ("text", "markdown"):
        assert ("too few passed the filter" in show(result.plan, style)) == unfiltered


def test_an_unused_filter_can_be_allowed(data: SyntheticEvidence, tmp_path: Path) -> None:
    text = (FOLDER / "t217-unfiltered-contrast.yaml").read_text(encoding="utf-8")
    (tmp_path / "spec.yaml").write_text(text + "allow: [{code: T217, because: read them}]\n", encoding="utf-8")
    spec_file = parsed(tmp_path / "spec.yaml")
    result, found = compile_spec(spec_file, data)
    assert result is not None
    assert "T217" not in {d.code for d in found}
    assert [a.code for a in result.plan.allowed] == ["T217"]
