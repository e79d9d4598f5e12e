"""The JSON Schemas of the files at tiltc's borders, generated from the types that read and write them.

Other packages add theirs through the entry-point group `tiltc.schemas`: a name and the pydantic model it is made from.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import BaseModel

from tiltc.canonical import canonical_json

#: Name to model, as `module:class`, so that only the one asked for is imported.
SCHEMAS = {
    "spec": "tiltc.spec:Spec",
    "concepts": "tiltc.spec:ConceptFile",
    "plan": "tiltc.plan:Plan",
    "evidence": "tiltc.evidence:Manifest",
    "audit": "tiltc.audit.model:Audit",
}


def schema_names() -> list[str]:
    """The schemas there are, those of other packages last."""
    return [*SCHEMAS, *(name for name in _added() if name not in SCHEMAS)]


def schema_text(name: str) -> str:
    """A schema as canonical JSON. `name` must be among `schema_names()`."""
    return canonical_json(schema_of(_model(name)))


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema, draft 2020-12, of what a model reads."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(by_alias=True)}


def _model(name: str) -> type[BaseModel]:
    if name not in SCHEMAS:
        return _added()[name].load()
    module, _, attribute = SCHEMAS[name].partition(":")
    return getattr(import_module(module), attribute)


@cache
def _added() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="tiltc.schemas")}
