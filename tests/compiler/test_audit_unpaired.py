"""Data without rejected responses, audited against a reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest

from tests.compiler.audited import TOPICS, InMemory, behaviour_features, planted
from tests.compiler.test_audit import about, audited, of_view
from tiltc.audit.run import Asked, audit
from tiltc.audit.unpaired import MatchedEvidence, match, matched
from tiltc.parse.standard import standard_library


@dataclass(frozen=True)
class Single(InMemory):
    """Rows whose chosen response alone counts."""

    @cached_property
    def read(self) -> np.ndarray:
        return self.ok


def single(base: InMemory) -> Single:
    return Single(**{name: getattr(base, name) for name in base.__dataclass_fields__})


#: lists after bread are more common in the data than in the reference; apologies are as common in both
DATA = single(planted(700, {("bread", "list"): (0.75, 0.0)}, base=0.25, seed=5))
REFERENCE = single(planted(900, {}, base=0.25, seed=6))


def joined(one: Any, other: Any) -> MatchedEvidence:
    pairs, found = matched(one, other)
    assert pairs is not None, list(found)
    return pairs


def test_the_difference_to_the_reference_is_found() -> None:
    """What is more common after some prompts than in answers of the reference to such prompts is among the first ten."""
    pairs: Any = joined(DATA, REFERENCE)
    told = audited(pairs, reference=REFERENCE.manifest.data, cautions=pairs.cautions())
    assert told.settings.design == "unpaired"
    assert told.reference == REFERENCE.manifest.data
    assert told.settings.usable == 700
    top = [h for h in of_view(told, "feature", whole=False)[:10] if about(told, h, behaviour_features("list"))]
    strong = [h for h in top if h.test.q < 0.05 and h.test.delta.value > 0]
    assert strong
    assert all("bread" in p for p in told.context(strong[0].context or "").prompts)
    apology = next(c for c in told.concepts if c.name == "std.stance.apology")
    assert apology.q > 0.05
    assert "matched with the reference" in told.cautions[0]


def test_no_difference_is_not_found() -> None:
    """Two samples of the same kind of data give nothing at q < 0.05."""
    pairs: Any = joined(single(planted(500, seed=7)), single(planted(500, seed=8)))
    told = audited(pairs, reference=REFERENCE.manifest.data)
    assert sum(n.found for n in told.noise) == 0


def test_prompts_are_matched_by_what_they_ask() -> None:
    """The same prompt first, then prompts of the same topic; every row is used once."""
    one, other = single(planted(200, seed=9)), single(planted(300, seed=10))
    groups = [*one.groups[:50], *other.groups[50:]]
    found = match(one, replace(other, groups=groups))  # type: ignore[arg-type]
    assert found.same == (Counter(one.groups) & Counter(groups)).total() >= 50
    assert len(set(found.data.tolist())) == len(found.data) == 200
    assert len(set(found.reference.tolist())) == 200
    near = found.similarity <= 1
    topics = (one.truth["topic"][found.data[near]], other.truth["topic"][found.reference[near]])
    assert (topics[0] == topics[1]).mean() > 0.9


def test_harvests_through_different_models_are_refused() -> None:
    """T712 names what differs."""
    other = single(planted(100, seed=11))

    class Elsewhere(Single):
        @property
        def manifest(self) -> Any:
            return super().manifest.model_copy(update={"max_length": 99})

    pairs, found = matched(DATA, Elsewhere(**vars(other)))  # type: ignore[arg-type]
    assert pairs is None
    assert [d.code for d in found] == ["T712"]
    assert "max_length" in next(iter(found)).primary.text


@pytest.mark.parametrize("rows", [0, 30])
def test_too_few_matches_are_refused(rows: int) -> None:
    """A reference with hardly a row gives an answer, not a crash."""
    none = REFERENCE.taken(np.arange(rows))
    pairs: Any = joined(DATA, single(none))
    told, found = audit(pairs, Asked(standard_library()))
    assert told is None
    assert [d.code for d in found] == ["T710"]


def test_topics_are_those_of_the_data() -> None:
    """The builder's own promise: four topics, and singles that can be read."""
    assert len(TOPICS) == 4
    assert DATA.read.all()
