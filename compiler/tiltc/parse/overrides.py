"""`--set a.b=c`: changes to a spec from the command line, checked as if they had been written in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiltc.diagnostics import Diagnostics
from tiltc.parse.document import Document
from tiltc.parse.shape import keys_at
from tiltc.parse.suggest import did_you_mean
from tiltc.source import Route, override_span, plain
from tiltc.source.compose import compose
from tiltc.spec import Amplify, FileRef, HubRef, Keep, SaeRef, Spec, Suppress


def apply_overrides(document: Document, overrides: Sequence[str], found: Diagnostics) -> dict[str, Any]:
    """Change the document's values in place; returns the changes by dotted path."""
    applied: dict[str, Any] = {}
    for typed in overrides:
        written = typed.encode("utf-8", "backslashreplace").decode()
        if written != typed:
            found.add("T127", override_span(written), "this is not UTF-8")
            continue
        path, equals, text = written.partition("=")
        if not equals or not all(path.split(".")):
            found.add("T127", override_span(written), "this has no form `path.to.key=value`")
            continue
        before = len(found)
        value = _value(written, text, found)
        if len(found) == before and _put(document, written, path, value, found):
            applied[path] = value
    return applied


def _value(written: str, text: str, found: Diagnostics) -> Any:
    """A value is read as YAML, so `3`, `5%`, `[a, b]` and `{r: 8}` mean what they mean in a spec."""
    inner = Diagnostics()
    root = compose("--set", f"value: {text}", inner)
    if root is None or "value" not in root.entries or len(root.entries) > 1:
        reason = next(iter(inner)).primary.text if inner else "more than one value"
        found.add("T127", override_span(written), reason)
        return None
    return plain(root.entries["value"].value)


def _put(document: Document, written: str, path: str, value: Any, found: Diagnostics) -> bool:
    route = _route(path)
    unknown = _unknown(document, route)
    if unknown is not None:
        known = _keys(document, route[:unknown])
        helps = did_you_mean(str(route[unknown]), known) or ([f"known here: {', '.join(known)}"] if known else [])
        found.add("T127", override_span(written, key=True), _why(route, unknown, known), helps=helps)
        return False
    document.data = _replaced(document.data, route, value)
    document.overridden[route] = written
    return True


def _why(route: Route, unknown: int, known: list[str]) -> str:
    parent = ".".join(map(str, route[:unknown]))
    return f"`{route[unknown]}` is not a key here" if known else f"`{parent}` has no `{route[unknown]}` to change"


def _route(path: str) -> Route:
    return tuple(int(step) if step.isdecimal() else step for step in path.split("."))


def _unknown(document: Document, route: Route) -> int | None:
    """The index of the first step that leads nowhere."""
    node: Any = document.data
    for index, step in enumerate(route):
        known = _keys(document, route[:index])
        if isinstance(node, tuple):
            if not isinstance(step, int) or step >= len(node):
                return index
            node = node[step]
            continue
        if node is not None and not isinstance(node, dict):
            return index
        if known and step not in known:
            return index
        node = node.get(step) if node else None
    return None


def _keys(document: Document, route: Route) -> list[str]:
    """The keys known at a route, given the variant that the document has there."""
    if route and route[0] in ("model", "sae", "data"):
        kinds = {"model": (HubRef,), "sae": (SaeRef,), "data": (FileRef, HubRef)}[str(route[0])]
        return [key for kind in kinds for key in keys_at(kind, route[1:])] if len(route) == 1 else []
    if route and route[0] == "signals" and len(route) == 2:
        return list(dict.fromkeys(key for kind in (Suppress, Keep, Amplify) for key in keys_at(kind, ())))
    return keys_at(Spec, route)


def _replaced(node: Any, route: Route, value: Any) -> Any:
    if not route:
        return value
    if isinstance(node, tuple):
        index = int(route[0])
        return (*node[:index], _replaced(node[index], route[1:], value), *node[index + 1 :])
    node = node or {}
    return {**node, str(route[0]): _replaced(node.get(str(route[0])), route[1:], value)}
