"""The embedded default as a user has it: the real model, the shipped SAE, the planted pairs, all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiltc.canonical import canonical_json, sha256_text
from tiltc.cli import main
from tiltc.evidence import SPANS, Evidence, open_evidence
from tiltc.parse import SpecFile, parse
from tiltc.pipeline import compile_spec
from tiltc.plan import Plan, PlanConcept
from tiltc.spec import Keep
from tiltc_runtime import embedded
from tiltc_runtime.harvest import harvest
from tiltc_runtime.loading import load_tokenizer, model_folder
from tiltc_runtime.pairs import load_pairs
from tiltc_runtime.tokens import encode_pair

pytestmark = pytest.mark.real

EXAMPLE = Path(__file__).parents[2] / "specs" / "examples" / "planted.yaml"


@pytest.fixture(scope="module")
def harvested(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """All 320 pairs, read through 15 layers: about half a minute."""
    folder, found = harvest(read(EXAMPLE), tmp_path_factory.mktemp("store"))
    assert folder is not None, list(found)
    evidence, found = open_evidence(folder)
    assert evidence is not None, list(found)
    return evidence


@pytest.fixture(scope="module")
def plan(harvested: Evidence) -> Plan:
    return compiled(read(EXAMPLE), harvested)


def read(path: Path) -> SpecFile:
    spec_file, found = parse(path)
    assert spec_file is not None, list(found)
    return spec_file


def compiled(spec_file: SpecFile, evidence: Evidence) -> Plan:
    result, found = compile_spec(spec_file, evidence)
    assert result is not None, [d.primary.text for d in found]
    return result[0]


def named(plan: Plan, name: str) -> PlanConcept:
    return next(c for c in plan.concepts if c.name == name)


def test_marks_are_the_tokens(harvested: Evidence) -> None:
    """Every token of every response covers the characters that it decodes to; the chat template's cover none."""
    spec = read(EXAMPLE).spec
    tokenizer = load_tokenizer(model_folder(spec.model))
    pairs = {pair.row_id: pair for pair in load_pairs(spec.data).pairs}
    for row in harvested.table.to_pylist():
        encoded = encode_pair(tokenizer, pairs[row["row_id"]], spec.train.max_length)
        for span, ids in zip(SPANS, (encoded.prompt, *encoded.responses), strict=True):
            starts, text = row[f"{span}_starts"], row[span]
            covered = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
            assert "".join(covered) == text
            said = zip(covered, ids, strict=True)
            wrong = [(part, token) for part, token in said if part and part != tokenizer.decode([token])]
            # the last token of a character that takes several covers it
            assert all(not part.isascii() or "\ufffd" in tokenizer.decode([token]) for part, token in wrong)


def test_the_peak_of_bold_is_at_its_asterisks(harvested: Evidence, plan: Plan) -> None:
    """Read without a tokenizer, the strongest token of a bold feature is one with asterisks or next to them."""
    group = named(plan, "std.style.bold").group
    assert group is not None
    feature = max(group.members, key=lambda m: m.weight).feature
    most, peaks = (harvested.matrix("chosen", kind).tocsc()[:, feature] for kind in ("max", "peak"))
    shown = []
    for entry in most.data.argsort()[-20:]:
        row = harvested.table.slice(int(most.indices[entry]), 1).to_pylist()[0]
        start = row["chosen_starts"][int(peaks.data[entry])]
        shown.append(row["chosen"][max(start - 6, 0) : start + 6])
    assert sum("*" in text for text in shown) >= 18, shown


TRUTH = json.loads((embedded.ASSETS / "planted.truth.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TRUTH)
def test_what_was_planted_is_found(plan: Plan, name: str) -> None:
    """Every planted preference has its sign at q < 0.05, and the concept planted equally on both sides has none."""
    preference = named(plan, name).preference
    assert preference is not None
    chosen, rejected = (TRUTH[name][side]["planted"] for side in ("chosen", "rejected"))
    if chosen == rejected:
        assert preference.q > 0.05
    else:
        assert preference.q < 0.05
        assert preference.effect.value * (chosen - rejected) > 0
        assert preference.split_half_agrees


@pytest.mark.parametrize("name", TRUTH)
def test_features_of_the_shipped_sae_detect_it(plan: Plan, name: str) -> None:
    """On held-out rows the group tells texts with the planted concept from those without."""
    detection = {d.tool: d.auroc for d in named(plan, name).detection}
    assert detection["sae"].value > 0.9
    assert set(detection) == {"sae", "direction", "probe"}


def test_the_plan_meets_its_spec(plan: Plan) -> None:
    """Every signal of the example is forecast within its tolerance."""
    asked = [row for row in plan.forecast if row.verb]
    assert len(asked) == len(read(EXAMPLE).spec.signals)
    for row in asked:
        assert row.target is not None
        assert row.tolerance is not None
        assert abs(row.tilted.value - row.target) <= row.tolerance * (1 + 1e-4)


def test_the_spec_that_init_writes_compiles(harvested: Evidence, tmp_path: Path) -> None:
    """What `tiltc init` writes answers to the same evidence, resolves, and has something to change."""
    assert main(["init", str(tmp_path / "policy.yaml")]) == 0
    spec_file = read(tmp_path / "policy.yaml")
    example = read(EXAMPLE)
    assert (spec_file.spec.model, spec_file.spec.data) == (example.spec.model, example.spec.data)
    assert spec_file.spec.train.max_length == example.spec.train.max_length
    plan = compiled(spec_file, harvested)
    changed = {s.concept for s in spec_file.spec.signals if not isinstance(s, Keep)}
    assert changed <= {a.concept for a in plan.actions}


#: of all rows' texts, counts and marks of the planted pairs, before text and tokens were compared
ROWS_SHA256 = "f4a9e86360e6cc4f34769711d56ec642"


def test_good_rows_are_as_they_are(harvested: Evidence) -> None:
    """On the planted pairs tokens say what texts say: nothing is found, and rows are to the byte what they were."""
    assert not harvested.differences
    assert set(harvested.table["status"].to_pylist()) == {"ok"}
    assert sha256_text(canonical_json(harvested.table.to_pylist())).startswith(ROWS_SHA256)
