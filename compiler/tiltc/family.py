"""Families of concepts: who is a kind of what, by the `parents:` of their definitions (paper section 9, R1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
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


def ancestors_among(tree: Tree, names: Iterable[str]) -> dict[str, set[str]]:
    """For each of some concepts those of them that are its ancestors: one walk for all, where no concept is its own ancestor."""
    index = {name: number for number, name in enumerate(dict.fromkeys(names))}
    above: dict[str, int] = {}  # as bits
    for name in parents_first(tree, index):
        above[name] = 0
        for parent in tree.get(name, ()):
            above[name] |= above.get(parent, 0) | (1 << index[parent] if parent in index else 0)
    return {name: {other for other, number in index.items() if above[name] >> number & 1} for name in index}


def kin_of(tree: Tree, marks: Mapping[str, int]) -> dict[str, int]:
    """For each concept the marks (bits) of itself, its ancestors and its descendants: two walks for all, as above."""
    order = parents_first(tree, tree)
    above: dict[str, int] = {}
    for name in order:
        above[name] = reduce(or_, (above[parent] for parent in tree.get(name, ())), marks.get(name, 0))
    below = dict(marks)
    for name in reversed(order):
        for parent in tree.get(name, ()):
            below[parent] = below.get(parent, 0) | below.get(name, 0)
    return {name: bits for name in order if (bits := above[name] | below.get(name, 0))}


def parents_first(tree: Tree, names: Iterable[str]) -> list[str]:
    """Concepts and all their ancestors, each behind its parents."""
    order: list[str] = []
    seen: set[str] = set()
    for name in names:
        _finish(tree, name, seen, order)
    return order


def children(tree: Tree, name: str) -> tuple[str, ...]:
    """Concepts that name it as a parent, in alphabetical order."""
    return tuple(sorted(other for other, parents in tree.items() if name in parents))


def upside_down(tree: Tree) -> Tree:
    """The children of every concept that has any."""
    below: dict[str, list[str]] = {}
    for child, parents in tree.items():
        for parent in parents:
            below.setdefault(parent, []).append(child)
    return {parent: tuple(under) for parent, under in below.items()}


def circles(tree: Tree) -> list[set[str]]:
    """The groups of concepts in which each is an ancestor of all, itself included. Time grows with the tree's size.

    Kosaraju's walk: up from everyone, then down in the opposite order.
    """
    order = parents_first(tree, tree)
    below = upside_down(tree)
    grouped: set[str] = set()
    groups: list[set[str]] = []
    for name in reversed(order):
        group: list[str] = []
        _finish(below, name, grouped, group)
        if len(group) > 1 or name in tree.get(name, ()):
            groups.append(set(group))
    return groups


def _finish(tree: Tree, first: str, seen: set[str], order: list[str]) -> None:
    """A walk from a concept through its parents that are not seen yet: names in the order in which all above them is done."""
    if first in seen:
        return
    seen.add(first)
    waiting = [(first, iter(tree.get(first, ())))]
    while waiting:
        parents = waiting[-1][1]
        fresh = next((parent for parent in parents if parent not in seen), None)
        if fresh is None:
            order.append(waiting.pop()[0])
        else:
            seen.add(fresh)
            waiting.append((fresh, iter(tree.get(fresh, ()))))


def siblings(tree: Tree, name: str) -> tuple[str, ...]:
    """The other children of its parents, in alphabetical order."""
    return tuple(other for other in children_of_any(tree, tree.get(name, ())) if other != name)


def children_of_any(tree: Tree, parents: Iterable[str]) -> tuple[str, ...]:
    """Concepts that name one of these as a parent, in alphabetical order."""
    of = frozenset(parents)
    return tuple(sorted(name for name, above in tree.items() if not of.isdisjoint(above)))


def relatives(tree: Tree, name: str) -> dict[str, Kin]:
    """Parents, siblings and children by name; who is two things at once is the nearer."""
    near: tuple[tuple[Kin, tuple[str, ...]], ...] = (
        ("sibling", siblings(tree, name)),
        ("child", children(tree, name)),
        ("parent", tree.get(name, ())),
    )
    return {other: kin for kin, names in near for other in names}
