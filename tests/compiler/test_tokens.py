"""Token masks: which tokens, on which rows, and what is left of every gap, on data whose truth is known."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from tests.compiler.synthetic import PLANTS, SyntheticEvidence, evidence, spec_text
from tiltc.choose import _less_or_more
from tiltc.derived import Derived
from tiltc.evidence import SIDES, AttentionTool, ProbeRecipe, TokenScores, TokenTool, Tool
from tiltc.parse import parse
from tiltc.pipeline import compile_spec
from tiltc.resolve import attention
from tiltc.resolve.attention import probe_recipes
from tiltc.resolve.masking import _grown, threshold_of
from tiltc.resolve.tools import needed
from tiltc.show import show
from tiltc.solve import Problem, mask
from tiltc.stats import halves

RATES = {"std.style.bold": (0.5, 0.2), "std.style.emoji": (0.45, 0.2)}
MASKING = "  - suppress: std.style.bold\n    with: tokens\n"


@dataclass(frozen=True)
class Tokens:
    """`TokenScores` over arrays in memory."""

    indptr: np.ndarray
    values: np.ndarray
    most = TokenScores.most
    _most = TokenScores._most


def by_word(text: str) -> tuple[list[int], list[str | None]]:
    """One token a word: where each starts, and the planted concept whose sentence it is in."""
    words = list(re.finditer(r"\S+\s*", text))
    inside: list[str | None] = [None] * len(words)
    for concept, (sentence, _) in PLANTS.items():
        at = text.find(sentence)
        for i, word in enumerate(words):
            if at >= 0 and at <= word.start() < at + len(sentence):
                inside[i] = concept
    return [w.start() for w in words], inside


def with_tokens(base: SyntheticEvidence) -> SyntheticEvidence:
    """The same evidence, with features that fire on each word of the sentence that was planted for them, and any tool
    read on every word."""
    features = base.manifest.sae.features
    columns: dict[str, Any] = {}
    rows: list[np.ndarray] = []
    matrices: dict[str, sparse.csr_matrix] = dict(base.matrices)
    for side in SIDES:
        starts, counts = [], sparse.lil_matrix(base.matrices[side].shape)
        peaks = sparse.lil_matrix(base.matrices[side].shape)
        most = base.matrices[side].tolil()
        for i, text in enumerate(base.table.column(side).to_pylist()):
            at, inside = by_word(text)
            starts.append(at)
            values = np.zeros((len(at), features), np.float32)
            for concept, (_, ids) in PLANTS.items():
                here = [k for k, c in enumerate(inside) if c == concept]
                for feature in ids:
                    if here and most[i, feature]:
                        values[here, feature] = most[i, feature]
                        peaks[i, feature], counts[i, feature] = here[0], len(here)
            for feature in most.rows[i]:
                if not values[:, feature].any():
                    values[0, feature], counts[i, feature] = most[i, feature], 1
            rows.append(values)
        columns[f"{side}_starts"] = pa.array(starts, pa.list_(pa.int32()))
        pattern = base.matrices[side]
        for kind, table in (("peak", peaks), ("count", counts)):
            csr = pattern.copy()
            row = np.repeat(np.arange(pattern.shape[0]), np.diff(pattern.indptr))
            csr.data = np.asarray(table.tocsr()[row, pattern.indices]).ravel().astype(np.float32)
            matrices[f"{side}.{kind}"] = csr
    table = base.table
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows])])
    everything = np.concatenate(rows)
    read = _Everything(indptr, everything)
    return replace(base, table=table, matrices=matrices, read=read)


@dataclass(frozen=True)
class _Everything:
    """Answers for any group of features; `wanted` are the tools that a second pass would have read."""

    indptr: np.ndarray
    values: np.ndarray
    wanted: dict[str, Tool] | None = None

    def get(self, key: str) -> Tokens | None:
        tool = (self.wanted or {}).get(key)
        if tool is None:
            return None
        if isinstance(tool, AttentionTool) or tool.vector:
            # what a vector or probe reads off a token: much where bold was planted, little elsewhere
            noise = np.random.default_rng(1).normal(0, 0.3, len(self.values))
            return Tokens(self.indptr, (3.0 * (self.values[:, 3] > 0) + noise)[:, None])
        return Tokens(self.indptr, self.values[:, list(tool.features)])

    def most_of_a_vector(self) -> np.ndarray:
        """(2n,) the largest projection on any vector."""
        vector = TokenTool(vector=(1.0,))
        return replace(self, wanted={vector.key: vector}).get(vector.key).most()[:, 0]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def data() -> SyntheticEvidence:
    return with_tokens(evidence(500, RATES, seed=3, firing=0.1))


def compiled(tmp_path: Path, signals: str, data: SyntheticEvidence, extra: str = "") -> tuple[Any, Any]:
    """As harvest and compile do it: first what a second pass has to read, then the plan."""
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text(signals, extra))
    spec_file, found = parse(path)
    assert spec_file is not None, [d.primary.text for d in found]
    tools = {t.key: t for t in needed(spec_file, data, Derived(None))}  # type: ignore[arg-type]
    result, found = compile_spec(spec_file, replace(data, read=replace(data.read, wanted=tools)))  # type: ignore[arg-type]
    return result, found


def planted_words(text: str, concept: str) -> list[int]:
    return [i for i, c in enumerate(by_word(text)[1]) if c == concept]


def test_the_tokens_of_the_concept_are_masked_and_no_others(tmp_path: Path, data: SyntheticEvidence) -> None:
    """On both sides of every pair the masked tokens are those of the planted sentence; all of the signal goes."""
    result, found = compiled(tmp_path, MASKING + "  - keep: std.style.emoji\n", data)
    assert result is not None, [d.primary.text for d in found]
    plan, rows, _ = result
    wrong = 0
    for side in SIDES:
        for text, masked in zip(
            data.table.column(side).to_pylist(), rows.column(f"{side}_masked").to_pylist(), strict=True
        ):
            wrong += masked not in (planted_words(text, "std.style.bold"), [])
    assert wrong == 0
    bold = next(r for r in plan.forecast if r.name == "std.style.bold")
    emoji = next(r for r in plan.forecast if r.name == "std.style.emoji")
    assert bold.plain.value > 0.3
    assert abs(bold.tilted.value) < 0.02
    assert emoji.tilted.value == pytest.approx(emoji.plain.value, rel=1e-6), "emoji stand elsewhere"
    action = next(a for a in plan.actions if a.concept == "std.style.bold")
    touched = np.array(
        [bool(a or b) for a, b in zip(*(rows.column(f"{s}_masked").to_pylist() for s in SIDES), strict=True)]
    )
    assert action.mechanism == "tokens"
    assert action.strength == action.rows_touched == touched.sum()
    assert np.asarray(rows.column("keep")).all()
    assert (np.asarray(rows.column("margin_offset")) == 0).all()


def test_a_share_that_may_stay_leaves_rows_alone(tmp_path: Path, data: SyntheticEvidence) -> None:
    """`to: 50%` masks fewer rows, and reaches its target to within the tolerance."""
    everything, _ = compiled(tmp_path, MASKING, data)
    half, _ = compiled(tmp_path, MASKING + "    to: 50%\n", data)
    assert everything is not None
    assert half is not None
    bold = next(r for r in half[0].forecast if r.name == "std.style.bold")
    assert abs(bold.tilted.value - 0.5 * bold.plain.value) <= 0.0501 * bold.plain.value
    assert 0 < half[0].actions[0].rows_touched < everything[0].actions[0].rows_touched


def test_rows_behind_a_closed_gate_are_not_masked(tmp_path: Path) -> None:
    """Half of the prompts express the gate; the others keep all their tokens."""
    prompts = [f"{'Write a poem' if i % 2 else 'Explain'} about number {i}" for i in range(400)]
    data = with_tokens(evidence(400, RATES, seed=4, firing=0.1, prompts=prompts))
    gate = "concepts:\n  poem: {about: Asks for a poem., reads: prompt, words: [poem]}\n"
    result, found = compiled(tmp_path, MASKING + "    when: poem\n", data, gate)
    assert result is not None, [d.primary.text for d in found]
    masked = [bool(a or b) for a, b in zip(*(result[1].column(f"{s}_masked").to_pylist() for s in SIDES), strict=True)]
    assert not any(masked[0::2])
    assert any(masked[1::2])


def test_masks_and_a_reward_term_work_together(tmp_path: Path, data: SyntheticEvidence) -> None:
    """What is masked first is held at its target by the term that settles the other signal."""
    result, found = compiled(tmp_path, MASKING + "  - suppress: std.style.emoji\n    with: reward\n", data)
    assert result is not None, [d.primary.text for d in found]
    for row in result[0].forecast[:2]:
        assert abs(row.tilted.value) <= 0.051 * abs(row.plain.value)


@pytest.mark.parametrize(
    ("tool", "objective"),
    [("direction", "difference of means"), ("probe", "cross-entropy"), ("probe-pairwise", "pairwise")],
)
def test_a_vector_reads_and_masks(tmp_path: Path, data: SyntheticEvidence, tool: str, objective: str) -> None:
    """The concept's readout is the largest projection, standardised; its vector goes with the plan, of unit length."""
    result, found = compiled(tmp_path, f"  - suppress: std.style.bold\n    with: reward\n    readout: {tool}\n", data)
    assert result is not None, [d.primary.text for d in found]
    concept = next(c for c in result.plan.concepts if c.name == "std.style.bold")
    assert concept.readout == tool
    assert concept.projection is not None
    assert concept.projection.objective == objective
    assert np.linalg.norm(result.tools[concept.projection.key]) == pytest.approx(1.0, abs=1e-4)
    assert next(d for d in concept.detection if d.tool == tool).auroc.value > 0.95, "features miss one text in twenty"
    scores = data.read.most_of_a_vector()
    n = len(data.ok)
    offset = np.asarray(result.rows.column("margin_offset"))
    gap = (scores[:n] - scores[n:]) / scores.std()
    np.testing.assert_allclose(offset, result.plan.actions[0].strength * gap, rtol=1e-4, atol=1e-6)
    masked, found = compiled(tmp_path, MASKING + f"    readout: {tool}\n", data)
    assert masked is not None, [d.primary.text for d in found]
    bold = next(r for r in masked.plan.forecast if r.name == "std.style.bold")
    assert abs(bold.tilted.value) <= 0.0501 * bold.plain.value


