"""The whole audit on evidence whose right answer is known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.compiler.audited import TOPICS, InMemory, behaviour_features, planted
from tiltc.audit.concepts import concept_gaps, concept_p
from tiltc.audit.families import Family, feature_families, prompt_families
from tiltc.audit.feature_view import feature_view
from tiltc.audit.model import Audit, Hypothesis
from tiltc.audit.prompt_view import prompt_view
from tiltc.audit.rows import read_rows
from tiltc.audit.run import Asked, audit
from tiltc.audit.scale import scaled
from tiltc.derived import Derived
from tiltc.parse.standard import standard_library
from tiltc.stats import benjamini_hochberg

#: lists are rewarded in answers about bread alone, apologies everywhere
RATES = {("bread", "list"): (0.7, 0.2)} | {(t, "sorry"): (0.45, 0.15) for t in TOPICS}


def audited(evidence: InMemory, **more: Any) -> Audit:
    source: Any = evidence
    quick = replace(scaled(int(evidence.ok.sum())), most_swaps=20, resamples=200)
    told, found = audit(source, Asked(standard_library(), scale=quick, **more))
    assert told is not None, list(found)
    return told


@cache
def known() -> tuple[InMemory, Audit]:
    evidence = planted(800, RATES, seed=1)
    return evidence, audited(evidence)


def about(told: Audit, h: Hypothesis, features: set[int]) -> bool:
    """The hypothesis's response cluster holds a good part of a behaviour's features, and little else."""
    cluster = set(told.response(h.response).features)
    return len(features & cluster) >= max(len(features) / 3, len(cluster) / 3)


def of_view(told: Audit, view: str, *, whole: bool) -> list[Hypothesis]:
    return [h for h in told.hypotheses if h.view == view and (h.context is None) == whole]


@pytest.mark.parametrize("view", ["feature", "prompt"])
def test_a_behaviour_rewarded_in_one_context_is_among_the_first(view: str) -> None:
    """Lists after questions about bread are among the ten first of each view, significant, and lean to chosen."""
    evidence, told = known()
    top = [h for h in of_view(told, view, whole=False)[:10] if about(told, h, behaviour_features("list"))]
    strong = [h for h in top if h.test.delta.value > 0 and h.test.q < 0.05]
    assert strong
    prompts = {told.context(h.context or "").prompts for h in strong}
    assert any(all("bread" in p for p in shown) for shown in prompts)
    assert strong[0].test.delta.low > 0
    assert abs(strong[0].test.delta.value) > strong[0].test.noise
    assert evidence.manifest.digest == told.evidence


@pytest.mark.parametrize("view", ["feature", "prompt"])
def test_a_behaviour_rewarded_everywhere_leads_the_whole(view: str) -> None:
    """Apologies are rewarded in every context: first over everything, and no context that passes the filters is among the
    significant ones, although apologies occur more in some."""
    _, told = known()
    first = of_view(told, view, whole=True)[0]
    assert about(told, first, behaviour_features("sorry"))
    assert first.test.q < 1e-6
    within = [h for h in of_view(told, view, whole=False) if about(told, h, behaviour_features("sorry"))]
    assert all(h.test.q > 0.05 for h in within if h.passes)


def test_library_concepts_are_read_off_the_texts() -> None:
    """Effects, rates and signs of named concepts follow the texts, whatever the features say."""
    evidence, told = known()
    apology = next(c for c in told.concepts if c.name == "std.stance.apology")
    assert apology.chosen_rate == pytest.approx(evidence.truth["chosen sorry"].mean(), abs=1e-6)
    assert apology.effect.low > 0
    assert apology.q < 1e-6
    assert apology.agrees


def test_the_order_of_rows_is_of_no_account() -> None:
    """The same rows in another order give the same audit, to the last digit."""
    evidence, told = known()
    moved = audited(evidence.taken(np.random.default_rng(0).permutation(len(evidence.ids))))
    same = {"evidence", "data"}
    assert moved.model_dump(exclude=same) == told.model_dump(exclude=same)


def test_exchanging_sides_flips_every_sign() -> None:
    """With chosen and rejected exchanged contexts stay what they are, and every delta changes its sign."""
    evidence, told = known()
    other = audited(evidence.exchanged(np.ones(len(evidence.ids), dtype=bool)))
    mine, theirs = ({h.id: h.test for h in t.hypotheses if h.view == "feature"} for t in (told, other))
    assert mine.keys() == theirs.keys()
    for key, test in mine.items():
        assert theirs[key].delta.value == pytest.approx(-test.delta.value, rel=1e-4, abs=1e-6)
        assert theirs[key].z == pytest.approx(-test.z, rel=1e-3, abs=1e-4)
        assert theirs[key].q == pytest.approx(test.q, rel=1e-2, abs=1e-6)


def test_rows_that_can_not_be_used_are_left_out() -> None:
    """Rows without features change nothing but the count, and the reader is told."""
    evidence, told = known()
    ok = np.ones(len(evidence.ids), dtype=bool)
    ok[::50] = False
    fewer = audited(replace(evidence, ok=ok))
    assert fewer.settings.usable == told.settings.usable - 16
    assert any("16 of 800 rows" in c for c in fewer.cautions)


def test_too_few_rows_are_refused() -> None:
    """Below fifty pairs, or with a single prompt, there is nothing to compare."""
    for evidence in (planted(40), replace(planted(80), groups=["a" * 16] * 80)):
        source: Any = evidence
        told, found = audit(source, Asked({}))
        assert told is None
        assert [d.code for d in found] == ["T710"]


def families_of(evidence: InMemory) -> tuple[list[Family], np.ndarray]:
    source: Any = evidence
    rows = read_rows(source)
    scale = scaled(rows.n)
    families = [
        *feature_families(feature_view(source, rows, scale), rows, scale),
        *prompt_families(prompt_view(source, rows, scale), rows, scale),
    ]
    return families, concept_p(concept_gaps(source, rows, standard_library(), Derived(None)))


@pytest.mark.parametrize("repeats", [1, 3])
def test_shuffled_labels_give_no_hypotheses(repeats: int) -> None:
    """With labels exchanged at random, by row, hardly any run has a test at q < 0.05, repeated prompts or not."""
    runs, hits = 40, 0
    for seed in range(runs):
        base = planted(450, RATES, seed=100 + seed, repeats=repeats)
        flip = np.random.default_rng(seed).random(len(base.ids)) < 0.5
        families, extra = families_of(base.exchanged(flip))
        q = benjamini_hochberg(np.concatenate([*(f.result.p.ravel() for f in families), extra]))
        hits += bool((q < 0.05).any())
    # 5% of 40 are 2; 7 or more would happen once in 300 times
    assert hits <= 6


def test_under_a_plan_what_was_dropped_no_longer_counts() -> None:
    """A plan that drops the pairs which carry the behaviour brings its delta down, and leaves today's figure as it was."""
    evidence, told = known()
    carry = evidence.truth["chosen list"] & ~evidence.truth["rejected list"]
    n = len(evidence.ids)
    rows = pa.table({"row_id": evidence.ids, "keep": ~carry, "weight": np.ones(n), "margin_offset": np.zeros(n)})
    plan: Any = type("Loaded", (), {"rows": rows, "plan": type("P", (), {"digest": "p" * 64})})()
    under = audited(evidence, plan=plan)
    assert under.plan == "p" * 64
    top = next(h for h in of_view(told, "feature", whole=False) if about(told, h, behaviour_features("list")))
    same = next(h for h in under.hypotheses if h.id == top.id)
    assert same.test.delta == top.test.delta
    assert same.test.planned is not None
    assert same.test.planned < 0.3 * top.test.delta.value
    empty: Any = type("Loaded", (), {"rows": rows.set_column(1, "keep", pa.array([True] * n)), "plan": plan.plan})()
    unchanged = audited(evidence, plan=empty)
    assert all(h.test.planned == pytest.approx(h.test.delta.value, rel=1e-4, abs=1e-6) for h in unchanged.hypotheses)
