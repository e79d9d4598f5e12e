"""A plan's bytes hang on spec and evidence alone: not on the working folder, nor on how fast the machine is."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import pytest

from tests.compiler.synthetic import SyntheticEvidence, evidence
from tiltc.canonical import canonical_json
from tiltc.lint import lint
from tiltc.parse import parse
from tiltc.parse.rules import patterns
from tiltc.pipeline import compile_spec

OURS = """\
tiltc: 1
extends: [{extends}]
concepts:
  std.style.bold: {{about: Ours., pattern: '<b>'}}
  team.x: {{about: X., words: [x]}}
"""
SPEC = """\
tiltc: 1
name: anywhere
extends: [../lib/first.yaml, own/second.yaml, '${TEAM}/third.yaml']
concepts:
  std.style.bold: {about: Bold., pattern: '\\*\\*'}
  team.x: {about: Another., words: [y]}
signals:
  - suppress: std.style.bold
  - keep: std.style.emoji
"""


@pytest.fixture(scope="module")
def data() -> SyntheticEvidence:
    return evidence(rates={"std.style.bold": (0.5, 0.2), "std.style.emoji": (0.45, 0.2)})


def plan(path: str, data: SyntheticEvidence, *overrides: str) -> str:
    spec_file, found = parse(path, overrides)
    assert spec_file is not None, [d.primary.text for d in found]
    compiled, found = compile_spec(spec_file, data, said=found)
    assert compiled is not None, [d.primary.text for d in found]
    return canonical_json(compiled.plan)


def test_from_whichever_folder(tmp_path: Path, data: SyntheticEvidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """One spec, its libraries beside, below and behind a variable, however it is called: one plan, findings included."""
    files = {
        "lib/first.yaml": OURS.format(extends="../lib/deep/zero.yaml"),
        "lib/deep/zero.yaml": OURS.format(extends=""),
        "a/own/second.yaml": OURS.format(extends=""),
        "team/third.yaml": OURS.format(extends=""),
        "a/spec.yaml": SPEC,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("TEAM", str(tmp_path / "team"))
    monkeypatch.setenv("TILTC_PATHS", str(tmp_path))
    ways = [("a", "spec.yaml"), (".", "a/spec.yaml"), ("lib", "../a/spec.yaml"), ("a/own", "./.././spec.yaml")]
    plans: set[str] = set()
    for folder, path in [*ways, (".", str(tmp_path / "a" / "spec.yaml"))]:
        with chdir(tmp_path / folder):
            plans.add(plan(path, data))
    (only,) = plans
    assert only.count('"code": "T131"') == 9
    for named in (
        "../lib/deep/zero.yaml",
        "../lib/first.yaml",
        "own/second.yaml",
        "${TEAM}/third.yaml",
        "std/style.yaml",
    ):
        assert f"is also defined in `{named}`" in only
    assert str(tmp_path) not in only


@pytest.mark.parametrize("allow", ["", "allow: [{code: T118, because: known to be sound}]\n"])
def test_however_fast_the_machine_is(
    allow: str, tmp_path: Path, data: SyntheticEvidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether there was time to try the patterns is no part of a plan, nor is that an allow of T118 was not needed."""
    path = tmp_path / "spec.yaml"
    path.write_text("tiltc: 1\nname: fast\n" + allow + SPEC[SPEC.index("concepts:") :])
    plans: list[str] = []
    for budget in (0.0, 60.0):
        monkeypatch.setattr(patterns, "BUDGET", budget)
        plans.append(plan(str(path), data))
        told = [d.code for d in lint(path)[1]]
        assert ("T118" in told) == (budget == 0 and not allow)
        assert "T153" not in told
    assert plans[0] == plans[1]


def test_untried_patterns_are_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first of them, whatever follows: patterns that need no trial, and more of those that do."""
    monkeypatch.setattr(patterns, "BUDGET", 0.0)
    defined = enumerate(["a+b+", "a.b", "a.c", "c+d+", "a.d"])
    lines = "".join(f"  c{i}: {{about: It., pattern: '{pattern}'}}\n" for i, pattern in defined)
    path = tmp_path / "spec.yaml"
    path.write_text("tiltc: 1\nname: x\nconcepts:\n" + lines + "signals: [{keep: std.style.bold}]\n")
    told = [d for d in lint(path)[1] if d.code == "T118"]
    assert [d.primary.span.line for d in told if d.primary.span] == [4]
