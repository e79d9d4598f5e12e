"""Scores of texts: detectors, readouts, gates, and texts that say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csc_matrix

from tests.runtime.fabricated import fabricated_plan
from tiltc.plan import Group, Member, Plan, PlanConcept
from tiltc.readout import share_group
from tiltc.spec import Concept
from tiltc_runtime.prompts import Prompt
from tiltc_runtime.scoring import degenerate, gates_read_features, open_gates, score_texts

TEXTS = ["Great question! It is **blue**.", "It is blue.", "", "- one\n- two"]
ACTIVATIONS = csc_matrix(np.array([[0.0, 4.0], [1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]))
GROUP = Group(
    members=(Member(feature=0, weight=0.5, scale=2.0), Member(feature=1, weight=2.0, scale=2.0)), mean=0.2, sd=0.4
)


def concept(name: str, definition: Concept, **more: object) -> PlanConcept:
    usual = {"role": "declared", "status": "resolved", "readout": "sae", "group": GROUP}
    return PlanConcept.model_validate({"name": name, "definition": definition, **usual, **more})


def plan(*concepts: PlanConcept) -> Plan:
    return fabricated_plan().model_copy(update={"concepts": concepts, "discovered": ()})


def test_presence_is_the_detectors() -> None:
    """A concept with a detector is present where it fires, whatever the readout says."""
    scored = score_texts(plan(concept("bold", Concept(about="b", surface="bold"))), TEXTS, ACTIVATIONS)
    assert scored.present["bold"].tolist() == [1, 0, 0, 0]


def test_readout_is_the_plans_formula() -> None:
    """The SAE readout is sum of weight times min(max / scale, 1), standardised with the plan's moments."""
    scored = score_texts(plan(concept("c", Concept(about="b", examples="x.jsonl"))), TEXTS, ACTIVATIONS)
    by_hand = [(0.5 * min(a / 2, 1) + 2.0 * min(b / 2, 1) - 0.2) / 0.4 for a, b in ACTIVATIONS.toarray()]
    assert scored.score["c"] == pytest.approx(by_hand)
    assert "c" not in scored.present


def test_detector_readout_is_standardised_too() -> None:
    """A concept read by its detector scores in sd of the detector."""
    read = {"readout": "detector", "group": None, "detector_mean": 0.25, "detector_sd": 0.5}
    scored = score_texts(plan(concept("b", Concept(about="b", surface="bold"), **read)), TEXTS, ACTIVATIONS)
    assert scored.score["b"] == pytest.approx([1.5, -0.5, -0.5, -0.5])


def test_length_has_a_score_but_no_rate() -> None:
    """Every text has a length, so a share of texts that have one says nothing."""
    read = {"readout": "detector", "group": None}
    scored = score_texts(plan(concept("length", Concept(about="l", surface="length"), **read)), TEXTS, ACTIVATIONS)
    assert "length" in scored.score
    assert "length" not in scored.present


def test_what_only_prompts_show_is_not_measured() -> None:
    """Gates and definitions that read prompts have no place in a response."""
    topic = Concept(about="t", words=("cat",), reads="prompt")
    scored = score_texts(plan(concept("g", topic, role="gate"), concept("p", topic)), TEXTS, ACTIVATIONS)
    assert not scored.score
    assert not scored.present


def test_gates_open_on_prompts_that_express_them() -> None:
    """A gate is decided on the prompt's text alone."""
    prompts = [Prompt(({"role": "user", "content": text},)) for text in ("my cat sleeps", "my dog sleeps")]
    gate = concept("cats", Concept(about="t", words=("cat",), reads="prompt"), role="gate", group=None)
    assert open_gates(plan(gate), prompts)["cats"].tolist() == [True, False]


def test_a_gate_of_features_reads_the_prompts_activations() -> None:
    """A cluster of prompt features opens where enough of them fire, whatever the prompt's text is."""
    prompts = [Prompt(({"role": "user", "content": text},)) for text in ("a", "b", "c")]
    definition = Concept(about="t", audit="p-000000000000", reads="prompt")
    gate = concept("cats", definition, role="gate", readout="sae", group=share_group((0, 2, 3), 2 / 3))
    fires = csc_matrix(np.array([[1.0, 9, 0, 0.5], [2.0, 9, 0, 0], [0.1, 0, 0.2, 3.0]]))
    assert gates_read_features(plan(gate))
    assert open_gates(plan(gate), prompts, fires)["cats"].tolist() == [True, False, True]
    with pytest.raises(ValueError, match="read through the model"):
        open_gates(plan(gate), prompts)


def test_a_pattern_that_runs_away_is_left_out_and_named() -> None:
    """One hostile text does not take the whole verification down."""
    slow = concept("slow", Concept(about="s", pattern=r"(?:a|aa|b?a)+$(?<=c)"))
    fast = concept("fast", Concept(about="f", surface="bold"))
    scored = score_texts(plan(slow, fast), ["a" * 4000 + "!"], csc_matrix((1, 2)))
    assert scored.timed_out == ("slow",)
    assert "slow" not in scored.score
    assert "fast" in scored.present


@pytest.mark.parametrize(
    ("text", "is_degenerate"),
    [
        ("", True),
        (" \n", True),
        ("Yes.", False),
        ("the same few words " * 20, True),
        ("🌟🌟🌟\n🌟🌟🌟\n🌟", True),
        ("空が青いのは光が散乱するからです。", False),
        ("Sure! 🌟 It is **blue** 🎉", False),
        ("| a | b |\n|---|---|\n| one apple | two pears |", False),
        ("Light is scattered by air, and blue light more than red, because the strength of scattering grows with the "
         "fourth power of frequency, so the sky looks blue from below and black from above.", False),
    ],
)  # fmt: skip
def test_degenerate_texts(text: str, is_degenerate: bool) -> None:
    """Empty texts and loops are degenerate; short answers and prose are not."""
    assert degenerate(text) is is_degenerate
