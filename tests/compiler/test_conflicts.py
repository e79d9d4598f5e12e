"""What the compiler refuses once it has evidence: one spec a file, its findings beside it as a person reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compiler.synthetic import SyntheticEvidence, evidence
from tiltc.codes import CODES
from tiltc.parse import parse
from tiltc.pipeline import compile_spec
from tiltc.render import render

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
    return evidence(800, RATES, seed=11)


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
        "T202", "T203", "T208", "T209", "T207",  # tests/compiler/test_fit.py, test_resolve.py
        "T303", "T306", "T311", "T313", "T314",  # tests/compiler/test_compile.py, test_rules.py
        "T404", "T406", "T210", "T316",
        "T212",  # tests/compiler/test_audit_spec.py
        "T215", "T408",  # tests/compiler/test_tokens.py
        "T409",  # tests/compiler/test_defined.py
        "T216",  # tests/compiler/test_reft.py
    }  # fmt: skip
    own = {c for c in CODES if c[:2] in ("T2", "T3", "T4")}
    assert own == shown | elsewhere
