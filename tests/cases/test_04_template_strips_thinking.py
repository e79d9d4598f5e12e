"""A chat template that takes the thinking out of answers: what is read is what is trained, and it is said."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cases.shout import shouting_rows
from tests.worlds import World, make_world
from tiltc.evidence import SPANS, Evidence, open_evidence

PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: what DeepSeek's template does with answers
STRIPS = PLAIN.replace("m['content']", "m['content'].split('</think>')[-1].lstrip()")
#: and with the prompt
OPENS = STRIPS.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")


def thinking_rows(every: int) -> list[dict[str, Any]]:
    """The word WOW stands in thoughts alone, where there are any; every sixth row has one and the same answer twice."""
    rows = shouting_rows()
    for i in range(0, len(rows), every):
        for side in ("chosen", "rejected"):
            (turn,) = rows[i][side]
            first = "WOW" if turn["content"].startswith("WOW") else "well"
            answer = "quiet stone river" if i % 6 == 0 else turn["content"].removeprefix("WOW ")
            turn["content"] = f"<think>\n{first} stone river {side}\n</think>\n\n{answer}"
    return rows


def by_hand(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without their thoughts."""
    rows = copy.deepcopy(rows)
    for row in rows:
        for side in ("chosen", "rejected"):
            row[side][0]["content"] = row[side][0]["content"].split("</think>")[-1].lstrip()
    return rows


def evidence_of(world: World) -> Evidence:
    (manifest,) = (world.folder / ".tiltc" / "evidence").glob("*/manifest.json")
    evidence, found = open_evidence(manifest.parent)
    assert evidence is not None, list(found)
    return evidence


@pytest.fixture(scope="module")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which the template takes out the thinking of a third of the rows."""
    world = make_world(tmp_path_factory.mktemp("stripped"), thinking_rows(3), template=STRIPS)
    said = world.tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (0, ["T560"]), said.out
    assert "8 of 24 rows of pairs.jsonl are not trained as they read" in said.out
    assert "8 rows: text of a response is left out: row 1 (chosen)" in said.out
    assert "4 rows: both responses are the same tokens" in said.out
    assert "20 ok, 4 identical" in said.err
    return world


def test_evidence_is_that_of_data_without_the_thinking(stripped: World, tmp_path: Path) -> None:
    """Texts, statuses, lengths and features are to the byte those of the data from which the thinking was taken by hand,
    and so are rates and decisions."""
    hand = make_world(tmp_path, by_hand(thinking_rows(3)), template=STRIPS)
    assert hand.tiltc("harvest", "spec.yaml").codes == []
    one, other = evidence_of(stripped), evidence_of(hand)
    columns = ["status", "prompt", "chosen", "rejected", "prompt_tokens", "chosen_tokens", "rejected_tokens"]
    # rows that can't be used keep the text of the data
    used = one.table.filter(one.ok).select(columns)
    assert used == other.table.filter(other.ok).select(columns)
    assert one.table["status"] == other.table["status"]
    for span in SPANS:
        assert np.array_equal(one.matrix(span, "max").toarray(), other.matrix(span, "max").toarray())
    assert np.array_equal(one.residuals("chosen"), other.residuals("chosen"))
    shouts = [f"{side}: {text.count('WOW')}" for side in ("chosen", "rejected") for text in used[side].to_pylist()]
    assert sum(line.endswith("1") for line in shouts) < 20


def test_the_finding_goes_on_to_compile_and_audit(stripped: World) -> None:
    """Those who have the evidence and not the harvest are told too; `allow` takes it out."""
    assert "T560" in stripped.tiltc("compile", "spec.yaml", "-o", "plan").codes
    assert "T560" in stripped.tiltc("audit", "spec.yaml").codes
    assert "T560" in stripped.tiltc("harvest", "spec.yaml").codes
    text = (stripped.folder / "spec.yaml").read_text()
    stripped.write("allowed.yaml", text + "allow: [{code: T560, because: answers alone are to be trained}]\n")
    for call in (("harvest",), ("compile", "-o", "plan")):
        assert "T560" not in stripped.tiltc(call[0], "allowed.yaml", *call[1:]).codes


def test_most_rows_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    """Where all rows lose their thinking nothing is harvested; the finding has the numbers, and the end of the prompt
    that the answers do not go on with is named."""
    world = make_world(tmp_path, thinking_rows(1), template=OPENS)
    said = world.tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (1, ["T561", "T562"])
    assert "24 of 24 rows of pairs.jsonl" in said.out
    assert 'the prompt ends in "<think>\\n"' in said.out
    assert not list(tmp_path.glob(".tiltc/evidence/*/shards/*"))


def test_what_is_kept_of_it_is_sealed(stripped: World, tmp_path: Path) -> None:
    """The counts lie with the shard and are pinned: changed, they are refused."""
    import shutil

    copy_of = Path(shutil.copytree(evidence_of(stripped).folder, tmp_path / "evidence"))
    file = copy_of / "shards" / "00000" / "trained.json"
    for spoiled in (file.read_text().replace('"unread": 8', '"unread": 0'), "{}", "[", ""):
        file.write_text(spoiled)
        assert [d.code for d in open_evidence(copy_of)[1]] == ["T504"]
    file.unlink()
    assert [d.code for d in open_evidence(copy_of)[1]] == ["T503"]
