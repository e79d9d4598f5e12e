"""The node tree of a YAML file. Positions count from 1; a collection ends where its last child ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tiltc.diagnostics import Span
from tiltc.source.scalars import resolve

#: Keys and indices from the top of a file down to a value.
Route = tuple[str | int, ...]


@dataclass(frozen=True)
class Scalar:
    """A scalar as written. `plain` is true when it has no quotes, so that its type follows from its text."""

    text: str
    plain: bool
    span: Span

    @property
    def value(self) -> Any:
        return resolve(self.text) if self.plain else self.text


@dataclass(frozen=True)
class SequenceNode:
    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True)
class Entry:
    key: Scalar
    value: Node


@dataclass(frozen=True)
class MappingNode:
    entries: dict[str, Entry]
    span: Span


Node = Scalar | SequenceNode | MappingNode


def plain(node: Node) -> Any:
    """The value of a node: dict, tuple or scalar. Sequences become tuples, as the spec's types want them."""
    if isinstance(node, MappingNode):
        return {key: plain(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, SequenceNode):
        return tuple(plain(item) for item in node.items)
    return node.value


def count(node: Node) -> int:
    """Scalars and collections of a tree, itself included."""
    if isinstance(node, MappingNode):
        return 1 + sum(1 + count(entry.value) for entry in node.entries.values())
    return 1 + sum(map(count, node.items)) if isinstance(node, SequenceNode) else 1


def descend(root: MappingNode, route: Route) -> Iterator[Entry | Node]:
    """The steps from the root along a route, as far as the file goes."""
    node: Node = root
    for step in route:
        if isinstance(node, MappingNode) and isinstance(step, str) and step in node.entries:
            entry = node.entries[step]
            yield entry
            node = entry.value
        elif isinstance(node, SequenceNode) and isinstance(step, int) and 0 <= step < len(node.items):
            node = node.items[step]
            yield node
        else:
            return
