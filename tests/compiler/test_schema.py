"""The published schemas are those of the code, and accept what the parser accepts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tiltc.canonical import canonical_json
from tiltc.diagnostics import Diagnostics
from tiltc.schemas import schema_names, schema_of, schema_text
from tiltc.source import plain
from tiltc.source.compose import compose
from tiltc.spec import Amplify, Budget, ConceptFile, Keep, Spec, Suppress, Train, Verify, _Change

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


SECTIONS = {
    "The file": (Spec,),
    "Signals": (_Change,),
    "Budget": (Budget,),
    "Train": (Train,),
    "Verify": (Verify,),
}
#: defaults that the reference says in words, because None or a compound value says nothing
IN_WORDS = {"lora", "max_steps", "grpo", "verify", "train", "budget", "concepts", "extends", "allow", "meta", "when",
            "strength", "apart_from", "offset", "unit", "side", "form", "size", "by", "fraction", "control"}  # fmt: skip


@pytest.mark.parametrize("title", SECTIONS)
def test_the_reference_has_every_key_with_its_default(title: str) -> None:
    """docs/spec.md is what the types are: no key too many or too few, and the defaults are theirs."""
    page = (ROOT / "docs/spec.md").read_text(encoding="utf-8")
    section = page.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.M))
    fields = {f.alias or name: f for model in SECTIONS[title] for name, f in model.model_fields.items()}
    extra = {"readout": None} if title == "Signals" else {}
    assert rows.keys() == fields.keys() | extra.keys()
    for name, field in fields.items():
        if name in IN_WORDS:
            assert rows[name]
        elif field.is_required():
            assert rows[name] == "required"
        else:
            shown = rows[name].strip("`")
            value = field.get_default()
            assert shown in (str(value), str(value).lower()) or shown == f"{100 * value:g}%", name


def test_the_reference_has_the_targets_of_every_verb() -> None:
    """Defaults of `to` and `within`, verb by verb."""
    page = (ROOT / "docs/spec.md").read_text(encoding="utf-8")
    rows = {m[1]: m[0] for m in re.finditer(r"^\| `(suppress|keep|amplify): NAME` .*$", page, re.M)}
    for verb, model in (("suppress", Suppress), ("keep", Keep), ("amplify", Amplify)):
        assert f"`{100 * model.model_fields['within'].default:g}%`" in rows[verb]
    assert f"`{Suppress.model_fields['to'].default:.0%}`" in rows["suppress"]
    assert f"`{Amplify.model_fields['to'].default.times:g}x`" in rows["amplify"]
