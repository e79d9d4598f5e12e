"""Families of concepts: who is a kind of what, by the `parents:` of their definitions (paper section 9, R1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

#: the parents of every concept, by its name
Tree = Mapping[str, tuple[str, ...]]
Kin = Literal["parent", "sibling", "child"]


def ancestors(tree: Tree, name: str) -> set[str]:
    """All parents of a concept, theirs included; a cycle ends where it began."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        fresh = [p for p in tree.get(waiting.pop(), ()) if p not in seen]
        seen.update(fresh)
        waiting.extend(fresh)
    return seen


def children(tree: Tree, name: str) -> tuple[str, ...]:
    """Concepts that name it as a parent, in alphabetical order."""
    return tuple(sorted(other for other, parents in tree.items() if name in parents))


def siblings(tree: Tree, name: str) -> tuple[str, ...]:
    """The other children of its parents, in alphabetical order."""
    every = {child for parent in tree.get(name, ()) for child in children(tree, parent)}
    return tuple(sorted(every - {name}))


def relatives(tree: Tree, name: str) -> dict[str, Kin]:
    """Parents, siblings and children by name; who is two things at once is the nearer."""
    near: tuple[tuple[Kin, tuple[str, ...]], ...] = (
        ("sibling", siblings(tree, name)),
        ("child", children(tree, name)),
        ("parent", tree.get(name, ())),
    )
    return {other: kin for kin, names in near for other in names}