def test_an_attention_probe_reads_and_masks(tmp_path: Path, data: SyntheticEvidence) -> None:
    """The concept's readout is the largest logit, standardised; the probe's tensor goes with the plan."""
    probe = np.random.default_rng(0).normal(size=(9, 17)).astype(np.float32)
    fitted = replace(data, probe=probe)
    signal = "  - suppress: std.style.bold\n    with: reward\n    readout: attention\n"
    result, found = compiled(tmp_path, signal, fitted)
    assert result is not None, [d.primary.text for d in found]
    concept = next(c for c in result.plan.concepts if c.name == "std.style.bold")
    assert (concept.readout, concept.projection.objective) == ("attention", "token cross-entropy")
    np.testing.assert_array_equal(result.tools[concept.projection.key], probe)
    assert "std.style.bold: resolved, read by attention (token cross-entropy)\n" in show(result.plan)
    assert next(d for d in concept.detection if d.tool == "attention").auroc.value > 0.95
    scores, n = data.read.most_of_a_vector(), len(data.ok)
    gap = (scores[:n] - scores[n:]) / scores.std()
    offset = np.asarray(result.rows.column("margin_offset"))
    np.testing.assert_allclose(offset, result.plan.actions[0].strength * gap, rtol=1e-4, atol=1e-6)
    masked, found = compiled(tmp_path, MASKING + "    readout: attention\n", fitted)
    assert masked is not None, [d.primary.text for d in found]
    bold = next(r for r in masked.plan.forecast if r.name == "std.style.bold")
    assert abs(bold.tilted.value) <= 0.0501 * bold.plain.value
    result, found = compiled(tmp_path, signal, data)
    assert result is None
    assert [d.code for d in found if d.code.startswith("T2")] == ["T213"], (
        "a probe that was not fitted is harvested first"
    )


