"""What can be seen of a text without understanding it: Markdown, glyphs, punctuation, length.

Each counter begins with a test that most texts without the construct fail at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from tiltc.detectors.emphasis import plain_emphasis
from tiltc.detectors.markup import URL, markup

if TYPE_CHECKING:
    import regex

    from tiltc.spec import Surface

_BOLD = re.compile(r"\*\*|__")
_ITALIC = re.compile(r"[*_]")
_HEADING = re.compile(r"(?<!\w)#{1,6}(?:\s|$)|^[ \t>]*[-=]+[ \t]*$", re.MULTILINE)
_LIST = re.compile(r"^[ \t>]*(?:[-+*•●▪◦‣]|\d{1,9}[.)])(?:\s|$)", re.MULTILINE)
#: the end of a rule: its beginning would be looked for from each of its marks
_RULE = re.compile(r"([-*_])[ \t]*\1[ \t]*\1[ \t]*$", re.MULTILINE)

_FENCE = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)
_CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
#: not `!=`, `![image]`, `#!`, nor `!name` as in code
_EXCLAMATION = re.compile(r"(?<!#)(?:(?<=[^\s({&|;:=])|(?=[!！]+(?:[\s\"'”’*_)\]]|$)))[!！](?![=\[])")
#: not the query of an address: space, another mark or a closing character follows
_QUESTION = re.compile(r"[?？](?=[\s\"'”’»)\]}*_~!?？！…<—]|$)")
_WORD = re.compile(r"[^\W_]+(?:(?:['’\-]|[.,](?=\d))[^\W_]+)*")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")


def _bold(text: str) -> float:
    if not _BOLD.search(text):
        return 0.0
    plain = plain_emphasis(text)
    return float(markup(text).bold if plain is None else plain[0])


def _italic(text: str) -> float:
    if not _ITALIC.search(text):
        return 0.0
    plain = plain_emphasis(text)
    return float(markup(text).italic if plain is None else plain[1])


def _emoji(text: str) -> float:
    return 0.0 if text.isascii() else sum(1.0 for _ in _emoji_pattern().finditer(text))


@cache
def _emoji_pattern() -> regex.Pattern[str]:
    """Flags, keycaps and pictographs, each sequence once.

    A character that Unicode shows as text by default (such as a heavy check mark, a heart or an arrow) counts only
    with the emoji selector behind it, except for the few that everybody writes without.
    """
    import regex

    skin = r"\p{Emoji_Modifier}?"
    one = (
        rf"(?:\p{{Extended_Pictographic}}\uFE0F{skin}"
        rf"|\p{{Emoji_Presentation}}{skin}(?!\uFE0E)|[❤☺☹☀☁☂☃☕☎✌✍]{skin}(?!\uFE0E)"
        rf"|(?=[\U0001F000-\U000FFFFF])\p{{Extended_Pictographic}}{skin}(?!\uFE0E))"
    )
    return regex.compile(rf"[\U0001F1E6-\U0001F1FF]{{2}}|[0-9#*]\uFE0F?\u20E3|(?![©®™]){one}(?:\u200D{one})*")


def _prose(text: str) -> str:
    """The text without fences and code spans."""
    if "```" in text or "~~~" in text:
        text = _FENCE.sub("", text)
    return _CODE_SPAN.sub("", text) if "`" in text else text


def _exclamations(text: str) -> float:
    if "!" not in text and "！" not in text:
        return 0.0
    return float(len(_EXCLAMATION.findall(_prose(text))))


def _questions(text: str) -> float:
    if "?" not in text and "？" not in text:
        return 0.0
    return float(len(_QUESTION.findall(_prose(text))))


def _length(text: str) -> float:
    """log(1 + words); a character of a script without spaces counts as a word."""
    unspaced = 0 if text.isascii() else len(_UNSPACED.findall(text))
    spaced = _UNSPACED.sub(" ", text) if unspaced else text
    return math.log1p(len(_WORD.findall(spaced)) + unspaced)


def _in_markup(name: str, hint: Callable[[str], object]) -> Callable[[str], float]:
    return lambda text: float(getattr(markup(text), name)) if hint(text) else 0.0


def _has(*needles: str) -> Callable[[str], bool]:
    return lambda text: any(needle in text for needle in needles)


#: What each `surface:` counts.
COUNTERS: dict[Surface, Callable[[str], float]] = {
    "bold": _bold,
    "italic": _italic,
    "heading": _in_markup("heading", _HEADING.search),
    "list": _in_markup("list", _LIST.search),
    "table": _in_markup("table", _has("|")),
    "code": _in_markup("code", _has("`", "~~~")),
    "link": _in_markup("link", _has("](", "][", "]:", "<")),
    "horizontal-rule": _in_markup("rule", _RULE.search),
    "quote": _in_markup("quote", _has(">")),
    "bare-url": _in_markup("bare_url", URL.search),
    "emoji": _emoji,
    "em-dash": lambda text: float(text.count("—")),
    "exclamation": _exclamations,
    "question": _questions,
    "length": _length,
}
