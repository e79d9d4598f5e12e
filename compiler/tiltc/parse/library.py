"""Concept libraries: `std`, what a spec extends, and its own definitions, merged by name."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from tiltc.diagnostics import Diagnostic, Diagnostics, Label, Span
from tiltc.parse.document import MOST, Document
from tiltc.parse.specfile import Definition
from tiltc.parse.standard import standard_library
from tiltc.parse.suggest import nearest
from tiltc.parse.validate import validate_library
from tiltc.parse.variables import check_variables
from tiltc.paths import ALLOWED, kind, locate, outside, real
from tiltc.source import LARGEST, Route, SourceFile, read
from tiltc.source.compose import MOST_VALUES
from tiltc.spec import Concept, ConceptFile, Spec

#: Libraries that a spec may reach, what they may hold together, and how long a chain of them may be.
MOST_LIBRARIES = 64
MOST_BYTES = 2_000_000
DEEPEST = 24


def leads_out(at: Span | None, text: str) -> Diagnostic:
    """T116, the same whether there is such a file or not."""
    helps = (f"keep the file in the repository, or name its folder in the environment: {ALLOWED}=FOLDER",)
    return Diagnostic("T116", Label(at, f"`{text}` leads out of the repository"), helps=helps)


@dataclass
class Library:
    """Concepts by name, and the files they were read from. What comes later shadows what came before."""

    found: Diagnostics
    definitions: dict[str, Definition] = field(default_factory=standard_library)
    sources: dict[str, SourceFile] = field(default_factory=dict[str, SourceFile])
    #: files being read, outermost first, and files already read
    chain: list[Path] = field(default_factory=list[Path])
    done: set[Path] = field(default_factory=set[Path])
    #: the same files as the spec reaches them, wherever it is compiled from, by the path used in spans
    names: dict[str, str] = field(default_factory=dict[str, str])
    #: folders that files may be read from
    roots: tuple[Path, ...] = ()
    #: whether a library was one too many
    over: bool = False
    #: definitions that hide another, as far as they are reported
    shadows: int = 0

    def add(self, document: Document, content: Spec | ConceptFile) -> None:
        """Read what a file extends, then define what it defines."""
        source = document.source
        self.sources[source.path] = source
        self.names.setdefault(source.path, os.path.basename(source.path))  # noqa: PTH119
        self.chain.append(real(source.file or source.path))
        for index, text in enumerate(content.extends):
            self.extend(document, ("extends", index), text)
        self.done.add(self.chain.pop())
        folder = source.folder
        for name, concept in content.concepts.items():
            self.define(Definition(name, concept, source.path, folder, ("concepts", name)), source)

    def extend(self, document: Document, route: Route, text: str) -> None:
        file = locate(text.replace("\0", "\ufffd"), document.source.folder)
        named = document.label(route, text)
        if outside(file, self.roots):
            self.found.extend([leads_out(named.span, text)])
        elif (target := real(file)) in self.chain:
            names = " extends ".join(f"`{path.name}`" for path in (*self.chain, target))
            self.found.add("T130", named.span, "this closes the circle", notes=[names])
        elif target not in self.done:
            shown = _beside(document.source.path, text)
            self.names.setdefault(shown, _beside(self.names[document.source.path], text))
            self.read(file, named, text, shown)

    def read(self, file: Path, named: Label, text: str, shown: str) -> None:
        if kind(file) == "missing":
            near = nearest(file.name, _siblings(file))
            helps = [f"did you mean `{os.path.join(os.path.dirname(text), near[0])}`?"] if near else []  # noqa: PTH118, PTH120
            self.found.add("T101", named.span, f"no file `{text}`", helps=helps)
            return
        if self.full(file):
            if not self.over:
                text = f"more than {MOST_LIBRARIES} libraries, or {MOST_BYTES:,} bytes of them, with this one"
                self.found.add("T119", named.span, text)
            self.over = True
            return
        source, found = read(file, shown, named.span, ours=True, most=self.left())
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

    def left(self) -> int:
        """Scalars and collections that further libraries may have."""
        return MOST_VALUES - sum(source.values for source in self.sources.values())

    def full(self, file: Path) -> bool:
        """Whether a file would be one library too many: in a chain, in number, or in bytes."""
        size = sum(len(source.text) for source in self.sources.values()) + min(file.stat().st_size, LARGEST)
        return len(self.chain) > DEEPEST or len(self.done) >= MOST_LIBRARIES or size > MOST_BYTES

    def define(self, definition: Definition, source: SourceFile) -> None:
        before = self.definitions.get(definition.name)
        if before is not None and self.shadows < MOST:
            self.shadows += 1
            at = source.at(definition.route, key=True)
            other = self.place(before)
            labels = [Label(other, "this definition is hidden")] if other else []
            text = f"`{definition.name}` is also defined in `{self.names.get(before.file, before.file)}`"
            self.found.add("T131", at, text, labels=labels, helps=["rename one of them"])
        self.definitions[definition.name] = definition

    def place(self, definition: Definition) -> Span | None:
        source = self.sources.get(definition.file)
        return source.at(definition.route, key=True) if source else None


def _beside(path: str, text: str) -> str:
    """The path that a file at `path` names by a text."""
    return os.path.normpath(os.path.join(os.path.dirname(path), text))  # noqa: PTH118, PTH120


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