def recipes(tmp_path: Path, data: SyntheticEvidence) -> tuple[ProbeRecipe, ...]:
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text("  - suppress: std.style.bold\n    readout: attention\n"))
    spec_file, _ = parse(path)
    assert spec_file is not None
    return probe_recipes(spec_file, data, Derived(None))  # type: ignore[arg-type]


def test_a_probe_is_fitted_to_labelled_texts_of_one_half(
    tmp_path: Path, data: SyntheticEvidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many that show the concept as that don't, at most 400, fewer where their residuals would take too much memory;
    no prompt of the other half is among them."""
    (recipe,) = recipes(tmp_path, data)
    texts = {side: data.table.column(side).to_pylist() for side in SIDES}
    half = halves(np.array(data.table.column("group").to_pylist()))
    labels = [text.label for text in recipe.fit]
    shown = sum("**" in text for side in SIDES for text, mine in zip(texts[side], half, strict=True) if mine)
    assert (len(recipe.fit), sum(labels)) == (400, min(shown, 200))
    assert all(("**" in texts[t.side][t.row]) == t.label and half[t.row] for t in recipe.fit)
    assert (recipe,) == recipes(tmp_path, data)
    assert not recipe.held
    monkeypatch.setattr(attention, "MOST_BYTES", 4 * 16 * 1000)
    (small,) = recipes(tmp_path, data)
    counts = [data.table.column(f"{t.side}_tokens")[t.row].as_py() for t in small.fit]
    assert 500 < sum(counts) <= 1000
    assert sum(t.label for t in small.fit) == len(small.fit) // 2
    monkeypatch.setattr(attention, "MOST_BYTES", 0)
    assert len(recipes(tmp_path, data)[0].fit) == 20


def test_what_stands_on_the_same_tokens_cannot_be_kept(tmp_path: Path, data: SyntheticEvidence) -> None:
    """The word that bold is set on goes with the mask; a signal that keeps it is told so, with the numbers."""
    own = "concepts:\n  key: {about: The word key., words: [key]}\n"
    result, found = compiled(tmp_path, MASKING + "  - keep: key\n    readout: detector\n", data, own)
    assert result is None
    assert "T408" in {d.code for d in found}, [(d.code, d.primary.text) for d in found]


def test_a_side_that_is_left_alone_is_what_the_advice_is_about(tmp_path: Path, data: SyntheticEvidence) -> None:
    """With rejected responses masked alone, bold leans further to chosen than today: no larger unit would help."""
    result, found = compiled(tmp_path, MASKING + "    side: rejected\n", data)
    assert result is None
    (said,) = [d for d in found if d.code == "T408"]
    assert said.helps[0] == "mask both sides: leave out `side: rejected`"


@pytest.mark.parametrize(
    ("unit", "left", "advice"),
    [
        ("span", 0.1, []),
        (None, 0.1, ["mask more around each token: `unit: span`"]),
        ("span", -0.1, ["mask less around each token: `unit: word`"]),
        (None, -0.1, ["mask less around each token: `unit: token`"]),
        ("token", -0.1, []),
    ],
)
def test_advice_on_the_unit_of_a_mask_goes_the_way_that_is_left(
    unit: str | None, left: float, advice: list[str]
) -> None:
    """Masks that leave some of a signal of +0.4 should grow, those that turned it around should shrink, where they can.
    No unit helps where one side alone is masked, or where the signal has no masks of its own."""
    ask = SimpleNamespace(unit=unit, with_="tokens", side=None)
    band = SimpleNamespace(signal=SimpleNamespace(ask=ask, today=0.4), target=0.0)
    assert _less_or_more(band, left) == next(iter(advice), None)  # type: ignore[arg-type]
    ask.side = "rejected"
    assert _less_or_more(band, left) == "mask both sides: leave out `side: rejected`"  # type: ignore[arg-type]
    ask.with_ = "filter"
    assert _less_or_more(band, left) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("side", "rates"), [("chosen", (0.5, 0.2)), ("rejected", (0.2, 0.5))], ids=SIDES)
def test_masks_of_one_side_leave_the_other_as_it_is(tmp_path: Path, side: str, rates: tuple[float, float]) -> None:
    """The same tokens as without `side`, on that side alone; the forecast is of gaps that keep the other side's."""
    data = with_tokens(evidence(600, {"std.style.bold": rates}, seed=4))
    other = SIDES[1 - SIDES.index(side)]
    both, _ = compiled(tmp_path, MASKING, data)
    one, found = compiled(tmp_path, MASKING + f"    within: 100%\n    side: {side}\n", data)
    assert one is not None, [d.primary.text for d in found]
    assert one.rows.column(f"{side}_masked") == both.rows.column(f"{side}_masked")
    assert not any(one.rows.column(f"{other}_masked").to_pylist())
    shown = np.array([["**" in text for text in data.table.column(s).to_pylist()] for s in SIDES], dtype=float)
    hidden = np.array([bool(m) for m in one.rows.column(f"{side}_masked").to_pylist()])
    shown[SIDES.index(side)] *= ~hidden
    assert one.plan.actions[0].because.endswith(f"; in {side} responses alone")
    assert both is not None
    assert "alone" not in both.plan.actions[0].because
    own = one.plan.forecast[0].defined
    assert own.tilted.value == pytest.approx((shown[0] - shown[1]).mean(), abs=1e-6)


def test_a_plan_with_masks_is_the_same_every_time(tmp_path: Path, data: SyntheticEvidence) -> None:
    first, _ = compiled(tmp_path, MASKING, data)
    second, _ = compiled(tmp_path, MASKING, data)
    assert first is not None
    assert second is not None
    assert first[0].digest == second[0].digest


def test_a_group_that_does_not_fire_is_never_masked(tmp_path: Path) -> None:
    """Where calling every response positive has the best F1, the threshold is not zero: silence shows nothing."""
    data = with_tokens(evidence(400, {"std.style.bold": (0.97, 0.9)}, seed=8, firing=0.1))
    keep = np.random.default_rng(0).random(len(data.read.values)) < 0.5
    data.read.values[keep] = 0.0
    result, found = compiled(tmp_path, MASKING + "    within: 100%\n", data)
    if result is None:
        assert {d.code for d in found} <= {"T201", "T203", "T305", "T408"}
        return
    masked = sum(len(m) for s in SIDES for m in result.rows.column(f"{s}_masked").to_pylist())
    assert masked < 0.8 * len(data.read.values)


def test_each_signal_is_masked_as_it_asks(tmp_path: Path, data: SyntheticEvidence) -> None:
    """A share that another signal may keep leaves none of the rows alone that are to be masked whole."""
    alone, _ = compiled(tmp_path, MASKING, data)
    both, found = compiled(tmp_path, MASKING + "  - suppress: std.style.emoji\n    with: tokens\n    to: 50%\n", data)
    assert alone is not None
    assert both is not None, [d.primary.text for d in found]
    bold = next(a for a in both.plan.actions if a.concept == "std.style.bold")
    assert bold.rows_touched >= alone.plan.actions[0].rows_touched
    emoji = next(r for r in both.plan.forecast if r.name == "std.style.emoji")
    assert emoji.tilted.value == pytest.approx(0.5 * emoji.plain.value, abs=0.051 * emoji.plain.value)


def test_concepts_that_cannot_be_read_are_left_to_resolve(tmp_path: Path, data: SyntheticEvidence) -> None:
    """A second pass asks for what it can; what is refused is refused with its place when compiling."""
    own = "concepts:\n  named: {about: A label., label: abc}\n"
    result, found = compiled(tmp_path, MASKING + "  - keep: named\n", data, own)
    assert result is None
    assert "T204" in {d.code for d in found}


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 9999), n=st.integers(2, 30))
def test_the_threshold_has_the_best_f1(seed: int, n: int) -> None:
    """Against trying every score as the threshold."""
    rng = np.random.default_rng(seed)
    scores, label = rng.integers(0, 6, n).astype(float), rng.random(n) < 0.5
    label[0] = True

    def f1(threshold: float) -> float:
        said = scores >= threshold
        return 2 * float((said & label).sum()) / float(said.sum() + label.sum())

    assert f1(threshold_of(scores, label)) == pytest.approx(max(f1(s) for s in scores))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9999))
