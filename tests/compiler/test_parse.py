"""Parsing: overrides, libraries, the digest, and the limits of what is reported."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tiltc.allow import apply_allows
from tiltc.diagnostics import Diagnostics
from tiltc.parse import SpecFile, parse
from tiltc.parse.overrides import apply_overrides
from tiltc.parse.rules.patterns import runs_away
from tiltc.parse.suggest import any_of, nearest
from tiltc.spec import Keep, Suppress

SPEC = """\
tiltc: 1
name: case
concepts:
  praise: {about: Praises., words: [great]}
signals:
  - suppress: praise
  - keep: std.style.list
"""


def written(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def parsed(folder: Path, text: str = SPEC, *overrides: str, name: str = "spec.yaml") -> SpecFile:
    file, found = parse(written(folder, text, name), overrides)
    assert file is not None, [d.primary.text for d in found]
    return file


def codes(found: Diagnostics) -> list[str]:
    return [diagnostic.code for diagnostic in found]


def test_signals_take_the_variant_of_their_verb(tmp_path: Path) -> None:
    """`suppress:` gives a Suppress and `keep:` a Keep."""
    assert [type(signal) for signal in parsed(tmp_path).spec.signals] == [Suppress, Keep]


def test_every_concept_is_in_the_library(tmp_path: Path) -> None:
    """The library has the spec's own concepts and all of std, and knows which is which."""
    library = parsed(tmp_path).library
    assert library["praise"].own
    assert not library["std.style.bold"].own
    assert library["praise"].folder == tmp_path


def test_places_of_definitions(tmp_path: Path) -> None:
    """A definition's parts can be pointed at; those that ship with tiltc have no place in the user's files."""
    file = parsed(tmp_path)
    span = file.definition_at("praise", "words", 0)
    assert span is not None
    assert (span.line, span.column) == (4, 37)
    assert file.definition_at("std.style.bold", "about") is None


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.beta=0.2", "train.beta", 0.2),
        ("train.lora={r: 8}", "train.lora", {"r": 8}),
        ("train.lora.r=8", "train.lora.r", 8),
        ("signals.0.with=filter", "signals.0.with", "filter"),
        ("model={hub: a/b, revision: c}", "model", {"hub": "a/b", "revision": "c"}),
        ("meta.note=a=b", "meta.note", "a=b"),
        ("concepts.praise.words=[good, fine]", "concepts.praise.words", ("good", "fine")),
    ],
)
def test_override_is_applied_and_recorded(tmp_path: Path, override: str, path: str, value: object) -> None:
    """`--set` changes the typed spec and is kept by its path."""
    file = parsed(tmp_path, SPEC, override)
    assert file.overrides == {path: value}
    assert file.digest != parsed(tmp_path).digest or path.startswith("meta")


def test_override_can_repair_a_spec(tmp_path: Path) -> None:
    """A value that is replaced is not judged."""
    assert parsed(tmp_path, SPEC + "train: {beta: -1}\n", "train.beta=0.1").spec.train.beta == 0.1


def test_finding_about_an_override_points_at_it(tmp_path: Path) -> None:
    """A name that `--set` brought in is looked for on the command line and not in the file."""
    _, found = parse(written(tmp_path, SPEC), ["signals.0.suppress=praisse"])
    [finding] = found
    assert finding.code == "T132"
    assert finding.primary.span is not None
    assert finding.primary.span.path == "--set signals.0.suppress=praisse"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("a\\0b", "T101"),
        ("~/absent.yaml", "T101"),
        ("", "T101"),
        (".", "T101"),
        ("x" * 5000, "T101"),
        ("/dev/null/x", "T116"),
        ("/dev/zero", "T116"),
    ],
)
def test_impossible_library_is_a_finding(tmp_path: Path, path: str, code: str) -> None:
    """Whatever `extends` says, it is no exception."""
    _, found = parse(written(tmp_path, SPEC + f'extends: ["{path}"]\n'))
    assert codes(found) == [code]


