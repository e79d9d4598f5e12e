"""From choices on an audit to a spec that lints."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import yaml

from tests.compiler.audits import fabricated_audit
from tiltc.audit.model import Audit
from tiltc.audit.reference import references
from tiltc.audit.snippet import VERBS, cluster_names, slug, spec_yaml
from tiltc.cli import main
from tiltc.spec import Spec


@pytest.fixture(scope="module")
def audit() -> Audit:
    return fabricated_audit()


def lints(text: str, folder: Path) -> str:
    """What `tiltc lint` says; the data file is there."""
    (folder / "support prefs.parquet").touch()
    spec = folder / "spec.yaml"
    spec.write_text(text, encoding="utf-8", newline="\n")
    out = io.StringIO()
    assert main(["lint", str(spec)], out, io.StringIO()) == 0, out.getvalue() + text
    return out.getvalue()


def test_a_library_concept_is_one_line(audit: Audit, tmp_path: Path) -> None:
    """A concept of the library goes by its name and needs no definition."""
    text = spec_yaml(audit, [("std.style.bold", "suppress")])
    assert text.endswith("  - suppress: std.style.bold\n")
    assert "concepts:" not in text
    lints(text, tmp_path)


def test_a_prompt_hypothesis_is_gated(audit: Audit, tmp_path: Path) -> None:
    """The response cluster is the concept, the prompt cluster its gate, and the comment says how strong it is."""
    h = next(h for h in audit.hypotheses if h.view == "prompt" and h.context)
    text = spec_yaml(audit, [(h.id, "amplify")])
    spec = Spec.model_validate({**yaml.safe_load(text), "signals": ()} | {"signals": [{"keep": "x"}]}, strict=False)
    (signal,) = yaml.safe_load(text)["signals"]
    assert spec.concepts[signal["amplify"]].audit == h.response
    assert spec.concepts[signal["when"]].audit == h.context
    assert spec.concepts[signal["when"]].reads == "prompt"
    assert re.search(
        r"^  # leans to (chosen|rejected) where the prompt is like .*:\n  # .* to .*, q ", text, re.MULTILINE
    )
    lints(text, tmp_path)


def test_a_feature_hypothesis_is_not(audit: Audit, tmp_path: Path) -> None:
    """Contexts of the feature view are made of responses, which no gate can read; the comment says so."""
    h = next(h for h in audit.hypotheses if h.view == "feature" and h.context)
    text = spec_yaml(audit, [(h.id, "suppress")])
    assert "when:" not in text
    assert "asked for everywhere" in text
    assert list(yaml.safe_load(text)["concepts"].values())[0]["audit"] == h.response  # noqa: RUF015
    lints(text, tmp_path)


def test_everything_at_once_lints(audit: Audit, tmp_path: Path) -> None:
    """All that an audit with nasty texts offers, chosen at once, is a valid spec without a repeated signal."""
    keys = [*(h.id for h in audit.hypotheses), *(c.name for c in audit.concepts)]
    text = spec_yaml(audit, [(key, "suppress") for key in keys])
    assert "T136" not in lints(text, tmp_path)
    signals = [(s["suppress"], s.get("when")) for s in yaml.safe_load(text)["signals"]]
    assert len(signals) == len(set(signals))


def test_the_later_verb_holds(audit: Audit) -> None:
    """Two choices that would write the same signal write one, with the reasons of both."""
    by_response: dict[str, list[str]] = {}
    for h in audit.hypotheses:
        if h.view == "feature":
            by_response.setdefault(h.response, []).append(h.id)
    first, second = next(keys for keys in by_response.values() if len(keys) > 1)[:2]
    text = spec_yaml(audit, [(first, "suppress"), (second, "amplify")])
    assert [*yaml.safe_load(text)["signals"][0]] == ["amplify"]
    assert text.count("  # leans to") == 2


@pytest.mark.parametrize("choices", [[], [("nothing", "suppress")], [("std.style.bold", "forget")]])
def test_what_is_not_there_is_refused(audit: Audit, choices: list[tuple[str, str]]) -> None:
    """Nothing chosen, an unknown id, an unknown verb."""
    with pytest.raises(ValueError, match="choice"):
        spec_yaml(audit, choices)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_lints(audit: Audit, verb: str, tmp_path: Path) -> None:
    lints(spec_yaml(audit, [(audit.hypotheses[0].id, verb)]), tmp_path)


def test_names_are_legal_and_each_once() -> None:
    """One name a cluster, whatever its title, and the same for every audit that has it."""
    audit = fabricated_audit(responses=60, contexts=60)
    names = cluster_names(audit)
    assert len(set(names.values())) == len(names) == 60 * 3
    assert all(re.fullmatch(r"[a-z][a-z0-9-]*", name) for name in names.values())


@pytest.mark.parametrize(
    ("title", "name"),
    [("Bold · words", "bold-words"), ("日本", "cluster"), ("No", "the-no"), ("2024", "the-2024"), ("a" * 90, "a" * 40)],
)
def test_slugs(title: str, name: str) -> None:
    assert slug(title) == name


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"data": "builtin:planted", "rows": None}, "data: builtin:planted"),
        (
            {"data": "local:a b.parquet", "rows": 5},
            'data: {file: "a b.parquet", rows: 5}  # a path relative to this file',
        ),
        ({"data": "hub:o/n@main"}, "data: {hub: o/n}"),
        ({"data": "hub:o/n@" + "0a" * 20}, f'data: {{hub: o/n, revision: "{"0a" * 20}"}}'),
        ({"data": "hub:o/n@abc/de/test"}, "data: {hub: o/n, revision: abc, split: test, config: de}"),
        ({"data": "hub:o/n@abc/test"}, "data: {hub: o/n, revision: abc, split: test}"),
        ({"sae": "release:rel/a/b"}, "sae: {release: rel, id: a/b}"),
        ({"sae": "local:folder"}, "sae: ./folder  # a path relative to this file"),
        ({"model": "hub:o/n@main"}, "model: {hub: o/n}"),
        ({"max_length": 512}, "train: {max_length: 512}"),
    ],
)
def test_what_was_harvested_is_asked_for(audit: Audit, asked: dict[str, str], line: str) -> None:
    """The spec's references are those that the evidence answers."""
    assert line in references(audit.model_copy(update={"request": asked})).splitlines()


def test_without_a_request_the_pins_are_read(audit: Audit) -> None:
    """An audit that does not hold the request still gives names."""
    lines = references(audit.model_copy(update={"request": {}})).splitlines()
    assert lines[0] == "model: builtin:smollm2-135m-instruct"
    assert lines[2].startswith('data: {file: "support prefs.parquet"}')
