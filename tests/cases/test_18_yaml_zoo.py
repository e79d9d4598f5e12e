"""What YAML, editors and habits of other languages make of a spec: meant and read are the same, or there is a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiltc.detectors import score
from tiltc.lint import lint

SPEC = "tiltc: 1\nname: zoo\nconcepts:\n  wow: {about: Shouts., pattern: 'WOW'}\nsignals:\n  - suppress: wow\n"


def codes(folder: Path, spec: str | bytes) -> list[str]:
    file = folder / "spec.yaml"
    file.write_bytes(spec if isinstance(spec, bytes) else spec.encode())
    return [diagnostic.code for diagnostic in lint(file)[1]]


def with_pattern(written: str) -> str:
    return SPEC.replace("{about: Shouts., pattern: 'WOW'}", f"\n    about: Shouts.\n    pattern: {written}")


#: Changes of the good spec: what is replaced, by what, and the codes.
READ = {
    "as it is": ("", "", ""),
    "name of a country": ("zoo", "no", "T122"),
    "name of a year": ("zoo", "1999", "T122"),
    "name of a date": ("zoo", "2023-06-30", ""),
    "words of Norway": ("pattern: 'WOW'", "words: [no, 'off', ja]", "T122"),
    "words of numbers": ("pattern: 'WOW'", "words: [42, '43']", "T122"),
    "percent": ("signals:", "budget: {drop: 7%}\nsignals:", ""),
    "percent in quotes": ("signals:", "budget: {drop: '7%'}\nsignals:", ""),
    "percent apart": ("signals:", "budget: {drop: 7 %}\nsignals:", ""),
    "more than all": ("signals:", "budget: {drop: 7}\nsignals:", "T122"),
    "decimal comma": ("signals:", "budget: {drop: 0,07}\nsignals:", "T120"),
    "octal": ("signals:", "train: {batch_size: 020}\nsignals:", "T122"),
    "hexadecimal": ("signals:", "train: {batch_size: 0x20}\nsignals:", "T122"),
    "sexagesimal": ("signals:", "train: {max_length: 8:32}\nsignals:", "T122"),
    "underscores": ("signals:", "train: {max_length: 2_048}\nsignals:", "T122"),
    "exponent": ("signals:", "train: {learning_rate: 2e-5}\nsignals:", ""),
    "number in quotes": ("signals:", "train: {learning_rate: '2e-5'}\nsignals:", "T122"),
    "yes for a number": ("signals:", "train: {batch_size: on}\nsignals:", "T122"),
    "merge": ("signals:\n  - suppress", "meta: &m {a: b}\nsignals:\n  - <<: *m\n    suppress", "T107"),
    "tag": ("zoo", "!!str zoo", "T108"),
    "comment": ("suppress: wow", "suppress: wow # it shouts", ""),
    "comment without space": ("suppress: wow", "suppress: wow# it shouts", "T132"),
    "tab behind a colon": ("suppress: wow", "suppress:\twow", ""),
    "tab before a key": ("  wow:", "\twow:", "T105"),
    "hard space behind": ("suppress: wow", "suppress: wow\u00a0", "T132"),
    "hard spaces before": ("name:", "\u00a0\u00a0name:", "T120"),
    "accents in a name": ("wow", "caf\u00e9", "T114"),
    "two documents": ("signals:", "---\nsignals:", "T109"),
    "an end": ("suppress: wow\n", "suppress: wow\n...\n", ""),
    "a directive": ("tiltc: 1", "%YAML 1.1\n---\ntiltc: 1", ""),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read_is_what_is_meant_or_there_is_a_code(name: str, tmp_path: Path) -> None:
    """Each spelling that YAML 1.1, a locale or an editor makes something else of."""
    old, new, expected = READ[name]
    assert sorted(set(codes(tmp_path, SPEC.replace(old, new) if old else SPEC))) == expected.split()


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_are_line_ends(end: str, tmp_path: Path) -> None:
    """As Windows and as old Macs write them; the place of a finding counts the same lines."""
    assert codes(tmp_path, SPEC.replace("\n", end)) == []
    (tmp_path / "spec.yaml").write_bytes(SPEC.replace("suppress: wow", "suppress: wov").replace("\n", end).encode())
    span = lint(tmp_path / "spec.yaml")[1].found[0].primary.span
    assert span is not None
    assert (span.line, span.column) == (6, 15)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_other_encodings_are_refused(encoding: str, tmp_path: Path) -> None:
    """One finding at the first byte that is none of UTF-8, or at the first character that no spec holds."""
    found = codes(tmp_path, SPEC.replace("Shouts", "Sho\u00fcts").encode(encoding))
    assert found in (["T103"], ["T104"])


#: Patterns as written, the codes, and a text that an accepted one finds or does not.
PATTERNS = {
    "curly quotes": ("\u2018LOOK\u2019", "T142", "", ""),
    "double curly quotes": ("\u201cLOOK\u201d", "T142", "", ""),
    "curly quotes in straight ones": ("'\u201cLOOK\u201d'", "", "a \u201cLOOK\u201d", "a LOOK"),
    "slashes and flags": ("/look/i", "T142", "", ""),
    "comment": ("look # at this", "T142", "", ""),
    "number sign at the beginning": ("^# look", "", "# look", "# loo"),
    "number sign in quotes": ("'look # at'", "", "look # at", "look"),
    "backspace of double quotes": ('"\\blook\\b"', "T142", "", ""),
    "word edge of single quotes": ("'\\blook\\b'", "", "a look", "looks"),
    "unknown escape of double quotes": ('"\\s+look"', "T105", "", ""),
    "line ends of double quotes": ('"a\\n\\nb"', "", "a\n\nb", "a\nb"),
    "class by name": ("'^[[:digit:]]+$'", "", "123", ":"),
    "property": ("'\\p{Lu}{3}'", "", "\u00c4\u00d6\u00dc", "abc"),
    "flags within": ("'(?i)look'", "", "LOOK", "lok"),
    "behind the end": ("'costs $5'", "T142", "", ""),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_finds_what_it_says_or_there_is_a_code(name: str, tmp_path: Path) -> None:
    """Accepted patterns are tried on a text each that they mean, and that they don't."""
    written, expected, meant, other = PATTERNS[name]
    assert codes(tmp_path, with_pattern(written)) == expected.split()
    if expected:
        return
    spec_file, _ = lint(tmp_path / "spec.yaml")
    assert spec_file is not None
    concept = spec_file.library["wow"].concept
    assert list(score(concept, [meant, other]) > 0) == [True, False]
