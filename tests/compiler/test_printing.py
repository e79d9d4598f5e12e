"""What other people's text can do to a terminal, a page on GitHub or a runner's log: nothing."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiltc.canonical import canonical_json
from tiltc.cli import main
from tiltc.diagnostics import Diagnostics
from tiltc.figures import code, markdown, markdown_table, table
from tiltc.printing import one_line, printable
from tiltc.render import render
from tiltc.workflow import Commands, guarded

HOSTILE = (
    "a\x1b[31mb\x07\u202ec\u2066\nd\x9b2J @org/team https://evil.example www.evil.example"
    " <img src=x> | #1 [x](y) `z` &#64;all"
)


@given(st.text())
def test_printable_text_is_as_long_and_drives_nothing(text: str) -> None:
    """Places in a text stay where they are, and no control or direction character is left."""
    shown = printable(text)
    assert len(shown) == len(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert printable(shown) == shown
    assert "\n" not in one_line(text)


def test_markdown_notifies_nobody_and_links_to_nothing() -> None:
    """A mention, an address, an issue and an entity are text; tags and cells can't be forged."""
    page = markdown(HOSTILE).replace("&#8203;", "\u200b")
    assert not re.search(r"@\w|\w://|www\.|#\d|(?<!\\)[<>|`\[\]]|&#64|\n", page)
    assert "|" not in re.sub(r"\\\|", "", code(HOSTILE))
    assert "\n" not in code(HOSTILE)


def test_tables_have_one_line_a_row() -> None:
    """A cell with line ends and escape codes is a cell."""
    assert len(table(("a", "b"), [(HOSTILE, "1")]).splitlines()) == 2
    assert len(markdown_table(("a", "b"), [(markdown(HOSTILE), "1")]).splitlines()) == 3
    assert "\x1b" not in table(("a", "b"), [(HOSTILE, "1")])


@pytest.mark.parametrize("format", ["text", "github"])
def test_a_log_holds_no_command_that_was_not_meant(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a finding says, the runner reads the annotations of `--format github` and no other command."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    found = Diagnostics()
    evil = "x\n::add-mask::e\r\n  ::error::owned\n##[add-mask]e"
    found.add("T101", None, evil, notes=[evil], helps=[evil, "::stop-commands::x"])
    out = io.StringIO()
    stream = guarded(out)
    stream.write(render(found, format))
    stream.write("\n:")
    stream.write(":error::split\n")
    lines = re.split(r"[\r\n]+", out.getvalue())
    commands = [line for line in lines if line.lstrip().startswith("::") or "##[" in line]
    meant = [] if format == "text" else [line for line in commands if line.startswith("::error title=T101")]
    assert [line for line in commands if line not in meant] == []
    assert len(meant) == (format == "github")


def test_json_means_the_same_under_a_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks old commands is an escape to who reads JSON."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    out = io.StringIO()
    guarded(out).write(canonical_json({"pattern": "##[a-z]"}))
    assert "##[" not in out.getvalue()
    assert json.loads(out.getvalue()) == {"pattern": "##[a-z]"}
    assert isinstance(render(Diagnostics(), "github"), Commands)


@pytest.mark.parametrize("start", ["[a].jsonl: ", "{", " [", "\r"])
def test_what_a_text_begins_with_makes_no_json_of_it(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in brackets, or a carriage return, gets no command through; nor do many lines at once."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    out = io.StringIO()
    guarded(out).write(f"{start}x\n::error::a\r::error::b ##[add-mask]c\n")
    guarded(out).writelines(["x\n", "::error::d\n"])
    assert not [
        line for line in re.split(r"[\r\n]+", out.getvalue()) if line.lstrip().startswith("::") or "##[" in line
    ]


def test_names_of_data_reach_a_terminal_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lint says of how rows are read is one line, whatever file and columns are called."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    evil = "x\n::error::pwned\n\x1b[31m\r::error::again"
    row = {"prompt": "How so?", "chosen": "Like this.", "rejected": "No.", evil: "text"}
    for name in ("[a].jsonl", "{a}.jsonl", "::error::a.jsonl", "a\n::error::b.jsonl"):
        (tmp_path / name).write_text(json.dumps(row) + "\n")
        out, err = io.StringIO(), io.StringIO()
        assert main(["lint", str(tmp_path / name)], out, err) == 0
        assert "not read: `x ::error::pwned" in err.getvalue()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", err.getvalue())
        assert not [line for line in err.getvalue().splitlines() if line.startswith("::")]


def test_names_of_a_spec_reach_a_terminal_as_text(tmp_path: Path) -> None:
    """Keys and values that YAML escapes hide no escape code from the reader."""
    spec = tmp_path / "spec.yaml"
    spec.write_text('tiltc: 1\nname: "a\\e[31m\\nb"\n"\\e[2Jx": 1\nsignals:\n  - keep: "std\\e]0;x\\a\\n::error::y"\n')
    for format in ("text", "github"):
        out = io.StringIO()
        main(["lint", str(spec), "--format", format], out, io.StringIO())
        assert out.getvalue()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", out.getvalue())


def test_an_interrupt_is_no_traceback_however_early() -> None:
    """Ctrl-C while modules are imported ends the process in silence, or with one line where a verb had begun."""
    spec = Path(__file__).parents[2] / "specs" / "examples" / "plain-and-honest.yaml"
    for wait in (0.05, 0.08, 0.12, 0.2, 0.3):
        command = [sys.executable, "-m", "tiltc", "lint", str(spec)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        # before its first line runs the interpreter is on its own
        assert not re.search(r"tiltc/(?!__main__)", err), err
