"""`${VAR}` may stand in a path and nowhere else: what a spec means must not depend on the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiltc.diagnostics import Diagnostics
from tiltc.parse.document import MOST, Document
from tiltc.paths import VARIABLE, unset_variables
from tiltc.source import Route

#: Keys whose text is for people or is searched for as it is.
_FREE = {"about", "because", "meta", "words", "label", "positive", "negative", "rubric"}


def check_variables(document: Document, found: Diagnostics) -> None:
    """Report variables outside of paths, and those in the paths parsing must open that are not set."""
    limit = len(found) + MOST
    for route, text in _texts(document.data, ()):
        match = VARIABLE.search(text)
        if match is None or len(found) >= limit or _FREE.intersection(route):
            continue
        if not _is_path(route):
            document.report(found, "T128", route, f"`{match[0]}` would make the spec mean what the machine says")
        elif route != ("data", "file") and (unset := unset_variables(text)):
            document.report(found, "T129", route, f"`{unset[0]}` is not set in the environment")


def _texts(node: Any, route: Route) -> Iterator[tuple[Route, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(value, (*route, str(key)))
    elif isinstance(node, tuple):
        for index, value in enumerate(node):
            yield from _texts(value, (*route, index))
    elif isinstance(node, str):
        yield route, node


def _is_path(route: Route) -> bool:
    return (
        route == ("data", "file")
        or route[0] == "extends"
        or (route[0] == "concepts" and len(route) > 2 and route[2:] in (("examples",), ("contrast", "questions")))
    )