def test_later_override_wins(tmp_path: Path) -> None:
    """Overrides apply in order."""
    assert parsed(tmp_path, SPEC, "train.seed=1", "train.seed=2").overrides == {"train.seed": 2}


def test_override_leaves_the_source_alone() -> None:
    """Overrides change the values of one parse, not what was read."""
    from tiltc.parse.document import Document
    from tiltc.source import SourceFile
    from tiltc.source.compose import compose

    root = compose("x", SPEC, Diagnostics())
    assert root is not None
    source = SourceFile("x", SPEC, root)
    document = Document.of(source)
    apply_overrides(document, ["train.beta=0.2"], Diagnostics())
    assert "train" in document.data
    assert "train" not in Document.of(source).data


def test_digest_ignores_path_comments_order_and_free_text(tmp_path: Path) -> None:
    """Two files that mean the same have one digest."""
    other = "# a comment\nname: case\ntiltc: 1\nmeta: {owner: me}\n" + SPEC.split("\n", 2)[2]
    assert parsed(tmp_path).digest == parsed(tmp_path, other, name="elsewhere/other.yaml").digest


@pytest.mark.parametrize("change", [("[great]", "[grand]"), ("keep:", "amplify:"), ("name: case", "name: cast")])
def test_digest_follows_meaning(tmp_path: Path, change: tuple[str, str]) -> None:
    """A change of definition, verb or name changes the digest."""
    assert parsed(tmp_path).digest != parsed(tmp_path, SPEC.replace(*change)).digest


def test_digest_follows_extended_definitions(tmp_path: Path) -> None:
    """A changed library changes the digest of the specs that name its concepts, and of no other."""
    library = "tiltc: 1\nconcepts:\n  x: {about: X., words: [WORD]}\n  y: {about: Y., words: [OTHER]}\n"
    text = "extends: [./lib.yaml]\n" + SPEC.replace("std.style.list", "x")
    digests: list[str] = []
    for content in (library, library.replace("WORD", "w"), library.replace("OTHER", "o")):
        written(tmp_path, content, "lib.yaml")
        digests.append(parsed(tmp_path, text).digest)
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


def test_own_definition_wins_over_extended(tmp_path: Path) -> None:
    """Shadowing warns, and takes the nearer definition."""
    written(tmp_path, "tiltc: 1\nconcepts: {praise: {about: Theirs., words: [theirs]}}\n", "lib.yaml")
    file, found = parse(written(tmp_path, SPEC + "extends: [./lib.yaml]\n"))
    assert file is not None
    assert codes(found) == ["T131"]
    assert file.library["praise"].concept.words == ("great",)


def test_extends_is_relative_to_the_file_that_says_it(tmp_path: Path) -> None:
    """A library in a folder extends its neighbour, and its examples lie beside it."""
    written(tmp_path, "tiltc: 1\nextends: [b.yaml]\nconcepts: {}\n", "lib/a.yaml")
    written(tmp_path, "tiltc: 1\nconcepts: {x: {about: X., examples: x.jsonl}}\n", "lib/b.yaml")
    written(tmp_path, "{}\n", "lib/x.jsonl")
    definition = parsed(tmp_path, SPEC + "extends: [lib/a.yaml]\n").library["x"]
    assert definition.path("x.jsonl").is_file()


