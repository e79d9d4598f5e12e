"""`by: reft`: which texts an adapter is fitted to, what is asked of a harvest, and what the plan says and carries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.compiler.synthetic import SyntheticEvidence, evidence, spec_text
from tiltc.compare import compare, show
from tiltc.derived import Derived
from tiltc.evidence import Adapted, Adapter, AdapterRecipe, Instructed, LabelledText, Steered
from tiltc.parse import SpecFile, parse
from tiltc.pipeline import compile_spec
from tiltc.resolve import reft
from tiltc.resolve.pulls import likelihood_requests
from tiltc.resolve.reft import adapter_recipe, adapter_recipes
from tiltc.resolve.world import read_world

RATES = {"std.style.bold": (0.5, 0.2), "std.style.emoji": (0.45, 0.2)}
BETA = 0.1
STEER = "  - suppress: std.style.bold\n    with: steer\n    by: reft\n"


@pytest.fixture(scope="module")
def bare() -> SyntheticEvidence:
    return evidence(600, RATES, seed=5)


def adapter(data: SyntheticEvidence, own: float = 0.2, others: float = 0.05) -> Adapter:
    """One that gives held-out texts with and without bold so many nats a token, give or take."""
    spec_file = parsed_text(STEER)
    recipe = adapter_recipe(read_world(data, Derived(None)), spec_file.library["std.style.bold"])  # type: ignore[arg-type]
    assert recipe is not None
    rng = np.random.default_rng(0)
    held = np.array([own if text.label else others for text in recipe.held]) + 0.01 * rng.normal(size=len(recipe.held))
    return Adapter(rng.normal(size=(recipe.rank, 33)).astype(np.float32), held.astype(np.float32))


@pytest.fixture(scope="module")
def data(bare: SyntheticEvidence) -> SyntheticEvidence:
    return replace(bare, bend=adapter(bare))


def parsed_text(signals: str, extra: str = "") -> SpecFile:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(spec_text(signals, extra))
        spec_file, found = parse(path)
    assert spec_file is not None, [d.primary.text for d in found]
    return spec_file


def nats(data: SyntheticEvidence, text: str = "**") -> np.ndarray:
    """(n, 2) what an adapter makes texts likelier that hold `text`, give or take."""
    has = np.array([[text in t for t in data.table.column(side).to_pylist()] for side in ("chosen", "rejected")]).T
    return 6.0 * has + np.random.default_rng(0).normal(0, 1.5, has.shape)


def compiled(signals: str, data: SyntheticEvidence, scale: float = 1.0) -> tuple[Any, Any]:
    """As harvest and compile do it, every request with the likelihoods of a text with bold in it."""
    spec_file = parsed_text(signals)
    requests = likelihood_requests(spec_file, data, Derived(None))  # type: ignore[arg-type]
    scored = {key: scale * nats(data) * np.sign(getattr(r, "size", 1.0)) for key, r in requests.items()}
    return compile_spec(spec_file, replace(data, likelihoods=scored))  # type: ignore[arg-type]


def codes(found: Any) -> set[str]:
    return {d.code for d in found}


def test_it_is_fitted_to_texts_of_one_half_that_show_the_concept(data: SyntheticEvidence) -> None:
    """And measured on texts of the other half, with and without it."""
    world = read_world(data, Derived(None))  # type: ignore[arg-type]
    recipe = adapter_recipe(world, parsed_text(STEER).library["std.style.bold"])
    assert recipe is not None
    texts = {side: data.table.column(side).to_pylist() for side in ("chosen", "rejected")}
    assert all("**" in texts[t.side][t.row] and t.label and world.pairs.half[t.row] for t in recipe.fit)
    bold = sum("**" in t for side in texts.values() for t, half in zip(side, world.pairs.half, strict=True) if half)
    assert len(recipe.fit) == bold
    assert not any(world.pairs.half[t.row] for t in recipe.held)
    assert all(("**" in texts[t.side][t.row]) == t.label for t in recipe.held)
    assert sum(t.label for t in recipe.held) == sum(not t.label for t in recipe.held) == reft.MOST_HELD
    # as in the paper, section 3.3
    said = (recipe.rank, recipe.ends, recipe.dropout, recipe.learning_rate, recipe.batch, recipe.epochs)
    assert said == (8, 11, 0.05, 9e-4, 8, 3)
    assert recipe.layer == 0, "the SAE's hook is blocks.1.hook_resid_pre"


def test_long_texts_are_fewer(data: SyntheticEvidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens of a fit are bounded, down to the fewest texts; the choice is the same whenever it is made."""
    world = read_world(data, Derived(None))  # type: ignore[arg-type]
    definition = parsed_text(STEER).library["std.style.bold"]
    tokens = {side: data.table.column(f"{side}_tokens").to_pylist() for side in ("chosen", "rejected")}
    for most in (1000, 1):
        monkeypatch.setattr(reft, "MOST_TOKENS", most)
        recipe = adapter_recipe(world, definition)
        assert recipe is not None
        assert recipe == adapter_recipe(world, definition)
        assert sum(tokens[t.side][t.row] for t in recipe.fit) <= 1000
        assert len(recipe.fit) >= 10
    assert len(recipe.fit) == 10


