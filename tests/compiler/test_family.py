"""Families of concepts: the fast walks find what the slow definition says."""

from __future__ import annotations

import random

from tiltc.family import ancestors, ancestors_among, children, circles, kin_of, siblings


def trees(around: bool) -> list[dict[str, tuple[str, ...]]]:
    """Random trees; with circles or without."""
    rng = random.Random(1)
    made: list[dict[str, tuple[str, ...]]] = []
    for _ in range(200):
        names = [f"c{i}" for i in range(rng.randint(1, 12))]
        above = {c: names if around else names[i + 1 :] for i, c in enumerate(names)}
        made.append({c: tuple(rng.sample(above[c], min(len(above[c]), rng.randint(0, 2)))) for c in names})
    return made


def test_circles_are_the_concepts_that_are_their_own_ancestors() -> None:
    """Each is in one group, and all of a group are each other's ancestors."""
    for tree in trees(around=True):
        groups = circles(tree)
        assert sorted(name for group in groups for name in group) == sorted(c for c in tree if c in ancestors(tree, c))
        assert all(group <= ancestors(tree, name) for group in groups for name in group)


def test_ancestors_of_many_in_one_walk() -> None:
    """The same as one by one."""
    for tree in trees(around=False):
        names = list(tree)[::2]
        assert ancestors_among(tree, names) == {c: ancestors(tree, c) & set(names) for c in names}


def test_siblings_are_the_other_children_of_the_parents() -> None:
    """In alphabetical order, without the concept itself."""
    for tree in trees(around=True):
        for name, parents in tree.items():
            assert siblings(tree, name) == tuple(sorted({c for p in parents for c in children(tree, p)} - {name}))


def test_marks_reach_all_kin_in_two_walks() -> None:
    """A concept has the marks of whatever is its ancestor, its descendant or itself."""
    for tree in trees(around=False):
        marks = {name: 1 << i for i, name in enumerate(list(tree)[::2])}
        kin = {a: {b for b in tree if a == b or a in ancestors(tree, b) or b in ancestors(tree, a)} for a in tree}
        every = {a: sum(bit for b, bit in marks.items() if b in kin[a]) for a in tree}
        assert kin_of(tree, marks) == {a: bits for a, bits in every.items() if bits}
