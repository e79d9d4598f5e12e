"""Do the tokens of a text say what the text says?

White space at a text's ends, between words and in empty lines may differ, as may characters that Unicode counts as the
same: templates trim, and tokenizers tidy up. A text may begin in its prompt's tokens, where the generation prompt opens what
the text opens. Of a text that was cut, what was read must be its beginning.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tiltc.pairs import Text

#: characters that a template may put before a text, or that a text has in its prompt; so few of a cut text show nothing
LEAD = 64


class Said(NamedTuple):
    """What tokens say: `whole` with special tokens, `text` without."""

    whole: str
    text: str


@dataclass(frozen=True)
class Wording:
    """How a text stands in its tokens.

    Attributes:
        kind: what is wrong with it; None where the tokens say all of it.
        text: what is to be read in place of the text; None is the text itself.
        lead: what the tokens say before it.
        trimmed: its white space differs.
    """

    kind: Literal["no_tokens", "left_out", "rewritten"] | None = None
    text: str | None = None
    lead: str = ""
    trimmed: bool = False


def wording(text: Text, said: Said, *, before: str = "", cut: bool = False, ordered: bool = True) -> Wording:
    """How a text, or the contents of messages one after the other, stand in what their tokens say.

    Args:
        before: what the tokens before them say.
        cut: the text's end was not read.
        ordered: messages stand in their order; templates of some models move the system turn of a prompt.
    """
    contents = [text] if isinstance(text, str) else [str(message["content"]) for message in text]
    whole = _composed(said.whole.rstrip("\ufffd") if cut else said.whole)
    body = said.text.strip()
    for fold in _FOLDS:
        folded = fold.tokens(whole)
        texts = [fold.text(_composed(content)) for content in contents]
        start = _start(texts, folded, cut, ordered)
        if start is None and _begun(texts, fold.tokens(_composed(before[-LEAD:])), folded, cut):
            start = 0
        if start is not None:
            read = None if fold.same else body
            return _called(text, said) or Wording(text=read, lead=folded[:start], trimmed=fold.trims)
    if not body:
        return Wording() if cut else Wording("no_tokens", "")
    return Wording("left_out" if _within(_letters(body), _letters("".join(contents))) else "rewritten", body)


def _called(text: Text, said: Said) -> Wording | None:
    """Of a message that only calls tools, what the template writes of the call is what is read."""
    calls = not isinstance(text, str) and any(message.get("tool_calls") for message in text)
    if not calls or any(str(message["content"]).strip() for message in text if not isinstance(message, str)):
        return None
    body = said.text.strip()
    return Wording(text=body) if body else Wording("no_tokens", "")


def _start(contents: Sequence[str], whole: str, cut: bool, ordered: bool) -> int | None:
    """Where the first content stands, if all stand there."""
    at, first = 0, None
    for content in contents:
        place = whole.find(content, at)
        if place < 0:
            place = _cut_start(content, whole, at) if cut else None
            return place if first is None or place is None else first
        first = place if first is None else first
        at = place + len(content) if ordered else 0
    return first or 0


def _begun(contents: Sequence[str], before: str, whole: str, cut: bool) -> bool:
    """Does the first content begin in what stands before, and go on at once?"""
    first, *rest = contents
    for size in range(1, min(len(first), len(before)) + 1):
        if before.endswith(first[:size]) and _start([first[size:].lstrip(), *rest], whole.lstrip(), cut, True) == 0:
            return True
    return False


def _cut_start(content: str, whole: str, at: int) -> int | None:
    """Where a content stands of which the end was not read, if any of it was."""
    return next((j for j in range(at, at + LEAD + 1) if content.startswith(whole[j:])), None)


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _lines(text: str) -> str:
    """The lines that have anything in them, without white space."""
    lines = ("".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _as_it_is(text: str) -> str:
    return text


def _letters(text: str) -> str:
    return "".join(text.split())


class Fold(NamedTuple):
    """What is made of a text and of what tokens say, before one is looked for in the other."""

    text: Callable[[str], str]
    tokens: Callable[[str], str]
    #: the white space that it leaves out is at the text's ends or between words; is it any at all?
    same: bool = True
    trims: bool = True


#: the exact one first; the last leaves out where lines end, so that detectors read the lines that are trained
_FOLDS = (
    Fold(_as_it_is, _as_it_is, trims=False),
    Fold(str.strip, _as_it_is),
    Fold(_lines, _lines),
    Fold(_letters, _letters, same=False),
)


def _within(part: str, whole: str) -> bool:
    """Is `part` what is left of `whole` when characters are taken out?"""
    characters = iter(whole)
    return all(character in characters for character in part)