def test_a_harvest_is_asked_for_the_adapter_first(bare: SyntheticEvidence, data: SyntheticEvidence) -> None:
    """Its likelihoods can't be asked for before it is there; a vector is not asked for at all."""
    spec_file = parsed_text(STEER + "    size: 2\n")
    assert len(adapter_recipes(spec_file, bare, Derived(None))) == 1  # type: ignore[arg-type]
    assert not likelihood_requests(spec_file, bare, Derived(None))  # type: ignore[arg-type]
    (request,) = likelihood_requests(spec_file, data, Derived(None)).values()  # type: ignore[arg-type]
    assert isinstance(request, Adapted)
    assert (request.layer, request.size, request.ends) == (0, 2.0, 11)
    assert data.bend is not None
    np.testing.assert_array_equal(request.adapter, data.bend.tensor)
    every = likelihood_requests(spec_file, data, Derived(None), every=True).values()  # type: ignore[arg-type]
    assert {type(r) for r in every} == {Adapted, Instructed}
    assert not adapter_recipes(parsed_text("  - suppress: std.style.bold\n    with: steer\n"), bare, Derived(None))  # type: ignore[arg-type]


def test_scores_are_named_by_all_that_they_follow_from(data: SyntheticEvidence) -> None:
    """Another tensor, layer, size or number of tokens is another request; the same again is not."""
    tensor = np.ones((2, 9), np.float32)
    made = Adapted(tensor, 1, 1.0, 11)
    others = [Adapted(2 * tensor, 1, 1.0, 11), replace(made, layer=0), replace(made, size=-1.0), replace(made, ends=3)]
    keys = {r.key for r in (made, *others, Steered(tensor[0], 1, 1.0))}
    assert len(keys) == 6
    assert Adapted(tensor.copy(), 1, 1.0, 11).key == made.key
    pins = {str(r.pins) for r in (made, *others)}
    assert len(pins) == 5


def test_the_residual_form(data: SyntheticEvidence) -> None:
    """Offsets are multiples of the likelihood differences, the concept reaches its target, and the adapter stays behind."""
    result, found = compiled(STEER + "  - keep: std.style.emoji\n", data)
    assert result is not None, [d.primary.text for d in found]
    bold = result.plan.forecast[0]
    assert abs(bold.tilted.value) <= 0.0501 * bold.plain.value
    only, _ = compiled(STEER, data)
    gap = (nats(data)[:, 0] - nats(data)[:, 1]) / nats(data).std()
    np.testing.assert_allclose(
        np.asarray(only.rows.column("margin_offset")), only.plan.actions[0].strength * gap, rtol=1e-6
    )
    assert not only.plan.steering
    assert not only.tools
    assert "by a ReFT adapter of rank 8 at layer 0, fitted to " in only.plan.actions[0].because
    assert "gain +0.2" in only.plan.actions[0].because


@pytest.mark.parametrize("readout", [None, "detector"])
def test_the_forward_form(data: SyntheticEvidence, readout: str | None) -> None:
    """The adapter goes with the plan, whatever the concept is read by, and the forecast counts what it adds."""
    text = STEER + "    form: forward\n    fraction: 20%\n" + (f"    readout: {readout}\n" if readout else "")
    result, found = compiled(text, data)
    assert result is not None, [d.primary.text for d in found]
    (steering,) = result.plan.steering
    assert (steering.tool, steering.layer, steering.size, steering.ends) == ("reft", 0, 1.0, 11)
    assert data.bend is not None
    np.testing.assert_array_equal(result.tools[steering.key], data.bend.tensor)
    steered = np.array([r == [0] for r in result.rows.column("chosen_steered").to_pylist()])
    assert steered.sum() == round(0.2 * len(data.ok))
    implied = BETA * np.where(steered, nats(data)[:, 0], 0.0)
    factor = 2 / (1 + np.exp(implied))
    kish = factor.sum() ** 2 / (len(factor) * (factor**2).sum())
    assert result.plan.spend.effective_sample == pytest.approx(kish, rel=1e-6)
    assert result.plan.concepts[0].readout == (readout or "sae")


