"""The concept library that ships with tiltc: `std.<family>.<name>`, one YAML file a family."""

from __future__ import annotations

from pathlib import Path

from tiltc.spec import Concept, ConceptFile

#: The folder of the library's files; `examples:` paths are relative to it.
FOLDER = Path(__file__).parent

FAMILIES = ("style", "stance", "safety", "tone", "topic")


def concepts(family: str) -> dict[str, Concept]:
    """The concepts of one family by full name, in the order of its file."""
    import yaml

    raw = yaml.safe_load((FOLDER / f"{family}.yaml").read_text("utf-8"))
    return dict(ConceptFile.model_validate_json(_json(raw)).concepts)


def _json(raw: object) -> str:
    import json

    # strict models take JSON lists for tuples, but not Python lists
    return json.dumps(raw)
