"""Roles that the chat template does not know: written as a header into the answer, or left out with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.shout import shouting_rows
from tests.worlds import make_world
from tiltc.evidence import open_evidence

#: leaves out turns of other roles
KNOWN = (
    "{% for m in messages %}{% if m['role'] in ('user', 'assistant') %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def rows_of(answer: str, rows: int) -> list[dict[str, object]]:
    made = shouting_rows()
    for row in made[:rows]:
        for side in ("chosen", "rejected"):
            row[side][0]["role"] = answer
    return made


@pytest.mark.parametrize(("template", "says"), [(None, 'row 1 "bot\\n"'), (KNOWN, "nothing of a response is among")])
def test_refused_where_all_rows_have_it(tmp_path: Path, template: str | None, says: str) -> None:
    """Nothing is read through the model, and the finding says what is trained in place of the answers."""
    world = make_world(tmp_path, rows_of("bot", 24), template=template)
    said = world.tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (1, ["T561"])
    assert "24 of 24 rows" in said.out
    assert says in said.out
    assert not list(tmp_path.glob(".tiltc/evidence/*/manifest.json"))


@pytest.mark.parametrize(("template", "status"), [(None, "header"), (KNOWN, "empty")])
def test_left_out_where_some_rows_have_it(tmp_path: Path, template: str | None, status: str) -> None:
    """Such rows have a status other than ok, carry no features and are not kept by the plan; the others go on."""
    world = make_world(tmp_path, rows_of("bot", 5), template=template)
    said = world.tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (0, ["T560"]), said.out
    (manifest,) = tmp_path.glob(".tiltc/evidence/*/manifest.json")
    evidence, _ = open_evidence(manifest.parent)
    assert evidence is not None
    assert evidence.table["status"].to_pylist() == [status] * 5 + ["ok"] * 19
    assert evidence.matrix("chosen", "max")[:5].nnz == 0
    assert world.tiltc("compile", "spec.yaml", "-o", "plan").code == 0
    said = world.tiltc("run", "plan", "-o", "run")
    assert said.code == 0, said.out
    assert "training on" in said.err
    assert " of 24 pairs" in said.err
