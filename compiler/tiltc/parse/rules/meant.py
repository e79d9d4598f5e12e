"""Definitions that are well formed and can't mean what they say: they would match nothing, and the data be blamed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.specfile import Definition, SpecFile
from tiltc.source import Route, Scalar

#: What is the matter, and edits to make.
Fault = tuple[str, tuple[str, ...]]

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
#: What double quotes make of the escapes that are others in patterns.
_ESCAPES = {
    "\b": "b",
    "\a": "a",
    "\x1b": "e",
    "\v": "v",
    "\f": "f",
    "\0": "0",
    "\x85": "N",
    "\u2028": "L",
    "\u2029": "P",
}
_CURLY = re.compile("[\u2018\u201a].*[\u2018\u2019]|[\u201c\u201e].*[\u201c\u201d]|\u00ab.*\u00bb", re.DOTALL)
_SLASHES = re.compile(r"/(.+)/([a-zA-Z]*)", re.DOTALL)
_COMMENT = re.compile(r"[ \t]+#(.*)")
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_REGEX_IN_WORD = re.compile(r"\\[bBdDwWsS]|\.[*+]|\[\^?\w-+\][*+]?")


def misread_definitions(file: SpecFile) -> Iterator[Diagnostic]:
    """T142: a pattern or a word that YAML, or the habit of another language, made something else of."""
    for definition in file.library.values():
        if not definition.own:
            continue
        concept = definition.concept
        if concept.pattern:
            yield from _finding(file, definition, ("pattern",), _pattern_fault(file, definition, concept.pattern))
        for index, word in enumerate(concept.words or ()):
            scalar = _scalar(file, definition, ("words", index))
            yield from _finding(file, definition, ("words", index), _word_fault(word, scalar))


def _finding(file: SpecFile, definition: Definition, route: Route, fault: Fault | None) -> Iterator[Diagnostic]:
    if fault:
        text, helps = fault
        yield Diagnostic("T142", Label(file.definition_at(definition.name, *route), text), helps=helps)


def _pattern_fault(file: SpecFile, definition: Definition, pattern: str) -> Fault | None:
    scalar = _scalar(file, definition, ("pattern",))
    return (
        _control(pattern)
        or (_curly(pattern) if scalar and scalar.plain else None)
        or _slashes(pattern)
        or (_comment(file, definition, scalar) if scalar and scalar.plain else None)
        or _anchors(pattern)
    )


def _word_fault(word: str, scalar: Scalar | None) -> Fault | None:
    if fault := _control(word) or (_curly(word) if scalar and scalar.plain else None):
        return fault
    slashes = _SLASHES.fullmatch(word)
    if _REGEX_IN_WORD.search(word) or (slashes and slashes[2]):
        return "words are searched for as they stand", ("write it as a `pattern:`",)
    return None


def _control(text: str) -> Fault | None:
    match = _CONTROL.search(text)
    if match is None:
        return None
    helps: tuple[str, ...] = ("use single quotes, which leave backslashes alone",)
    if letter := _ESCAPES.get(match[0]):
        return (
            f"this looks for the control character U+{ord(match[0]):04X}: `\\{letter}` in double quotes is one",
            helps,
        )
    return f"this looks for the control character U+{ord(match[0]):04X}", helps


def _curly(text: str) -> Fault | None:
    if not _CURLY.fullmatch(text):
        return None
    return "the curly quotes are part of what is looked for", ("use straight quotes; in them curly ones are meant",)


def _slashes(pattern: str) -> Fault | None:
    match = _SLASHES.fullmatch(pattern)
    if match is None or (not match[2] and "/" in match[1]) or len(match[2]) > 6:
        return None
    inner = f"(?i){match[1]}" if "i" in match[2] else match[1]
    helps = (f"write `{inner}`", *(() if match[2] else (f"where the slashes are meant, `[/]{match[1]}[/]`",)))
    return "the slashes" + (f" and `{match[2]}`" if match[2] else "") + " are part of what is looked for", helps


def _comment(file: SpecFile, definition: Definition, scalar: Scalar) -> Fault | None:
    lines = file.sources[definition.file].lines
    comment = _COMMENT.match(lines[scalar.span.end_line - 1], scalar.span.end_column - 1)
    if comment is None:
        return None
    meant = f"{scalar.text}{comment[0]}".rstrip()
    helps = (f"put it in quotes: '{meant}', or '{scalar.text}' where the rest is a comment",)
    return f"the pattern ends here: `#{comment[1]}` is a comment".rstrip(), helps


def _anchors(pattern: str) -> Fault | None:
    """Text behind the end, or before the beginning."""
    before = ""
    tokens = list(_tokens(pattern))
    for here, after, beyond in zip(tokens, [*tokens[1:], ""], [*tokens[2:], "", ""], strict=False):
        if here == "$" and _consumes(after) and beyond not in ("?", "*", "{"):
            return f"`$` is the end of the text, and `{after}` can't follow it", ("a dollar sign is `\\$`",)
        if here == "^" and _consumes(before):
            return f"`^` is the beginning of the text, and `{before}` can't stand before it", ("a caret is `\\^`",)
        before = here
    return None


def _tokens(pattern: str) -> Iterator[str]:
    """Characters, escapes and classes, up to a class that does not end: it would be looked for to the end again and again."""
    for match in _TOKEN.finditer(pattern):
        yield match[0]
        if match[0] == "[":
            return


def _consumes(token: str) -> bool:
    """Whether a token takes a character that is no line end."""
    return token in ("\\d", "\\w") or (len(token) == 1 and (token.isalnum() or token == "_"))


def _scalar(file: SpecFile, definition: Definition, route: Route) -> Scalar | None:
    """The scalar as it is written in a file; None for what `--set` says."""
    whole = (*definition.route, *route)
    if definition.file == file.path and any(whole[: len(changed)] == changed for changed in file.overridden):
        return None
    source = file.sources.get(definition.file)
    node = source.node(whole) if source else None
    return node if isinstance(node, Scalar) else None
