"""The published schemas are those of the code, and accept what the parser accepts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tiltc.canonical import canonical_json
from tiltc.diagnostics import Diagnostics
from tiltc.schemas import schema_names, schema_of, schema_text
from tiltc.source import plain
from tiltc.source.compose import compose
from tiltc.spec import ConceptFile, Spec

ROOT = Path(__file__).parent.parent.parent
FILES = [*(ROOT / "specs").rglob("*.yaml"), *(ROOT / "tests" / "ok").rglob("*.yaml")]
REFUSED = ["t120-unknown-keys", "t121-missing", "t122-values", "t122-no-signals", "t123-version"]


def loaded(file: Path) -> object:
    root = compose(file.name, file.read_text("utf-8").removeprefix("\ufeff"), Diagnostics())
    assert root is not None
    return json.loads(canonical_json(plain(root)))


@pytest.mark.parametrize("name", schema_names())
def test_published_schema_is_current(name: str) -> None:
    """schemas/ holds what `tiltc schema --write schemas` writes."""
    assert (ROOT / "schemas" / f"{name}.json").read_text("utf-8") == schema_text(name)


def test_no_schema_is_left_over() -> None:
    """schemas/ has no file that nothing generates."""
    assert {file.stem for file in (ROOT / "schemas").glob("*.json")} == set(schema_names())


@pytest.mark.parametrize("name", schema_names())
def test_schema_is_a_schema(name: str) -> None:
    """Each is valid JSON Schema 2020-12 and closed at its top."""
    schema = json.loads(schema_text(name))
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_schema_accepts_what_the_parser_accepts(file: Path) -> None:
    """An editor that validates with the schema marks no sound file."""
    content = loaded(file)
    model = Spec if isinstance(content, dict) and "signals" in content else ConceptFile
    assert list(Draft202012Validator(schema_of(model)).iter_errors(content)) == []


@pytest.mark.parametrize("case", REFUSED)
def test_schema_refuses_what_the_parser_refuses(case: str) -> None:
    """An editor marks unknown keys, missing keys and unfit values."""
    content = loaded(ROOT / "tests" / "err" / f"{case}.yaml")
    assert list(Draft202012Validator(schema_of(Spec)).iter_errors(content)) != []
