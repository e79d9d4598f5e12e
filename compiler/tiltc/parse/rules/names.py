"""Names that lead nowhere, and names used for the wrong side of a pair."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from tiltc.diagnostics import Diagnostic, Label
from tiltc.family import circles
from tiltc.parse.specfile import Definition, SpecFile
from tiltc.parse.suggest import did_you_mean

#: names of a circle that are written out
SHOWN = 8


def unknown_names(file: SpecFile) -> Iterator[Diagnostic]:
    """A signal or gate names a concept that no library has."""
    for route, name in file.named():
        if name not in file.library:
            helps = _helps(file, name, _gates(file) if route[-1] == "when" else ())
            yield Diagnostic("T132", Label(file.at(route), f"no concept is called `{name}`"), helps=helps)


def unknown_parents(file: SpecFile) -> Iterator[Diagnostic]:
    """A definition names a parent that no library has."""
    for definition in _written(file):
        for index, parent in enumerate(definition.concept.parents):
            if parent not in file.library:
                at = file.definition_at(definition.name, "parents", index)
                yield Diagnostic("T132", Label(at, f"no concept is called `{parent}`"), helps=_helps(file, parent, ()))


def circular_parents(file: SpecFile) -> Iterator[Diagnostic]:
    """A concept is its own ancestor. Concepts that are all each other's ancestors are one finding."""
    going_round = {name: group for group in circles(file.tree) for name in group}
    reported: set[str] = set()
    for definition in _written(file):
        group = going_round.get(definition.name)
        if group and definition.name not in reported:
            reported.update(group)
            circle = _circle(file, definition.name)
            at = file.definition_at(definition.name, "parents")
            names = (*circle, circle[0])
            shown = (
                names
                if len(names) <= SHOWN
                else (*names[:SHOWN], f"... {len(names) - SHOWN - 1:,} more ...", names[-1])
            )
            yield Diagnostic("T133", Label(at, " is under ".join(f"`{name}`" for name in shown)))


def wrong_side(file: SpecFile) -> Iterator[Diagnostic]:
    """A gate must read the prompt and a signal the response."""
    for route, name in file.named():
        definition = file.library.get(name)
        gate = route[-1] == "when"
        if definition is None or definition.concept.reads == ("prompt" if gate else "response"):
            continue
        code, helps = ("T134", _gates(file)) if gate else ("T135", ("use it as a gate: `when:`",))
        text = f"`{name}` reads the {definition.concept.reads}"
        yield Diagnostic(code, Label(file.at(route), text), labels=_defined(file, name), helps=helps)


def _written(file: SpecFile) -> Iterator[Definition]:
    """The definitions users wrote; those of std are tested where they ship."""
    return (definition for definition in file.library.values() if definition.own)


def _helps(file: SpecFile, name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    near = did_you_mean(name, file.library, most=3)
    return (
        tuple(near) or otherwise or ("`tiltc concepts` lists what ships with tiltc; define others under `concepts:`",)
    )


def _circle(file: SpecFile, name: str) -> list[str]:
    """The names from a concept that is its own ancestor through its parents back to it, by the shortest way."""
    came_from: dict[str, str] = {}
    waiting = deque([name])
    while waiting:
        here = waiting.popleft()
        for parent in file.tree.get(here, ()):
            if parent == name:
                path = [here]
                while path[-1] != name:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if parent not in came_from:
                came_from[parent] = here
                waiting.append(parent)
    return []


def _defined(file: SpecFile, name: str) -> tuple[Label, ...]:
    at = file.definition_at(name, "reads", key=True)
    return (Label(at, "defined here"),) if at else ()


def _gates(file: SpecFile) -> tuple[str, ...]:
    gates = [f"`{name}`" for name, definition in file.library.items() if definition.concept.reads == "prompt"]
    return (f"concepts that read the prompt: {', '.join(gates[:6])}, ...",) if gates else ()
