"""Markdown constructs of a text, counted on a CommonMark parse (tables as on GitHub)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token


@dataclass(frozen=True, slots=True)
class Markup:
    """How often each construct occurs. What stands in code counts as code and as nothing else."""

    bold: int = 0
    italic: int = 0
    heading: int = 0
    #: lists of two or more items
    list: int = 0
    table: int = 0
    #: fences and code spans; text that is merely indented is not code
    code: int = 0
    #: inline, reference and <autolink> links
    link: int = 0
    rule: int = 0
    quote: int = 0
    #: addresses in the running text outside of links
    bare_url: int = 0


#: Parses are kept by digest and not by text, so that the texts themselves are not held in memory.
_PARSED: dict[bytes, Markup] = {}
_PARSED_LIMIT = 100_000

#: Without one of these a text has no markup at all.
_HINT = re.compile(r"[*_`~#>|\[<•●▪◦‣]|^[ \t]*(?:[-+=]|\d{1,9}[.)])|://|www\.", re.MULTILINE | re.IGNORECASE)
#: Without one of these a paragraph needs no inline parse.
_INLINE_HINT = re.compile(r"[*_`\[<]|://|www\.", re.IGNORECASE)
_GLYPH_BULLET = re.compile(r"^([ \t]*)[•●▪◦‣](?=\s)", re.MULTILINE)
#: The beginning of an address.
URL = re.compile(r"\b(?:https?://[^\s/]|www\.[^\s.]+\.)", re.IGNORECASE)


def markup(text: str) -> Markup:
    """The Markdown constructs of a text."""
    if not _HINT.search(text):
        return Markup()
    key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    found = _PARSED.get(key)
    if found is None:
        if len(_PARSED) >= _PARSED_LIMIT:
            _PARSED.clear()
        found = _PARSED[key] = _parse(text)
    return found


def _parse(text: str) -> Markup:
    # models write lists with bullet characters too; a reader sees a list
    references: dict[str, object] = {}
    blocks = _block_parser().parse(_GLYPH_BULLET.sub(r"\1-", text), references)
    of_block = _tally(token.type for token in blocks)
    inline = list(_inline_tokens((token.content for token in blocks if token.type == "inline"), references))
    of_inline = _tally(token.type for token in inline)
    return Markup(
        bold=of_inline.get("strong_open", 0),
        italic=of_inline.get("em_open", 0),
        heading=of_block.get("heading_open", 0),
        list=_lists(blocks),
        table=of_block.get("table_open", 0),
        code=of_block.get("fence", 0) + of_inline.get("code_inline", 0),
        link=of_inline.get("link_open", 0),
        rule=of_block.get("hr", 0),
        quote=of_block.get("blockquote_open", 0),
        bare_url=_bare_urls(inline),
    )


@cache
def _block_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # inline parsing is done below, only where a paragraph has something to find
    return MarkdownIt("commonmark").enable("table").disable("inline")


@cache
def _inline_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")


def _inline_tokens(contents: Iterable[str], references: dict[str, object]) -> Iterator[Token]:
    for content in contents:
        if _INLINE_HINT.search(content):
            for token in _inline_parser().parseInline(content, references):
                yield from token.children or ()


def _tally(kinds: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _bare_urls(inline: Sequence[Token]) -> int:
    depth = found = 0
    for token in inline:
        depth += (token.type == "link_open") - (token.type == "link_close")
        if token.type == "text" and depth == 0:
            found += len(URL.findall(token.content))
    return found


@dataclass(slots=True)
class _List:
    kind: str
    first: int
    items: int = 0

    def continues(self, before: _List) -> bool:
        """Whether this is the next item of the list before it, with something else between the items."""
        if self.kind.startswith("ordered") and self.first == before.first + before.items:
            return True
        # `1.` before every item is a common way to number, too
        return self.items == 1 and self.first == 1


def _lists(blocks: Sequence[Token]) -> int:
    """Lists of two or more items. `1. a`, a paragraph, `2. b` is one list to a reader, but two to CommonMark."""
    siblings: dict[int, list[_List]] = {}
    parents: list[int] = [0]
    stack: list[_List] = []
    for number, token in enumerate(blocks, start=1):
        if token.type in ("bullet_list_open", "ordered_list_open"):
            stack.append(_List(token.type + token.markup, int(token.attrs.get("start", 1))))
            siblings.setdefault(parents[-1], []).append(stack[-1])
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            stack.pop()
        elif token.type == "list_item_open":
            stack[-1].items += 1
            parents.append(number)
        elif token.type == "list_item_close":
            parents.pop()
    return sum(_of_two_or_more(lists) for lists in siblings.values())


def _of_two_or_more(lists: Sequence[_List]) -> int:
    joined: list[_List] = []
    latest: dict[str, _List] = {}
    for one in lists:
        before = latest.get(one.kind)
        if before is not None and one.continues(before):
            before.items += one.items
        else:
            joined.append(one)
            latest[one.kind] = one
    return sum(one.items >= 2 for one in joined)
