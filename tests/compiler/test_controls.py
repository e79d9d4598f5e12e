"""The control arm of inoculation: what stands in for an instruction, and that nothing else of the plan is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compiler.synthetic import SyntheticEvidence, evidence
from tests.compiler.test_pulls import RATES, compiled
from tiltc.canonical import sha256_text
from tiltc.controls import POOL, control_texts
from tiltc.detectors import has_detector, present
from tiltc.parse.standard import standard_library
from tiltc.show import show

INSTRUCTED = {name: d.concept.instructions for name, d in standard_library().items() if d.concept.instructions}
BOLD = "  - suppress: std.style.bold\n    with: inoculate\n    form: forward\n"


@pytest.fixture(scope="module")
def data() -> SyntheticEvidence:
    return evidence(600, RATES, seed=5)


def test_the_pool_asks_for_no_concept() -> None:
    """No text of the pool is or shows anything that the library knows, or asks for it."""
    assert len(set(POOL)) == len(POOL)
    assert not set(POOL) & {text for texts in INSTRUCTED.values() for text in texts}
    for name, definition in standard_library().items():
        # every text has a length
        if has_detector(definition.concept) and definition.concept.surface != "length":
            assert not present(definition.concept, POOL).any(), name


def test_the_pool_is_what_it_was() -> None:
    """Another text would make another control run of the same plan: the pool is changed with the version of the plan."""
    assert sha256_text("\n".join(POOL)) == "b2ba88db08cf55bd3f21f0cf8260337ae85ea83b3e49562b917afaf8749c6307"


@pytest.mark.parametrize("name", sorted(INSTRUCTED))
def test_a_control_is_about_as_long_as_its_instruction(name: str) -> None:
    """Within ten characters for all of the library, each text once; the first has the closest of the whole pool."""
    texts = control_texts(INSTRUCTED[name], (), ())
    lengths = [(len(a), len(b)) for a, b in zip(INSTRUCTED[name], texts, strict=True)]
    assert max(abs(a - b) for a, b in lengths) <= 10
    assert len(set(texts)) == len(texts)
    assert abs(lengths[0][0] - lengths[0][1]) == min(abs(lengths[0][0] - len(text)) for text in POOL)


def test_texts_are_used_again_only_when_all_are_used() -> None:
    """Every text n times before one has n + 1, those of other signals counted."""
    many = ["x" * 40] * (2 * len(POOL) + 1)
    texts = control_texts(many, (), POOL[:2])
    counts = {text: [*texts, *POOL[:2]].count(text) for text in POOL}
    assert set(counts.values()) == {2, 3}
    assert sum(count == 3 for count in counts.values()) == 3
    assert control_texts(["a", "b", "c"], ["one", "another"], POOL) == ("one", "another", "one")
    assert control_texts([], (), ()) == ()


def test_a_plan_has_a_control_for_each_instruction(tmp_path: Path, data: SyntheticEvidence) -> None:
    """In the order of the instructions, so that a row finds its control by the number that its id chose; all signals' of
    different texts. Rows, forecast and instructions are those of a spec that says nothing of it."""
    text = "".join(f"  - suppress: {c}\n    with: inoculate\n    form: forward\n" for c in RATES)
    result, _ = compiled(tmp_path, text, data)
    assert result is not None
    plan = result.plan
    asked = [(f"suppress: {c}", text) for c in RATES for text in INSTRUCTED[c]]
    assert list(plan.prompts) == [text for _, text in asked]
    assert [c.signal for c in plan.controls] == [signal for signal, _ in asked] == [
        a.signal for a in plan.actions for _ in range(3)
    ]  # fmt: skip
    assert len({c.text for c in plan.controls}) == 6
    for prompt, control in zip(plan.prompts, plan.controls, strict=True):
        assert f'"{prompt}"; in the control run "{control.text}"' in show(plan)
        assert f'told "{prompt}"; in the control run "{control.text}"' in show(plan, "markdown").replace("\\", "")
    assert "in the control run" not in show(plan.model_copy(update={"controls": ()}))
    own, _ = compiled(
        tmp_path, text.replace("form: forward", "form: forward\n    control: [Now., Then., Soon.]", 1), data
    )
    assert own is not None
    assert [c.text for c in own.plan.controls[:3]] == ["Then.", "Soon.", "Now."]
    for same in ("prompts", "forecast", "actions", "spend"):
        assert getattr(own.plan, same) == getattr(plan, same)
    assert own.plan.pins.rows == plan.pins.rows


@pytest.mark.parametrize(
    "signals", ["  - suppress: std.style.bold\n    with: inoculate\n", "  - suppress: std.style.bold\n"]
)
def test_a_plan_without_instructions_has_no_controls(tmp_path: Path, data: SyntheticEvidence, signals: str) -> None:
    """The residual form says nothing in training, and other mechanisms never do."""
    result, found = compiled(tmp_path, signals, data)
    assert result is not None, [d.primary.text for d in found]
    assert result.plan.controls == ()
