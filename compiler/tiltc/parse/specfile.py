"""What parsing gives: the spec, every concept it can name, and where everything is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tiltc.canonical import canonical_json, sha256_text
from tiltc.diagnostics import Span
from tiltc.family import Tree, children_of_any
from tiltc.paths import locate, readable_roots
from tiltc.source import Route, SourceFile, override_span
from tiltc.spec import Concept, Keep, Signal, Spec


@dataclass(frozen=True)
class Definition:
    """A concept and where it is defined. `folder` is what its `examples:` path is relative to.

    `kept_by` is the concept that its contrast names under this key.
    """

    name: str
    concept: Concept
    file: str
    folder: Path
    route: Route
    kept_by: Concept | None = None

    @property
    def own(self) -> bool:
        """False for what ships with tiltc."""
        return not self.file.startswith("std/")

    def path(self, text: str) -> Path:
        return locate(text, self.folder)


@dataclass(frozen=True)
class SpecFile:
    """A spec that was read and whose names are all known.

    `path` is as the user gave it. `library` has every concept within reach by name: std, extended and own.
    `sources` has every file that was read, by the path used in spans. `overrides` is what `--set` changed.
    """

    path: str
    spec: Spec
    library: dict[str, Definition]
    sources: dict[str, SourceFile]
    overrides: dict[str, Any]
    #: what `--set` changed by route, as typed
    overridden: dict[Route, str] = field(default_factory=dict[Route, str])
    #: the files of `sources` as the spec reaches them, the same from whichever folder it is read
    names: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def folder(self) -> Path:
        return Path(self.path).parent

    def at(self, route: Route, key: bool = False) -> Span:
        """The place of the value at a route, or of its key, or of the nearest parent that is written.

        That is in the spec, or on the command line for what `--set` changed.
        """
        for changed, written in self.overridden.items():
            if route[: len(changed)] == changed:
                return override_span(written, key and route == changed)
        return self.sources[self.path].at(route, key)

    def definition_at(self, name: str, *route: str | int, key: bool = False) -> Span | None:
        """A place within a concept's definition, in whichever file that is; None for what ships with tiltc."""
        definition = self.library[name]
        if definition.file == self.path:
            return self.at((*definition.route, *route), key)
        source = self.sources.get(definition.file)
        return source.at((*definition.route, *route), key) if source else None

    @cached_property
    def roots(self) -> tuple[Path, ...]:
        """The folders that the spec and its libraries may name files in."""
        return readable_roots(self.folder)

    def named(self) -> Iterator[tuple[Route, str]]:
        """Every place of the spec that names a concept, with the name."""
        for index, signal in enumerate(self.spec.signals):
            yield ("signals", index, signal.verb), signal.concept
            if signal.when is not None:
                yield ("signals", index, "when"), signal.when
            apart = getattr(signal, "apart_from", None)
            if isinstance(apart, tuple):
                yield from ((("signals", index, "apart_from", k), name) for k, name in enumerate(apart))

    @cached_property
    def tree(self) -> Tree:
        """The parents of every concept within reach."""
        return {name: definition.concept.parents for name, definition in self.library.items()}

    def apart(self, signal: Signal) -> tuple[str, ...]:
        """The concepts that a signal is to be told apart from, whatever way it names them; empty without `apart_from`."""
        asked = None if isinstance(signal, Keep) else signal.apart_from
        if asked is None:
            return ()
        key = (asked, signal.concept)
        if key not in self._apart:
            self._apart[key] = self._told_from(signal, asked)
        return self._apart[key]

    @cached_property
    def _apart(self) -> dict[tuple[str | tuple[str, ...], str], tuple[str, ...]]:
        # asked for by many rules, and a family may have thousands
        return {}

    def _told_from(self, signal: Signal, asked: str | tuple[str, ...]) -> tuple[str, ...]:
        if asked == "siblings":
            every = self._brood(self.tree.get(signal.concept, ()))
        elif asked == "keeps":
            every = tuple(dict.fromkeys(s.concept for s in self.spec.signals if isinstance(s, Keep)))
        else:
            every = self.tree.get(signal.concept, ()) if isinstance(asked, str) else asked
        own = signal.concept
        return tuple(n for n in every if n != own and n in self._responses)

    def _brood(self, parents: tuple[str, ...]) -> tuple[str, ...]:
        if parents not in self._broods:
            self._broods[parents] = children_of_any(self.tree, parents)
        return self._broods[parents]

    @cached_property
    def _broods(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        # siblings have the same one
        return {}

    @cached_property
    def _responses(self) -> frozenset[str]:
        """What is read in responses."""
        return frozenset(name for name, definition in self.library.items() if definition.concept.reads == "response")

    def reached(self) -> dict[str, Definition]:
        """The definitions the signals depend on: what they name and its parents, what its contrast is kept by, and what it is
        told apart from."""
        reached: dict[str, Definition] = {}
        waiting = [name for _, name in self.named()]
        waiting += [name for signal in self.spec.signals for name in self.apart(signal)]
        while waiting:
            name = waiting.pop()
            if name not in reached and name in self.library:
                reached[name] = self.library[name]
                concept = reached[name].concept
                waiting.extend(concept.parents)
                waiting.extend([concept.contrast.kept_by] if concept.contrast and concept.contrast.kept_by else [])
        return reached

    @cached_property
    def digest(self) -> str:
        """sha256 of what the spec means: independent of paths, comments, order of keys and free text."""
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude={"extends", "concepts", "meta"})
        concepts = {
            name: definition.concept.model_dump(mode="json", exclude={"meta"})
            for name, definition in self.reached().items()
        }
        return sha256_text(canonical_json({"spec": spec, "concepts": concepts}))