def test_the_fewest_rows_are_masked(seed: int) -> None:
    """Against the relaxed linear program: no more rows than its optimum and one for each constraint."""
    rng = np.random.default_rng(seed)
    n = 60
    before = rng.normal(0.4, 1, (n, 2))
    touched = rng.random(n) < 0.7
    after = np.where(touched[:, None], before * rng.random((n, 1)) * [1, 0.9], before)
    g0, g1 = before.mean(0), after.mean(0)
    target = 0.5 * (g0 + g1)
    problem = Problem(before, np.ones(n), target, 0.1 * np.abs(g0 - g1) + 0.02)
    found = mask(problem, after, touched, np.zeros(n, dtype=bool))
    change = ((after - before) / n)[touched].T
    slack = problem.tolerance
    relaxed = linprog(
        np.ones(change.shape[1]),
        A_ub=np.vstack([change, -change]),
        b_ub=np.concatenate([target + slack - g0, slack - target + g0]),
        bounds=(0, 1),
    )
    assert found.masked is not None
    assert not found.masked[~touched].any()
    assert found.masked.sum() <= np.ceil(relaxed.fun) + 2
    if found.feasible:
        reached = np.where(found.masked[:, None], after, before).mean(0)
        assert (np.abs(reached - target) <= slack + 1e-6).all()


def test_a_line_break_ends_the_line_before_it() -> None:
    """Features of a heading fire on the break after it: the heading goes with it, the text below stays."""
    text, starts = "# Why\n\nIt is so.", [0, 1, 5, 7, 9, 12]
    masked = np.array([False, False, True, False, False, False])
    assert _grown(masked, text, starts, "span").tolist() == [True, True, True, False, False, False]
    assert _grown(masked, text, starts, "word").tolist() == [False, True, True, False, False, False]


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("word", [False, True, True, False, False, False]), ("span", [True, True, True, False, False, False])],
)
def test_a_mask_grows_to_words_and_sentences(unit: Any, expected: list[bool]) -> None:
    """'Very **bo ld**. Not here': the second half of a word takes the first with it, a sentence takes all of its own."""
    text = "Very **bold**. Not here."
    starts = [0, 4, 9, 14, 18, 23]
    grown = _grown(np.array([False, False, True, False, False, False]), text, starts, unit)
    assert grown.tolist() == expected
