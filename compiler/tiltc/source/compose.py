"""YAML events to nodes. Works on the event stream, so that an alias bomb or a deep nest is refused as it begins."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from tiltc.diagnostics import Diagnostics, Label, Span
from tiltc.source.nodes import Entry, MappingNode, Node, Scalar, SequenceNode

DEEPEST = 32
#: Findings after which a file is not looked at further.
MOST = 50
#: Scalars and collections of a file, or of all files that a spec reads: each takes time, and a byte can hold half of one.
MOST_VALUES = 200_000
_LINE_BREAK = re.compile(r"\r\n|\n|\r")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def compose(path: str, text: str, found: Diagnostics, most: int = MOST_VALUES) -> MappingNode | None:
    """The root mapping of a YAML text, or None with the reasons among the findings.

    Args:
        most: scalars and collections that it may have.
    """
    composer = _Composer(path, text, found, most)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
            if composer.halted:
                return None
    except yaml.MarkedYAMLError as error:
        composer.malformed(error)
    except yaml.YAMLError as error:
        composer.refuse("T105", Span(path, 1, 1, 1, 2), str(error).splitlines()[0])
    return None if found.failed else composer.top()


@dataclass
class _Open:
    """A collection whose end has not been seen."""

    start: Any
    mapping: bool
    flow: bool
    children: list[Node] = field(default_factory=list[Node])


@dataclass
class _Composer:
    path: str
    text: str
    found: Diagnostics
    left: int
    stack: list[_Open] = field(default_factory=list[_Open])
    root: Node | None = None
    documents: int = 0
    halted: bool = False
    once: set[str] = field(default_factory=set[str])

    def take(self, event: Any) -> None:
        match event:
            case yaml.ScalarEvent():
                self.node_properties(event)
                self.place(Scalar(event.value, event.style is None or event.style == "", self.scalar_span(event)))
            case yaml.AliasEvent():
                at = self.span(event.start_mark, event.end_mark)
                self.refuse("T107", at, f"`*{event.anchor}` stands for text elsewhere")
                self.place(Scalar("", False, at))
            case yaml.CollectionStartEvent():
                self.node_properties(event)
                self.open(event)
            case yaml.CollectionEndEvent():
                self.close(event)
            case yaml.DocumentStartEvent():
                self.document(event)
            case _:
                pass

    def document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            self.halt("T109", self.span(event.start_mark, event.end_mark), "a second document starts here")

    def node_properties(self, event: Any) -> None:
        if event.anchor is not None:
            self.refuse("T107", self.word(event.start_mark, len(event.anchor) + 1), f"`&{event.anchor}` is an anchor")
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.refuse("T108", self.word(event.start_mark, len(tag)), f"`{tag}` is a tag")

    def open(self, event: Any) -> None:
        if len(self.stack) >= DEEPEST:
            text = f"this is {DEEPEST + 1} levels deep"
            self.halt("T110", self.span(event.start_mark, event.start_mark), text, notes=[f"{DEEPEST} are allowed"])
            return
        self.stack.append(_Open(event.start_mark, isinstance(event, yaml.MappingStartEvent), bool(event.flow_style)))

    def close(self, event: Any) -> None:
        done = self.stack.pop()
        at = self.span(done.start, event.end_mark if done.flow else done.start)
        if not done.flow and done.children:
            # a block collection's own end mark runs on to the next token
            last = done.children[-1].span
            at = Span(self.path, at.line, at.column, last.end_line, last.end_column)
        self.place(self.mapping(done, at) if done.mapping else SequenceNode(tuple(done.children), at))

    def place(self, node: Node) -> None:
        self.left -= 1
        if self.left < 0:
            self.halt("T102", node.span, f"more than {MOST_VALUES:,} values end here, those of libraries included")
        if self.stack:
            self.stack[-1].children.append(node)
        else:
            self.root = node

    def mapping(self, done: _Open, at: Span) -> MappingNode:
        entries: dict[str, Entry] = {}
        for key, value in zip(done.children[::2], done.children[1::2], strict=True):
            if len(self.found) >= MOST:
                self.halted = True
                break
            if not isinstance(key, Scalar):
                self.found.add("T113", key.span, "a key must be a word, this is a collection")
            elif key.text in entries:
                first = Label(entries[key.text].key.span, "first given here")
                self.found.add("T106", key.span, f"`{key.text}` is given again", labels=[first])
            else:
                entries[key.text] = Entry(key, value)
        return MappingNode(entries, at)

    def top(self) -> MappingNode | None:
        if isinstance(self.root, MappingNode):
            return self.root
        if self.root is None or (isinstance(self.root, Scalar) and self.root.plain and not self.root.text):
            help = "`tiltc init` writes a spec to start from"
            self.found.add("T111", Span(self.path, 1, 1, 1, 2), "nothing is written here", helps=[help])
        else:
            kind = "a list" if isinstance(self.root, SequenceNode) else "a single value"
            self.found.add("T112", self.root.span, f"the file holds {kind}", helps=["start with `tiltc: 1`"])
        return None

    def malformed(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        at = self.span(mark, mark) if mark else Span(self.path, 1, 1, 1, 2)
        labels: list[Label] = []
        if error.context and error.context_mark and error.context_mark.line != at.line - 1:
            labels.append(Label(self.span(error.context_mark, error.context_mark), error.context))
        self.found.add("T105", at, error.problem or "cannot be read", labels=labels, helps=self.advice(error, mark))

    def within(self, at: Span) -> Span:
        """A place behind the last line is the end of that line: no editor can show another."""
        last, column = self.end
        if at.end_line <= last:
            return at
        if at.line > last:
            return Span(self.path, last, column, last, column + 1)
        return Span(self.path, at.line, at.column, last, column)

    @cached_property
    def end(self) -> tuple[int, int]:
        """The last line, and the column behind it; a line break at the end begins no further one."""
        lines = _LINE_BREAK.split(self.text)
        last = len(lines) - (len(lines) > 1 and not lines[-1])
        return last, len(lines[last - 1]) + 1

    def advice(self, error: yaml.MarkedYAMLError, mark: Any) -> list[str]:
        character = self.text[mark.index : mark.index + 1] if mark else ""
        if "unknown escape character" in (error.problem or ""):
            return ["use single quotes, which leave backslashes alone"]
        if character == "\t":
            return ["indent with spaces: YAML does not take tabs"]
        if "mapping values are not allowed" in (error.problem or "") or character in "@`%":
            return ["put the value in quotes"] if character else []
        return []

    def refuse(self, code: str, at: Span, text: str) -> None:
        """Record a finding, the first of its code only: a file full of aliases has one fault."""
        if code not in self.once:
            self.once.add(code)
            self.found.add(code, at, text)

    def halt(self, code: str, at: Span, text: str, notes: tuple[str, ...] | list[str] = ()) -> None:
        self.found.add(code, at, text, notes=notes)
        self.halted = True

    def scalar_span(self, event: Any) -> Span:
        if event.style not in ("|", ">"):
            return self.span(event.start_mark, event.end_mark)
        # a block scalar's end mark runs on to the next token
        start = event.start_mark
        body = self.text[start.index : event.end_mark.index].rstrip()
        lines = _LINE_BREAK.split(body)
        column = len(lines[-1]) + 1 + (start.column if len(lines) == 1 else 0)
        return Span(self.path, start.line + 1, start.column + 1, start.line + len(lines), column)

    def word(self, start: Any, length: int) -> Span:
        return Span(self.path, start.line + 1, start.column + 1, start.line + 1, start.column + 1 + length)

    def span(self, start: Any, end: Any) -> Span:
        """Marks count from 0; spans count from 1."""
        end_column = end.column + 1
        if (start.line, start.column) == (end.line, end.column):
            end_column += 1
        return self.within(Span(self.path, start.line + 1, start.column + 1, end.line + 1, end_column))