def test_variables_in_paths_are_expanded_only_to_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spec keeps `${VAR}` as written, so its digest is the same on every machine."""
    written(tmp_path, "tiltc: 1\nconcepts: {x: {about: X., words: [x]}}\n", "lib/a.yaml")
    monkeypatch.setenv("TEAM", str(tmp_path / "lib"))
    file = parsed(tmp_path, SPEC + "extends: ['${TEAM}/a.yaml']\n")
    assert file.spec.extends == ("${TEAM}/a.yaml",)
    assert "x" in file.library


def test_spec_cannot_extend_itself(tmp_path: Path) -> None:
    """The shortest circle is a circle."""
    _, found = parse(written(tmp_path, SPEC + "extends: [spec.yaml]\n"))
    assert codes(found) == ["T130"]


def test_same_library_under_two_names_is_one(tmp_path: Path) -> None:
    """A symbolic link does not make a library shadow itself."""
    library = written(tmp_path, "tiltc: 1\nconcepts: {x: {about: X., words: [x]}}\n", "a.yaml")
    (tmp_path / "b.yaml").symlink_to(library)
    _, found = parse(written(tmp_path, SPEC + "extends: [a.yaml, b.yaml]\n"))
    assert codes(found) == []


def test_a_flood_of_faults_is_cut_short(tmp_path: Path) -> None:
    """Ten thousand unknown keys, signals or names give a readable number of findings, soon."""
    floods = [
        SPEC + "train:\n" + "".join(f"  k{n}: 1\n" for n in range(10_000)),
        "tiltc: 1\nname: x\nsignals:\n" + "".join(f"  - bold: b{n}\n" for n in range(10_000)),
        "tiltc: 1\nname: x\nsignals:\n" + "".join(f"  - keep: b{n}\n" for n in range(10_000)),
        SPEC + "meta:\n" + "  a: 1\n" * 10_000,
    ]
    for flood in floods:
        begin = time.process_time()
        file, found = parse(written(tmp_path, flood))
        assert file is None
        assert 1 <= len(found) <= 60
        assert time.process_time() - begin < 10


@pytest.mark.parametrize(
    "pattern",
    [
        "([A-Z]+ ?)+!",
        "(a+)+$",
        r"(\w+\s?)*$",
        r"(\s*\n)*x",
        "(x+x+)+y",
        "(?:a|a)*b",
        r"(\d+,?)+;",
        r"\s+\s+\s+$",
        "(.*?,){11}P",
    ],
)
def test_runaway_patterns_are_caught(pattern: str) -> None:
    """Nested, adjacent and overlapping repeats are found by trying."""
    assert runs_away(pattern) is not None


@pytest.mark.parametrize(
    "pattern",
    [r"\s+$", r"[A-Z]+(?: [A-Z]+)*!", r"(?:[A-Z]+ ?)++!", '"[^"]*"', r"^#{1,6} .*$", r"(?i)\bgreat question\b"],
)
def test_sound_patterns_pass(pattern: str) -> None:
    """Patterns whose time grows with the square of the length or slower are left alone."""
    assert runs_away(pattern) is None


def test_allow_silences_warnings_and_reports_the_unused(tmp_path: Path) -> None:
    """An allow is used by a warning of its code, and unused ones are judged only for stages that ran."""
    allows = "allow: [{code: T150, because: why}, {code: T137, because: why}, {code: T999, because: why}]\n"
    file, _ = parse(written(tmp_path, SPEC + allows.replace("T999", "T131") + "model: {hub: a/b}\n"))
    assert file is not None
    found = Diagnostics()
    found.add("T150", None, "")
    kept, used = apply_allows(file, found)
    assert [allow.code for allow in used] == ["T150"]
    assert codes(kept) == ["T153", "T153"]
    assert codes(apply_allows(file, found, judged=("T2",))[0]) == []


def test_nearest_names() -> None:
    """Misspelt tails and missing prefixes are found; a shared prefix alone makes no likeness."""
    known = ["std.style.bold", "std.style.list", "std.topic.code", "learning_rate"]
    assert nearest("std.style.blod", known) == ["std.style.bold"]
    assert nearest("bold", known) == ["std.style.bold"]
    assert nearest("LIST", known) == ["std.style.list"]
    assert nearest("std.style.xyzzy", known) == []
    assert nearest("learning-rate", known) == ["learning_rate"]


def test_lists_of_names_read_as_prose() -> None:
    """One, two and three names."""
    assert [any_of("a"), any_of("ab"), any_of("abc")] == ["`a`", "`a` or `b`", "`a`, `b` or `c`"]
