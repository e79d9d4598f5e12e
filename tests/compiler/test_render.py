"""Rendering: snippets, screens, and the formats for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tiltc.diagnostics import Diagnostics, Label, Span
from tiltc.render import FORMATS, render, summary
from tiltc.render.screen import WIDEST, width
from tiltc.render.screen import shown as on_screen
from tiltc.source import MappingNode, SourceFile, override_span


def source(path: str, text: str) -> dict[str, SourceFile]:
    return {path: SourceFile(path, text, MappingNode({}, Span(path, 1, 1, 1, 1)))}


def at(line: int, column: int, end: int, path: str = "a.yaml") -> Span:
    return Span(path, line, column, line, end)


def one(span: Span | None, text: str = "here", **more: Any) -> Diagnostics:
    found = Diagnostics()
    found.add("T132", span, text, **more)
    return found


def shown(found: Diagnostics, text: str) -> str:
    return render(found, "text", source("a.yaml", text))


def test_labels_stand_in_line_order_with_the_primary_marked() -> None:
    """The layout that readers know: header, place, lines with their labels, note, help, where to read more."""
    lines = "\n".join(["x"] * 8 + ["  - keep: polite-refusal", *["x"] * 4, "  - suppress: hedging"])
    found = one(
        at(14, 15, 22),
        "suppressing this moves feature 20417 as well",
        labels=[Label(at(9, 11, 25), "kept here, through features 1184, 20417")],
        notes=["gaps correlate at 0.83"],
        helps=["gate it: `when: std.topic.advice`"],
    )
    assert (
        shown(found, lines)
        == """\
error[T132]: unknown concept
  --> a.yaml:14:15
   |
 9 |   - keep: polite-refusal
   |           -------------- kept here, through features 1184, 20417
14 |   - suppress: hedging
   |               ^^^^^^^ suppressing this moves feature 20417 as well
   |
   = note: gaps correlate at 0.83
   = help: gate it: `when: std.topic.advice`

For more: tiltc explain T132
"""
    )


def test_two_labels_on_one_line_share_it() -> None:
    """A line is printed once, with its labels from left to right."""
    found = one(at(1, 6, 7), "second", labels=[Label(at(1, 1, 2), "first")])
    assert shown(found, "a: {b: 1}").splitlines()[3:6] == ["1 | a: {b: 1}", "  | - first", "  |      ^ second"]


def test_span_of_several_lines_is_marked_on_its_first() -> None:
    """A mapping is underlined to the end of its first line."""
    text = shown(one(Span("a.yaml", 1, 1, 3, 4)), "abc: \n  d\n")
    assert "  | ^^^^ here" in text


def test_span_past_the_end_still_has_a_mark() -> None:
    """An empty value at the end of a line, or a line that is not there, does not break the picture."""
    assert "  |   ^ here" in shown(one(at(1, 3, 4)), "a:\n")
    assert "a.yaml:9:1" in shown(one(at(9, 1, 2)), "a:\n")


def test_marks_stand_under_wide_characters_and_tabs() -> None:
    """Columns on screen follow what the terminal draws."""
    line = "é漢: \tx"
    marked = shown(one(at(1, 6, 7)), line).splitlines()
    assert marked[4].index("^") - 4 == width(on_screen("é漢: \t"))


def test_long_line_is_cut_around_its_label() -> None:
    """A line of a million characters shows the part that matters."""
    text = shown(one(at(1, 500_001, 500_004)), "x" * 500_000 + "abc" + "y" * 500_000)
    line, mark = text.splitlines()[3:5]
    assert len(line) <= WIDEST + 8
    assert line[mark.index("^") : mark.index("^") + 3] == "abc"


@pytest.mark.parametrize("hostile", ["\x1b[31m", "\x07", "\u202e", "\u2066", "\r", "\x9b", "\ud800"])
def test_nothing_printed_can_drive_the_terminal(hostile: str) -> None:
    """Names, paths, notes and lines lose what would move the cursor, ring or reorder."""
    found = one(at(1, 1, 2, f"{hostile}.yaml"), hostile, notes=[hostile], helps=[hostile])
    assert hostile not in render(found, "text", source(f"{hostile}.yaml", f"a{hostile}b"))


def test_color_is_only_added() -> None:
    """With colors the text is the same once they are taken out."""
    import re

    found = one(at(1, 1, 2), labels=[Label(at(1, 2, 3), "more")], notes=["n"])
    plain = render(found, "text", source("a.yaml", "ab"))
    colored = render(found, "text", source("a.yaml", "ab"), color=True)
    assert colored != plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain


def test_finding_without_a_place(tmp_path: Path) -> None:
    """A finding that no line of a file is to blame for says so in one line."""
    assert shown(one(None, "no place"), "").splitlines()[1] == "  = no place"


def test_label_in_another_file_has_its_own_place() -> None:
    """The second file follows the first."""
    found = one(at(1, 1, 2), labels=[Label(at(2, 1, 2, "b.yaml"), "there")])
    text = render(found, "text", source("a.yaml", "a") | source("b.yaml", "x\nb"))
    assert text.index("--> a.yaml:1:1") < text.index("::: b.yaml:2:1") < text.index("- there")


def test_missing_source_is_read_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec that did not parse still shows its line; a file that is gone shows none."""
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("hello\n")
    assert "1 | hello" in render(one(at(1, 1, 6)))
    assert "--> b.yaml:1:1" in render(one(at(1, 1, 6, "b.yaml")))


