"""Reading: what is refused, where it is, and what a plain scalar means."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiltc.diagnostics import Diagnostics, Span
from tiltc.source import LARGEST, SourceFile, plain, read
from tiltc.source.compose import DEEPEST


def reading(folder: Path, content: str | bytes) -> tuple[SourceFile | None, Diagnostics]:
    file = folder / "spec.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(file, "spec.yaml")


def codes(found: Diagnostics) -> list[str]:
    return [diagnostic.code for diagnostic in found]


def source(folder: Path, content: str) -> SourceFile:
    file, found = reading(folder, content)
    assert file is not None, list(found)
    return file


def test_spans_count_from_one_and_end_before_the_next_token(tmp_path: Path) -> None:
    """Keys, values, list items and block collections are where an editor shows them."""
    file = source(tmp_path, "a: 1\nb:\n  - c: [x, yy]\n    d: 'q'\n\n\ne: z\n")
    assert file.at(("a",)) == Span("spec.yaml", 1, 4, 1, 5)
    assert file.at(("b",), key=True) == Span("spec.yaml", 2, 1, 2, 2)
    assert file.at(("b", 0)) == Span("spec.yaml", 3, 5, 4, 11)
    assert file.at(("b", 0, "c")) == Span("spec.yaml", 3, 8, 3, 15)
    assert file.at(("b", 0, "c", 1)) == Span("spec.yaml", 3, 12, 3, 14)


def test_block_scalar_ends_with_its_text(tmp_path: Path) -> None:
    """A block scalar's place does not run on to the next key."""
    assert source(tmp_path, "a: |\n  one\n  two\n\n\nb: 1\n").at(("a",)) == Span("spec.yaml", 1, 4, 3, 6)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_block_scalar_ends_with_its_text_whatever_ends_a_line(tmp_path: Path, end: str) -> None:
    """Its lines are those that positions count."""
    text = "tiltc: 1\nconcepts: |-\n  one\n  three\nname: x\n".replace("\n", end)
    span = source(tmp_path, text).at(("concepts",))
    assert (span.line, span.end_line, span.end_column) == (2, 4, 8)


@pytest.mark.parametrize("text", ["? nothing\n  yet\n", "tiltc:\n  ? a\n", "a:\n- b\n-\n", "? a\n\n\n"])
def test_nothing_ends_behind_the_last_line(tmp_path: Path, text: str) -> None:
    """An empty value stands where the next token would, which may be no line of the file."""
    span = source(tmp_path, text).root.span
    lines = text.split("\n")[:-1]
    assert (span.end_line, span.end_column) <= (len(lines), len(lines[-1]) + 2)


def test_place_of_what_is_not_there_is_the_nearest_parent_key(tmp_path: Path) -> None:
    """A missing key is shown at the key that should have held it."""
    file = source(tmp_path, "train:\n  beta: 1\n")
    assert file.at(("train", "epochs")) == file.at(("train",), key=True)


def test_columns_count_characters(tmp_path: Path) -> None:
    """Wide and accented characters before a value count one column each."""
    assert source(tmp_path, "a: {'é😀': x}\n").at(("a", "é😀")).column == 11


def test_byte_order_mark_takes_no_column(tmp_path: Path) -> None:
    """A byte order mark is read over."""
    file, _ = reading(tmp_path, b"\xef\xbb\xbfa: 1\n")
    assert file is not None
    assert file.at(("a",), key=True).column == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", False), ("On", True), ("~", None), ("", None), ("12", 12), ("5e-6", 5e-6), ("5.0e-6", 5e-6),
        ("010", "010"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"), (".inf", ".inf"), (".nan", ".nan"),
        ("1e999", "1e999"), ("9" * 5000, "9" * 5000), ("0x10", "0x10"), ("1_000", "1_000"), ("'no'", "no"),
        ("'12'", "12"),
    ],
)  # fmt: skip
def test_plain_scalars(tmp_path: Path, text: str, value: object) -> None:
    """An unquoted scalar is a number or boolean only where no reader would take it for something else."""
    read_back = plain(source(tmp_path, f"a: {text}\n").root)["a"]
    assert (read_back, type(read_back)) == (value, type(value))


def test_keys_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    """A concept may be called `no` or `12`."""
    assert plain(source(tmp_path, "no: 1\n12: 2\n").root) == {"no": 1, "12": 2}


def test_oversized_file_is_not_read(tmp_path: Path) -> None:
    """Fifty megabytes are refused by their size."""
    file = tmp_path / "spec.yaml"
    with open(file, "wb") as stream:
        stream.truncate(50_000_000)
    root, found = read(file, "spec.yaml")
    assert root is None
    assert codes(found) == ["T102"]


def test_endless_file_is_refused() -> None:
    """A device that never ends is not read at all."""
    root, found = read(Path("/dev/zero"), "zero")
    assert root is None
    assert codes(found) == ["T117"]


def test_largest_file_is_read(tmp_path: Path) -> None:
    """The limit itself is within the limit."""
    text = "a: 1\n#"
    file, _ = reading(tmp_path, text + "x" * (LARGEST - len(text)))
    assert file is not None


@pytest.mark.parametrize("name", ["absent.yaml", ".", "nul\0.yaml"])
def test_unreadable_file_is_one_finding(tmp_path: Path, name: str) -> None:
    """Missing files, folders and impossible names are findings and not exceptions."""
    _, found = read(tmp_path / name, name)
    assert codes(found) == ["T101"]


@pytest.mark.parametrize("kind", ["[", "{a: ", "- ", "? "])
@pytest.mark.parametrize("depth", [DEEPEST + 1, 100_000])
def test_deep_nesting_is_refused_at_once(tmp_path: Path, kind: str, depth: int) -> None:
    """However deep a file nests, it costs one finding and no stack."""
    _, found = reading(tmp_path, "a:\n " + kind * depth)
    assert codes(found) == ["T110"]


def test_alias_bomb_is_one_finding(tmp_path: Path) -> None:
    """Nested aliases are refused before they unfold."""
    levels = "".join(f"k{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(60))
    _, found = reading(tmp_path, "k0: &a0 [x]\n" + levels)
    assert codes(found) == ["T107"]


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\u2066"])
def test_invisible_characters_are_refused_where_they_stand(tmp_path: Path, character: str) -> None:
    """What a reviewer can't see is shown with its line and column."""
    _, found = reading(tmp_path, f"a: 1\nb: x{character}y\n")
    [finding] = found
    assert (finding.code, finding.primary.span) == ("T104", Span("spec.yaml", 2, 5, 2, 6))


def test_all_duplicate_keys_are_reported(tmp_path: Path) -> None:
    """Each repeated key has its finding, with the first place beside it."""
    _, found = reading(tmp_path, "a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert [(d.primary.span.line, d.labels[0].span.line) for d in found if d.primary.span and d.labels[0].span] == [
        (2, 1),
        (3, 3),
    ]
    assert codes(found) == ["T106", "T106"]
