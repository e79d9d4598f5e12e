"""YAML text as a tree of nodes that know where they stand in their file."""

from __future__ import annotations

from tiltc.source.file import COMMAND_LINE, LARGEST, SourceFile, override_span, read, read_text
from tiltc.source.nodes import Entry, MappingNode, Node, Route, Scalar, SequenceNode, plain

__all__ = [
    "COMMAND_LINE",
    "LARGEST",
    "Entry",
    "MappingNode",
    "Node",
    "Route",
    "Scalar",
    "SequenceNode",
    "SourceFile",
    "override_span",
    "plain",
    "read",
    "read_text",
]