def test_a_vector_and_an_adapter_are_counted_in_one_order(data: SyntheticEvidence) -> None:
    """Rows say which of the plan's steering they are under; amplified, the policy is steered away."""
    vector = "  - suppress: std.style.emoji\n    with: steer\n    form: forward\n"
    amplified = STEER.replace("suppress", "amplify") + "    form: forward\n    to: 1.1x\n    within: 50%\n"
    result, found = compiled(vector + amplified, data)
    assert result is not None, [d.primary.text for d in found]
    assert [(s.tool, s.size, s.ends) for s in result.plan.steering] == [("direction", 1.0, None), ("reft", -1.0, 11)]
    numbers = {n for row in result.rows.column("chosen_steered").to_pylist() for n in row}
    assert numbers == {0, 1}
    assert set(result.tools) == {s.key for s in result.plan.steering}


@pytest.mark.parametrize(
    ("own", "others", "said"), [(0.0, 0.0, "no likelier"), (-0.1, -0.3, "no likelier"), (0.2, 0.2, "alike")]
)
def test_an_adapter_without_effect_is_told(bare: SyntheticEvidence, own: float, others: float, said: str) -> None:
    """T216, where held-out texts with the concept gain nothing, or no more than others do."""
    data = replace(bare, bend=adapter(bare, own, others))
    _, found = compiled(STEER, data)
    (told,) = [d for d in found if d.code == "T216"]
    assert said in told.primary.text
    _, found = compiled(STEER, replace(bare, bend=adapter(bare)))
    assert "T216" not in codes(found)


def test_answers_to_one_question_are_no_independent_texts(bare: SyntheticEvidence) -> None:
    """The interval of what texts of a contrast set gain is that of its questions' means."""
    answers, questions = 5, 12
    texts = 2 * answers * questions
    question = np.repeat(np.arange(questions), 2 * answers)
    label = np.tile([True] * answers + [False] * answers, questions)
    held = [LabelledText(row=i, side="example", label=bool(on)) for i, on in enumerate(label)]
    recipe = AdapterRecipe(source="q", layer=0, fit=(), held=tuple(held))
    table = SimpleNamespace(table=pa.table({"pair": [str(q) for q in question]}))
    data = replace(bare, contrasts={"q": table})  # type: ignore[dict-item]
    rng = np.random.default_rng(4)
    gained = rng.normal(size=questions)[question] + 0.1 * rng.normal(size=texts)
    bend = Adapter(np.zeros((8, 33), np.float32), gained.astype(np.float32))
    own, _ = reft.gains(read_world(data, Derived(None)), recipe, bend)  # type: ignore[arg-type]
    means = np.array([gained[label & (question == q)].mean() for q in range(questions)])
    assert own.se == pytest.approx(means.std(ddof=1) / np.sqrt(questions), rel=1e-3)


def test_likelihoods_that_do_not_move_settle_nothing(data: SyntheticEvidence) -> None:
    """As with a vector that does nothing: the residual form can't be solved (T401), the forward form misses (T407)."""
    for by in ("    by: reft\n", ""):
        text = "  - suppress: std.style.bold\n    with: steer\n" + by
        assert codes(compiled(text, data, scale=0.0)[1]) == {"T401"}
        result, found = compiled(text + "    form: forward\n", data, scale=0.0)
        assert "T407" in codes(found)
        assert result.plan.forecast[0].tilted == result.plan.forecast[0].plain


@pytest.mark.parametrize("size", ["", "    size: 2\n"])
def test_both_forms_side_by_side(data: SyntheticEvidence, size: str) -> None:
    """A comparison steers by what the spec names and as far, and changes by other mechanisms all the same."""
    spec_file = parsed_text(STEER + size)
    requests = likelihood_requests(spec_file, data, Derived(None), every=True)  # type: ignore[arg-type]
    scored = replace(data, likelihoods={key: nats(data) for key in requests})
    (comparison,) = compare(spec_file, scored)  # type: ignore[arg-type]
    by_name = {(c.mechanism, c.form): c for c in comparison.candidates}
    assert by_name["steer", "residual"].chosen
    assert not by_name["steer", "forward"].refused
    assert not by_name["reward", None].refused
    assert "steer (residual)*" in show((comparison,))
