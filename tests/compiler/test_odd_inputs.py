"""Whatever a verb is given, it ends with a code, or as wrong usage in a line; never with an exception (3)."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest

from tiltc.cli import main

SPEC = "tiltc: 1\nname: odd\nsignals: [suppress: std.style.bold]\n"
ODD = (
    *("empty", "binary", "folder", "loop", "dangling", "pipe", "absent", "plan", "a\0b", "a\nb", "\udcff", "", ".", "x" * 5000),
    *("/dev/zero", "~nobody/x", "spec.yaml/x", "${HOME}", "T999", "9" * 5000, "\x1b[31m", "::error::x", "https://x.invalid/a"),
)  # fmt: skip
SETS = (
    "",
    "=",
    "a",
    "a=",
    ".=1",
    "train..beta=1",
    "signals.99999999999999999999=1",
    "signals.-1.suppress=x",
    "name=\0",
    "a=*x",
)
SETS += (
    "a=!!python/object:os",
    "a={",
    "a=" + "[" * 100_000,
    "train.beta=1e999",
    "a." * 2000 + "b=1",
    "signals=null",
    "x=\x1b[2J",
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    for folder in ("folder", "plan"):
        (tmp_path / folder).mkdir()
    (tmp_path / "plan" / "plan.json").write_text("[" * 100_000)
    (tmp_path / "plan" / "rows.parquet").write_bytes(b"PAR1xxxxPAR1")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")


def ended(*arguments: str) -> str | None:
    """What is wrong with how a command ends, or None."""
    out, err = io.StringIO(), io.StringIO()
    code = main(arguments, out, err)
    page = out.getvalue() + err.getvalue()
    if code not in (0, 1, 2):
        return f"{arguments}: {code}, {page[-200:]}"
    coded = code != 1 or re.search(r"\[T\d{3}\]|\"T\d{3}\"", page)
    return None if coded and "Traceback" not in page else f"{arguments}: {code} without a code, {page[-200:]}"


@pytest.mark.parametrize("odd", ODD)
def test_every_verb_ends_well_whatever_it_is_given(odd: str) -> None:
    """As the one argument, as a spec, a plan, evidence and a place to write to."""
    verbs = ("lint", "show", "explain", "export", "audit", "compile", "init", "schema", "concepts")
    commands = [[verb, odd] for verb in verbs if verb != "init" or odd]
    commands += [
        ["lint", odd, "--format", "sarif"],
        ["lint", "--data", odd],
        ["diff", odd, odd],
        ["export", "plan", "-o", odd],
    ]
    commands += [["compile", odd, "--check"], ["compile", "spec.yaml", "-o", odd], ["audit", odd, "-o", "to"]]
    commands += [["audit", "folder", "-o", odd], ["schema", "--write", odd], ["--" + odd], [odd]]
    assert [fault for command in commands if (fault := ended(*command))] == []


@pytest.mark.parametrize("change", SETS)
def test_whatever_is_set_is_taken_or_a_finding(change: str) -> None:
    """`--set` in lint and compile."""
    assert [fault for verb in ("lint", "compile") if (fault := ended(verb, "spec.yaml", "--set", change))] == []
