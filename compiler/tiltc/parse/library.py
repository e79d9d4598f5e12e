"""Concept libraries: `std`, what a spec extends, and its own definitions, merged by name."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from tiltc.diagnostics import Diagnostics, Label, Span
from tiltc.parse.document import Document
from tiltc.parse.specfile import Definition
from tiltc.parse.standard import standard_library
from tiltc.parse.suggest import nearest
from tiltc.parse.validate import validate_library
from tiltc.parse.variables import check_variables
from tiltc.paths import expand, locate
from tiltc.source import Route, SourceFile, read
from tiltc.spec import Concept, ConceptFile, Spec


@dataclass
class Library:
    """Concepts by name, and the files they were read from. What comes later shadows what came before."""

    found: Diagnostics
    definitions: dict[str, Definition] = field(default_factory=standard_library)
    sources: dict[str, SourceFile] = field(default_factory=dict[str, SourceFile])
    #: files being read, outermost first, and files already read
    chain: list[Path] = field(default_factory=list[Path])
    done: set[Path] = field(default_factory=set[Path])

    def add(self, document: Document, content: Spec | ConceptFile) -> None:
        """Read what a file extends, then define what it defines."""
        source = document.source
        self.sources[source.path] = source
        self.chain.append(Path(source.path).resolve())
        for index, text in enumerate(content.extends):
            self.extend(document, ("extends", index), text)
        self.done.add(self.chain.pop())
        for name, concept in content.concepts.items():
            route = ("concepts", name)
            self.define(Definition(name, concept, source.path, Path(source.path).parent, route), source)

    def extend(self, document: Document, route: Route, text: str) -> None:
        file = locate(text.replace("\0", "\ufffd"), Path(document.source.path).parent)
        if file.resolve() in self.chain:
            names = " extends ".join(f"`{path.name}`" for path in (*self.chain, file.resolve()))
            label = document.label(route, "this closes the circle")
            self.found.add("T130", label.span, label.text, notes=[names])
        elif file.resolve() not in self.done:
            self.read(file, document.label(route, text), text)

    def read(self, file: Path, named: Label, text: str) -> None:
        if not file.is_file():
            near = nearest(file.name, _siblings(file))
            helps = [f"did you mean `{os.path.join(os.path.dirname(text), near[0])}`?"] if near else []  # noqa: PTH118, PTH120
            self.found.add("T101", named.span, f"no file `{expand(text)}`", helps=helps)
            return
        source, found = read(file, os.path.normpath(file), named.span)
        self.found.extend(found)
        document = Document.of(source) if source else None
        if document is None:
            return
        inner = Diagnostics()
        check_variables(document, inner)
        content = validate_library(document, inner)
        self.found.extend(inner)
        if content is not None:
            self.add(document, content)

    def define(self, definition: Definition, source: SourceFile) -> None:
        before = self.definitions.get(definition.name)
        if before is not None:
            at = source.at(definition.route, key=True)
            other = self.place(before)
            labels = [Label(other, "this definition is hidden")] if other else []
            text = f"`{definition.name}` is also defined in `{before.file}`"
            self.found.add("T131", at, text, labels=labels, helps=["rename one of them"])
        self.definitions[definition.name] = definition

    def place(self, definition: Definition) -> Span | None:
        source = self.sources.get(definition.file)
        return source.at(definition.route, key=True) if source else None


def with_keepers(definitions: dict[str, Definition]) -> dict[str, Definition]:
    """Every definition, with the concept that its contrast is kept by where it names a known one."""
    return {name: replace(d, kept_by=_keeper(d, definitions)) if d.own else d for name, d in definitions.items()}


def _keeper(definition: Definition, definitions: dict[str, Definition]) -> Concept | None:
    contrast = definition.concept.contrast
    named = definitions.get(contrast.kept_by) if contrast and contrast.kept_by else None
    return named.concept if named else None


def _siblings(file: Path) -> list[str]:
    try:
        return [entry.name for entry in file.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return []
