"""How numbers, names and tables are written wherever a person reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tiltc.plan import Interval
from tiltc.printing import one_line, printable

#: Shown where there is nothing to show.
NONE = "-"

_MARKDOWN = re.compile(r"([\\`*_~|<>\[\]$])")
#: What GitHub makes a mention, a link to an issue or an address of: broken by a space without width, where it is seen to be none.
_LIVE = re.compile(
    r"@(?=[\w-])|(?<=\w)(?=://)|(?i:(?<=\bwww)(?=\.))|#(?=\d)|(?i:(?<=\bGH)(?=-\d))|(?i:(?<=\bmailto)(?=:))"
)
_BREAK = "&#8203;"


def markdown(text: object) -> str:
    """Free text on one line, with Markdown's own characters escaped; it notifies nobody and links to nothing."""
    escaped = _MARKDOWN.sub(r"\\\1", one_line(text).replace("&", "&amp;"))
    return _LIVE.sub(lambda match: match[0] + _BREAK, escaped)


def code(text: object) -> str:
    """A name as Markdown code that is safe in a table cell; `-` stays bare."""
    if text == NONE:
        return NONE
    return "`" + one_line(text).replace("`", "'").replace("|", "\\|") + "`"


def number(value: float | None, digits: int = 3) -> str:
    """`digits` decimals, or as many significant digits where the value is smaller than that shows."""
    if value is None:
        return NONE
    if value != 0 and abs(value) < 10**-digits / 2:
        return f"{value:.2g}"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def signed(value: float | None, digits: int = 3) -> str:
    text = number(value, digits)
    return text if value is None or value <= 0 or float(text) == 0 else "+" + text


def interval(value: Interval | None, digits: int = 3, *, plus: bool = True) -> str:
    """`+0.421 (+0.310 to +0.520)`: a value and its 95% interval, with plus signs where the value is an effect."""
    if value is None:
        return NONE
    write = signed if plus else number
    return f"{write(value.value, digits)} ({write(value.low, digits)} to {write(value.high, digits)})"


def share(value: float | None, digits: int = 1) -> str:
    """A share as a percentage."""
    return NONE if value is None else f"{number(100 * value, digits)}%"


def count(value: int) -> str:
    return f"{value:,}"


def short(digest: str) -> str:
    """The first 12 characters of a digest; `-` for an empty one."""
    return printable(digest[:12]) or NONE


def apart(before: float, after: float) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to see that they differ."""
    for digits in (3, 6, 9):
        pair = (number(before, digits), number(after, digits))
        if before == after or pair[0] != pair[1]:
            return pair
    return repr(before), repr(after)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], indent: int = 2) -> str:
    """Columns aligned with spaces, the first to the left and those of numbers to the right; no trailing spaces."""
    lines = [[_cell(cell) for cell in line] for line in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    aligns = [_align([row[i] for row in rows]) for i in range(len(header))]
    return "\n".join(_line(line, widths, aligns, indent) for line in lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub-flavoured table. Cells must be escaped already (`markdown`, `code`)."""
    aligns = ["--:" if _align([row[i] for row in rows]) is str.rjust else "---" for i in range(len(header))]
    lines = (header, aligns, *([_cell(cell) for cell in row] for row in rows))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cell(text: str) -> str:
    return printable(text).replace("\n", " ")


@dataclass(frozen=True)
class Style:
    """How a page writes free text, names and tables."""

    #: of the template's file name
    suffix: str
    text: Callable[[object], str]
    name: Callable[[object], str]
    table: Callable[[Sequence[str], Sequence[Sequence[str]]], str]


STYLES = {
    "text": Style("txt", one_line, one_line, table),
    "markdown": Style("md", markdown, code, markdown_table),
}


def _line(cells: Sequence[str], widths: Sequence[int], aligns: Sequence[Callable[..., str]], indent: int) -> str:
    padded = (align(cell, width) for cell, width, align in zip(cells, widths, aligns, strict=True))
    return (" " * indent + "  ".join(padded)).rstrip()


def _align(cells: Sequence[str]) -> Callable[..., str]:
    """Right for columns in which every cell is a number, a share or nothing."""
    numeric = all(cell == NONE or cell[:1] in "+-0123456789" for cell in cells)
    return str.rjust if numeric and cells else str.ljust
