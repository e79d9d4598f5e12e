"""Names for clusters, made from the data itself. A name is for reading: it enters no test."""

from __future__ import annotations

from tiltc.audit.names.imported import read_labels
from tiltc.audit.names.library import library_presence
from tiltc.audit.names.llm import Labeller, relabel
from tiltc.audit.names.nearest import nearest
from tiltc.audit.names.snippets import snippets
from tiltc.audit.names.terms import Vocabulary, distinctive
from tiltc.audit.names.title import make_label

__all__ = [
    "Labeller",
    "Vocabulary",
    "distinctive",
    "library_presence",
    "make_label",
    "nearest",
    "read_labels",
    "relabel",
    "snippets",
]