def test_override_is_shown_as_typed() -> None:
    """A finding about `--set` shows the command line, and is no annotation of a file."""
    found = one(override_span("train.beta=x"), "must be a number")
    assert shown(found, "").splitlines()[1:5] == [
        " --> command line",
        "  |",
        "1 | --set train.beta=x",
        "  |                  ^ must be a number",
    ]
    assert json.loads(render(found, "sarif"))["runs"][0]["results"][0]["locations"] == []
    assert "file=" not in render(found, "github")
    assert "`--set train.beta=x`: must be a number" in render(found, "github")


def test_summary_counts() -> None:
    """Errors before warnings, singular and plural, and a word for none."""
    found = one(None, "a")
    assert (summary(Diagnostics()), summary(found)) == ("no findings", "1 error")
    found.add("T150", None, "b")
    found.add("T132", None, "c")
    assert summary(found) == "2 errors, 1 warning"


def test_json_has_everything() -> None:
    """A program gets code, place, labels, notes and helps of each finding."""
    found = one(at(2, 3, 4), labels=[Label(None, "l")], notes=["n"], helps=["h"])
    [read] = json.loads(render(found, "json"))["diagnostics"]
    assert read["span"] == {"path": "a.yaml", "line": 2, "column": 3, "end_line": 2, "end_column": 4}
    assert (read["code"], read["severity"], read["title"]) == ("T132", "error", "unknown concept")
    assert (read["message"], read["notes"], read["helps"]) == ("here", ["n"], ["h"])


def test_github_escapes_what_would_end_a_command() -> None:
    """Line ends, percent signs, colons and commas of a message or path stay within it."""
    [line] = render(one(at(1, 2, 3, "a,b:c%.yaml"), "50%\nnext ::error::x"), "github").splitlines()
    assert line.startswith(
        "::error file=a%2Cb%3Ac%25.yaml,line=1,endLine=1,col=2,title=T132 unknown concept,endColumn=3::"
    )
    assert line.endswith("50%25%0Anext ::error::x")


def test_sarif_has_the_parts_the_standard_requires() -> None:
    """Version, driver, rules and results refer to each other as SARIF 2.1.0 has it."""
    found = one(at(1, 2, 3, "dir/a b.yaml"), labels=[Label(at(4, 1, 2), "also")])
    found.add("T150", None, "unpinned")
    log = json.loads(render(found, "sarif"))
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    run = log["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert run["tool"]["driver"]["name"] == "tiltc"
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "dir/a%20b.yaml"
    assert place["region"] == {"startLine": 1, "startColumn": 2, "endLine": 1, "endColumn": 3}
    assert run["results"][0]["relatedLocations"][0]["message"]["text"] == "also"
    assert run["results"][1]["locations"] == []


@pytest.mark.parametrize("format", FORMATS)
def test_no_findings_is_valid_in_every_format(format: str) -> None:
    """A clean lint gives empty text, or an empty document."""
    text = render(Diagnostics(), format)
    assert json.loads(text) if format in ("json", "sarif") else text == ""
