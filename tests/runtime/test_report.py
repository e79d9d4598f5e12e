"""From made-up rollouts with planted truth to the report, its findings and its pages."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.runtime.fabricated import CONTROLS, GROUPS, LIBRARY, RATES, fabricated_plan, fabricated_trial, true_shift
from tiltc.plan import Apart, ForecastRow, Interval, PlanConcept
from tiltc.spec import Concept
from tiltc_runtime.assess import Answers, Trial, assess
from tiltc_runtime.findings import lines_that_keep
from tiltc_runtime.prompts import Prompt
from tiltc_runtime.report import Report, figures, write_report
from tiltc_runtime.report.marks import marks
from tiltc_runtime.report.model import (
    CollateralRow,
    ConceptOutcome,
    ForecastPoint,
    Mark,
    PolicyName,
    SampleText,
    Verdict,
)
from tiltc_runtime.report.page import headline, pieces, render_html, render_markdown
from tiltc_runtime.report.plots import axis, level_plot, nice_step, scatter_plot, shift_plot
from tiltc_runtime.rollouts import Rollout
from tiltc_runtime.verbs.verify import summary_table

POLICIES = ("start", "plain", "tilted")


@pytest.fixture(scope="module")
def trial() -> Trial:
    return fabricated_trial()


@pytest.fixture(scope="module")
def report(trial: Trial) -> Report:
    return assess(trial)[0]


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render_html(report)


def concept(report: Report, name: str) -> ConceptOutcome:
    return next(c for c in report.concepts if c.name == name)


def test_planted_rates_are_recovered(report: Report) -> None:
    """Every rate's interval holds the rate that was planted."""
    for name, planted in RATES.items():
        levels = concept(report, name).rates
        assert levels is not None
        for policy, rate in zip(POLICIES, planted, strict=True):
            found: Interval = getattr(levels, policy)
            assert found.low <= rate <= found.high, (name, policy)


def test_verdicts_follow_the_planted_rates(report: Report) -> None:
    """What was suppressed, left alone and kept is called that; 240 rollouts that agree are no proof of 1.5 points."""
    verdicts = {c.name: c.verdict for c in report.concepts if c.verb}
    assert verdicts == {"flattery": "suppressed", "std.style.bold": "no effect", "std.style.list": "kept within noise"}


def test_findings_say_what_needs_a_reaction(trial: Trial) -> None:
    """The signal without effect is reported, with its numbers; the others are not."""
    report, found = assess(trial)
    assert [(d.code, d.primary.text) for d in found] == [("T601", "suppress: std.style.bold")]
    assert [f.code for f in report.findings] == ["T601"]
    assert any("tilted minus plain: 0.0 points" in note for note in report.findings[0].notes)


def test_realised_shifts_recover_the_planted_ones(report: Report) -> None:
    """Nearly all intervals of realised shifts hold the planted shift, which is a third of the simulated forecast."""
    rows = {row.name: row for row in fabricated_plan().forecast}
    held = [
        p.realised_tilted.low <= true_shift(rows[p.name], "tilted") <= p.realised_tilted.high for p in report.points
    ]
    assert len(held) == len(RATES) + len(LIBRARY) + GROUPS
    assert np.mean(held) > 0.88


def test_the_forecast_that_is_true_wins(report: Report) -> None:
    """Realised shifts follow the simulated forecast here, and the report says so with the right slope."""
    tests = {(t.forecast, t.shift): t for t in report.forecasts}
    assert set(tests) == {(f, s) for f in ("first_step", "simulated") for s in ("tilted", "plain", "difference")}
    best = tests["simulated", "tilted"]
    assert best.slope == pytest.approx(1 / 3, abs=0.05)
    assert best.noise_ceiling is not None
    assert best.r2.value == pytest.approx(best.noise_ceiling.value, abs=0.1)
    assert best.permutation_p < 0.01
    assert report.better is not None
    assert report.better.forecast == "simulated"


def test_collateral_holds_what_nobody_named_by_size(report: Report) -> None:
    """Named concepts are no collateral; the rest is sorted, with q no smaller than p."""
    assert {row.name for row in report.collateral}.isdisjoint(RATES)
    assert len(report.collateral) == len(LIBRARY) + GROUPS
    sizes = [abs(row.shift.value) for row in report.collateral]
    assert sizes == sorted(sizes, reverse=True)
    assert all(row.q >= row.p for row in report.collateral)


def test_a_planted_side_effect_is_found(trial: Trial) -> None:
    """A library concept that moves by half an sd is T606 and comes first."""
    tilted = trial.answers["tilted"]
    moved = {**tilted.scored.score, "std.emoji": tilted.scored.score["std.emoji"] + 0.5}
    report, found = assess(with_scores(trial, moved))
    assert report.collateral[0].name == "std.emoji"
    assert report.collateral[0].q < 0.001
    assert "T606" in [d.code for d in found]


def named(trial: Trial) -> Trial:
    """The trial with titles and ids on the plan's groups."""
    groups = tuple(
        g.model_copy(update={"title": "heading · overview · #", "audit": f"g-{i:012x}"})
        for i, g in enumerate(trial.plan.discovered)
    )
    return replace(trial, plan=trial.plan.model_copy(update={"discovered": groups}))


def test_a_group_that_moves_is_told_by_what_it_is(trial: Trial) -> None:
    """T606 and the page call a discovered group by title and id, and the finding has lines that a spec can take."""
    titled = named(trial)
    moved = {**trial.answers["tilted"].scored.score}
    moved["group-02"] = moved["group-02"] + 0.8
    report, found = assess(with_scores(titled, moved))
    t606 = next(d for d in found if d.code == "T606")
    assert t606.notes[0].startswith("heading · overview · # (g-000000000002): ")
    lines = [help.partition("`  ")[2] for help in t606.helps[:2]]
    spec = yaml.safe_load(f"concepts:\n  {lines[0]}\nsignals:\n  {lines[1]}\n")
    assert spec["concepts"] == {
        "heading-overview": {"about": "Responses like those with heading overview.", "audit": "g-000000000002"}
    }
    (signal,) = spec["signals"]
    assert signal.pop("keep") == "heading-overview"
    assert signal.keys() <= {"within"}
    page = render_html(report)
    assert "audit: g-000000000002" in page
    assert "heading · overview · # (g-000000000002)" in render_markdown(report)


def test_a_title_that_is_no_name_gets_one(trial: Trial) -> None:
    """Titles without a word, or with the name of a concept that there is, give a name that is free and legal."""
    for title in ("(no distinctive words)", "flattery", "**", "on", "6 of 7"):
        row = CollateralRow(
            name="group-02", title=title, audit="g-0123456789ab", kind="discovered", p=0.0, q=0.0,
            shift=Interval(value=1.0, low=0.5, high=1.5),
        )  # fmt: skip
        entry = yaml.safe_load(lines_that_keep(row, {"flattery"})[0].partition("`  ")[2])
        (name,) = entry
        assert isinstance(name, str)
        assert name != "flattery"
        Concept.model_validate(entry[name])


def test_the_headline_counts(report: Report) -> None:
    """Met, within noise and failed, and what could not be measured, add up to the signals."""
    assert headline(report) == "3 signals: 1 met beyond noise, 1 within noise, 1 failed."
    every: list[Verdict] = ["suppressed", "kept within noise", "moved", "overshot", "not measurable"]
    concepts = tuple(report.concepts[0].model_copy(update={"verdict": v}) for v in every)
    told = headline(report.model_copy(update={"concepts": concepts, "findings": ()}))
    assert told == (
        "5 signals: 1 met beyond noise, 1 within noise, 2 failed (1 of them against the spec), 1 not measurable."
    )


def test_a_keep_of_what_never_occurs_is_no_success(trial: Trial) -> None:
    """A kept concept in 0 of n rollouts of every policy is T605, and no line of the page gives it a zero interval."""
    answers = {
        policy: replace(a, scored=replace(a.scored, present=a.scored.present | {"std.style.list": np.zeros(240)}))
        for policy, a in trial.answers.items()
    }
    report, found = assess(replace(trial, answers=answers))
    kept = concept(report, "std.style.list")
    assert (kept.verdict, kept.measure) == ("not measurable", "rate")
    assert "T605" in [d.code for d in found if "std.style.list" in d.primary.text]
    assert kept.difference is not None
    assert kept.difference.low < 0 < kept.difference.high


def with_scores(trial: Trial, score: dict[str, np.ndarray]) -> Trial:
    tilted = trial.answers["tilted"]
    scored = type(tilted.scored)(tilted.scored.present, score, tilted.scored.degenerate)
    answers: dict[PolicyName, Answers] = {**trial.answers, "tilted": Answers(tilted.digest, tilted.rollouts, scored)}
    return Trial(trial.plan, trial.verify, trial.prompts, answers)


def test_an_unrelated_forecast_is_called_chance(trial: Trial) -> None:
    """When shifts have nothing to do with the forecast, T607 says so."""
    rng = np.random.default_rng(1)
    start = trial.answers["start"].scored.score
    unrelated = {name: start[name] + rng.normal(0, 0.3) + 0.3 * rng.normal(size=len(trial.prompt)) for name in start}
    _, found = assess(with_scores(trial, unrelated))
    assert "T607" in [d.code for d in found]


def test_loops_are_reported(trial: Trial) -> None:
    """A policy that stopped writing text is T608."""
    tilted = trial.answers["tilted"]
    looping = type(tilted.scored)(tilted.scored.present, tilted.scored.score, np.arange(len(trial.prompt)) % 3 == 0)
    answers: dict[PolicyName, Answers] = {**trial.answers, "tilted": Answers(tilted.digest, tilted.rollouts, looping)}
    report, found = assess(Trial(trial.plan, trial.verify, trial.prompts, answers))
    assert "T608" in [d.code for d in found]
    assert "no language" in render_html(report)


def test_without_a_baseline_the_report_says_less() -> None:
    """No plain column, no recovery, and a suppress that stayed put is not measurable."""
    report, found = assess(fabricated_trial(baseline=False))
    assert not report.has_baseline
    assert {t.shift for t in report.forecasts} == {"tilted"}
    assert concept(report, "flattery").verdict == "not measurable"
    assert concept(report, "flattery").recovery is None
    assert "T605" in [d.code for d in found]
    page = render_html(report)
    assert "There is no baseline run" in page
    assert "Tilted − start" in page
    assert "no baseline run" in render_markdown(report)


def test_a_control_run_stands_beside() -> None:
    """Planted: three quarters of what is done to flattery any sentence does. Its column and line are in every form of the
    report, and nothing else of the report is another."""
    report, found = assess(fabricated_trial(control=0.75))
    without = assess(fabricated_trial())[0]
    assert report.has_control
    flattery = concept(report, "flattery")
    assert flattery.rates is not None
    assert flattery.rates.control is not None
    assert flattery.rates.control.value == pytest.approx(0.40 - 0.75 * 0.33, abs=0.06)
    assert flattery.beside is not None
    assert flattery.beside.share is not None
    assert flattery.beside.share.low <= 0.75 <= flattery.beside.share.high
    assert flattery.beside.texts == tuple(c.text for c in CONTROLS)
    # bold is suppressed by other means, which the control run shares with the tilted one
    bold = concept(report, "std.style.bold")
    assert bold.beside is None
    assert bold.rates is not None
    assert bold.rates.control is not None
    assert [d.code for d in found] == ["T601"]
    assert stripped(report) == without
    said = figures.against_control(flattery.beside, "rate")
    assert said.startswith("unrelated sentences alone make 7")
    page, markdown, table = render_html(report), render_markdown(report), summary_table(report)
    for text in (figures.shift_ends(flattery.beside.beyond, "rate"), figures.level(flattery.rates.control, "rate")):
        assert text in page
        assert text in markdown
        assert text in table
    assert f"suppress flattery: {said}" in table
    assert f"**suppress flattery**: {said}" in markdown
    assert "&lt;b&gt;now&lt;/b&gt;" in page
    assert not parsed(page).open
    assert [len(line.split("|")) for line in markdown.split("\n") if line.startswith("| ")][:5] == [11] * 5


def test_a_readout_that_fails_on_the_control_takes_nothing_from_the_rest() -> None:
    """A pattern that ran out of time on one of the control's texts: the concept is judged as without a control run."""
    trial = fabricated_trial(control=0.75)
    lacking = {k: v for k, v in trial.answers["control"].scored.present.items() if k != "flattery"}
    answers = replace(trial.answers["control"], scored=replace(trial.answers["control"].scored, present=lacking))
    report, _ = assess(replace(trial, answers={**trial.answers, "control": answers}))
    flattery, without = concept(report, "flattery"), concept(assess(fabricated_trial())[0], "flattery")
    assert flattery == without.model_copy(update={"scores": flattery.scores})
    assert flattery.rates is not None
    assert flattery.rates.control is None


def stripped(report: Report) -> Report:
    """The report without what the control run adds."""
    plain = [p for p in report.policies if p.name != "control"]
    concepts = [
        c.model_copy(
            update={
                "beside": None,
                "rates": c.rates.model_copy(update={"control": None}) if c.rates else None,
                "scores": c.scores.model_copy(update={"control": None}) if c.scores else None,
            }
        )
        for c in report.concepts
    ]
    collateral = [
        r.model_copy(update={"rates": r.rates.model_copy(update={"control": None}) if r.rates else None})
        for r in report.collateral
    ]
    findings = [
        f.model_copy(update={"notes": tuple(re.sub(r", control [\d.]+%", "", n) for n in f.notes)})
        for f in report.findings
    ]
    samples = [sample.model_copy(update={"control": None}) for sample in report.samples]
    lists = {
        "policies": plain,
        "concepts": concepts,
        "collateral": collateral,
        "samples": samples,
        "findings": findings,
    }
    return report.model_copy(update={name: tuple(of) for name, of in lists.items()})


def test_an_effect_of_any_sentence_is_told() -> None:
    """Where the control does as much as the instruction, T609 says so; a control that does nothing is no finding."""
    _, all_of_it = assess(fabricated_trial(control=1.0))
    assert ("T609", "suppress: flattery") in [(d.code, d.primary.text) for d in all_of_it]
    note = next(d for d in all_of_it if d.code == "T609").notes[0]
    assert note.startswith("tilted minus control: 0.0 points")
    _, more = assess(fabricated_trial(control=1.2))
    assert "T609" in [d.code for d in more]
    for share in (0.0, 0.5):
        assert "T609" not in [d.code for d in assess(fabricated_trial(control=share))[1]]


def test_a_control_without_a_baseline_says_what_it_can() -> None:
    """Nobody knows then what there was to take away: tilted minus control is shown, and no share."""
    report, found = assess(fabricated_trial(baseline=False, control=0.5))
    beside = concept(report, "flattery").beside
    assert beside is not None
    assert (beside.by_itself, beside.share) == (None, None)
    assert figures.against_control(beside, "rate").startswith("tilted − control −")
    assert "T609" not in [d.code for d in found]
    assert "Tilted − control" in render_html(report)
    render_markdown(report)
    summary_table(report)


GATE = PlanConcept(
    name="topic", role="gate", status="resolved", readout="detector",
    definition=Concept(about="Some questions.", pattern=r"Question 1\d\b", reads="prompt"),
)  # fmt: skip


def test_a_gate_decides_which_rollouts_count(trial: Trial) -> None:
    """A gated signal is judged on prompts that express its gate, and not at all when none does."""
    report = assess(gated(trial, GATE))[0]
    assert concept(report, "flattery").rollouts == 20
    assert concept(report, "flattery").when == "topic"
    never = GATE.model_copy(update={"definition": Concept(about="None.", words=("zebra",), reads="prompt")})
    report, found = assess(gated(trial, never))
    assert concept(report, "flattery").verdict == "not measurable"
    assert ("T605", "suppress: flattery when topic") in [(d.code, d.primary.text) for d in found]
    render_html(report)
    render_markdown(report)


def shut(trial: Trial) -> np.ndarray:
    """(rollouts,) where `GATE` is shut."""
    return np.array([not 10 <= p < 20 for p in trial.prompt])


def codes_of(trial: Trial) -> list[str]:
    return [d.code for d in assess(trial)[1]]


def test_what_happens_outside_of_a_gate_is_told(trial: Trial) -> None:
    """Levels and difference where the gate is shut are in every form of the report, and T610 where there is a difference."""
    report, found = assess(gated(trial, GATE))
    flattery = concept(report, "flattery")
    outside = flattery.outside
    assert outside is not None
    assert (outside.rollouts, outside.prompts) == (220, 110)
    shown = {name: trial.answers[name].scored.present["flattery"] for name in POLICIES}
    for name in POLICIES:
        assert getattr(outside.levels, name).value == pytest.approx(shown[name][shut(trial)].mean())
    made = shown["tilted"] - shown["plain"]
    assert outside.difference is not None
    assert outside.difference.value == pytest.approx(made[shut(trial)].mean())
    assert outside.beyond is not None
    assert outside.beyond.value == pytest.approx(made[~shut(trial)].mean() - made[shut(trial)].mean())
    assert outside.beyond.low < outside.beyond.value < outside.beyond.high
    assert [d.primary.text for d in found if d.code == "T610"] == ["suppress: flattery when topic"]
    page, markdown = render_html(report), render_markdown(report)
    assert not parsed(page).open
    table = page.partition('id="outside-table"')[2].partition("</table>")[0]
    section = markdown.partition("## Outside of the gate")[2].partition("##")[0]
    for value in (outside.difference, outside.beyond):
        assert figures.shift_ends(value, "rate") in table
        assert figures.shift(value, "rate") in section
    assert columns(section) == {9}
    assert f"where its gate is shut, tilted - plain {figures.shift(outside.difference, 'rate')}" in summary_table(
        report
    )
    assert concept(report, "std.style.bold").outside is None


def columns(markdown: str) -> set[int]:
    return {row.count(" | ") + 1 for row in markdown.strip().split("\n") if row.startswith("| ")}


def test_the_outside_has_a_control_too() -> None:
    """With a control run its level stands beside the others."""
    report = assess(gated(fabricated_trial(control=0.5), GATE))[0]
    outside = concept(report, "flattery").outside
    assert outside is not None
    assert outside.levels.control is not None
    section = render_markdown(report).partition("## Outside of the gate")[2].partition("##")[0]
    assert columns(section) == {10}
    assert figures.level(outside.levels.control, "rate") in section


def test_a_gate_that_holds_is_no_finding(trial: Trial) -> None:
    """Where the tilted policy answers as the plain one outside of the gate, the difference is zero and there is no T610."""
    plain, tilted = (trial.answers[name].scored.present["flattery"] for name in ("plain", "tilted"))
    scored = trial.answers["tilted"].scored
    present = {**scored.present, "flattery": np.where(shut(trial), plain, tilted)}
    answers = {**trial.answers, "tilted": replace(trial.answers["tilted"], scored=replace(scored, present=present))}
    held = replace(gated(trial, GATE), answers=answers)
    outside = concept(assess(held)[0], "flattery").outside
    assert outside is not None
    assert outside.difference is not None
    assert outside.difference.value == 0.0
    assert outside.difference.low < 0.0 < outside.difference.high
    assert "T610" not in codes_of(held)


def test_outside_is_where_no_signal_of_the_concept_is_open(trial: Trial) -> None:
    """Two gated signals have one outside, which is none of their prompts; beside an ungated one there is none at all. A gate
    of `keep` opens nothing, and has no outside of its own."""
    behind = gated(trial, GATE)
    mine = next(r for r in behind.plan.forecast if r.name == "flattery")
    other = GATE.model_copy(
        update={"name": "other", "definition": Concept(about="Others.", pattern=r"Question 2\d\b", reads="prompt")}
    )

    def with_rows(*rows: ForecastRow) -> Trial:
        rest = tuple(r for r in behind.plan.forecast if r.name != "flattery")
        plan = behind.plan.model_copy(update={"forecast": (*rows, *rest), "concepts": (*behind.plan.concepts, other)})
        return replace(behind, plan=plan)

    both = with_rows(mine, mine.model_copy(update={"when": "other"}))
    outsides = [c.outside for c in assess(both)[0].concepts if c.name == "flattery"]
    assert [o.rollouts for o in outsides if o] == [200, 200]
    assert codes_of(both).count("T610") == 2
    everywhere = with_rows(mine, mine.model_copy(update={"when": None, "verb": "amplify"}))
    assert [c.outside for c in assess(everywhere)[0].concepts if c.name == "flattery"] == [None, None]
    kept = with_rows(mine, mine.model_copy(update={"when": "other", "verb": "keep"}))
    outsides = [c.outside for c in assess(kept)[0].concepts if c.name == "flattery"]
    assert [o and o.rollouts for o in outsides] == [220, None]


def test_what_has_no_rate_is_told_by_score(trial: Trial) -> None:
    """Outside of its gate, too, a concept that nothing detects is measured by its readout."""
    without = {
        name: replace(
            a, scored=replace(a.scored, present={k: v for k, v in a.scored.present.items() if k != "flattery"})
        )
        for name, a in trial.answers.items()
    }
    flattery = concept(assess(replace(gated(trial, GATE), answers=without))[0], "flattery")
    assert flattery.measure == "score"
    assert flattery.outside is not None
    score = trial.answers["tilted"].scored.score["flattery"]
    assert flattery.outside.levels.tilted.value == pytest.approx(score[shut(trial)].mean())


@pytest.mark.parametrize(("numbers", "told"), [("34", False), (r"\d", True)])
def test_a_few_prompts_outside_of_a_gate_are_no_finding(trial: Trial, numbers: str, told: bool) -> None:
    """A bootstrap over two prompts is no interval, however clear their difference: they are shown, and nothing is concluded.
    Ten are enough."""
    most = GATE.model_copy(
        update={"definition": Concept(about="Most.", pattern=rf"Question (?![{numbers}]:)\d", reads="prompt")}
    )
    few = np.isin(trial.prompt, (3, 4) if numbers == "34" else range(10))
    answers = dict(trial.answers)
    sides: tuple[tuple[PolicyName, float], ...] = (("plain", 1.0), ("tilted", 0.0))
    for name, value in sides:
        scored = answers[name].scored
        present = {**scored.present, "flattery": np.where(few, value, scored.present["flattery"])}
        answers[name] = replace(answers[name], scored=replace(scored, present=present))
    report, found = assess(replace(gated(trial, most), answers=answers))
    outside = concept(report, "flattery").outside
    assert outside is not None
    assert outside.prompts == (10 if told else 2)
    assert outside.difference is not None
    assert outside.difference.value == outside.difference.low == -1.0
    assert outside.difference.high < 0.0
    assert ("T610" in [d.code for d in found]) == told


def test_without_a_baseline_the_outside_is_against_the_start() -> None:
    """The shift is shown; that it is the plan's doing nobody knows, so it is no finding."""
    report, found = assess(gated(fabricated_trial(baseline=False), GATE))
    outside = concept(report, "flattery").outside
    assert outside is not None
    assert (outside.difference, outside.beyond) == (None, None)
    assert "T610" not in [d.code for d in found]
    assert figures.shift_ends(outside.shift_tilted, "rate") in render_html(report)
    section = render_markdown(report).partition("## Outside of the gate")[2].partition("##")[0]
    assert figures.shift(outside.shift_tilted, "rate") in section
    assert columns(section) == {9}


def test_a_concept_that_gated_signals_name_is_no_collateral(trial: Trial) -> None:
    """Its row over all pairs is measured, and never listed among what no signal names."""
    rows = [r.model_copy(update={"verb": None}) if r.name == "flattery" else r for r in trial.plan.forecast]
    plan = trial.plan.model_copy(update={"forecast": tuple(rows)})
    report, _ = assess(Trial(plan, trial.verify, trial.prompts, trial.answers))
    assert concept(report, "flattery").verb is None
    assert "flattery" not in {row.name for row in report.collateral}


def test_what_is_told_apart_is_read_less_the_others(trial: Trial) -> None:
    """Such a signal has no rate: it is judged by its concept's readout less coefficient times those of the others."""
    apart = Apart(coefficients={"std.style.bold": 0.4}, explained=0.3)
    rows = tuple(r.model_copy(update={"apart": apart}) if r.name == "flattery" else r for r in trial.plan.forecast)
    told = Trial(trial.plan.model_copy(update={"forecast": rows}), trial.verify, trial.prompts, trial.answers)
    report, _ = assess(told)
    found, whole = concept(report, "flattery"), assess(trial)[0]
    assert (found.measure, found.rates) == ("score", None)
    assert found.label == "flattery apart from std.style.bold"
    parts = {c.name: c.scores for c in whole.concepts if c.name in ("flattery", "std.style.bold")}
    for policy in ("start", "tilted"):
        expected = getattr(parts["flattery"], policy).value - 0.4 * getattr(parts["std.style.bold"], policy).value
        assert getattr(found.scores, policy).value == pytest.approx(expected)
    assert "apart from std.style.bold" in render_html(report)
    assert "flattery apart from std.style.bold" in render_markdown(report)


def gated(trial: Trial, gate: PlanConcept) -> Trial:
    forecast = tuple(r.model_copy(update={"when": "topic"}) if r.name == "flattery" else r for r in trial.plan.forecast)
    plan = trial.plan.model_copy(update={"concepts": (*trial.plan.concepts, gate), "forecast": forecast})
    return Trial(plan, trial.verify, trial.prompts, trial.answers)


def test_the_report_is_the_same_twice_and_reads_back(report: Report, tmp_path: Path) -> None:
    """Same rollouts, same bytes; report.json is the whole report."""
    again = assess(fabricated_trial())[0]
    write_report(report, tmp_path / "a")
    write_report(again, tmp_path / "b")
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    text = (tmp_path / "a" / "report.json").read_text(encoding="utf-8")
    assert Report.model_validate_json(text) == report
    assert json.loads(text)["settings"]["rollouts"] == 240


class Tags(HTMLParser):
    """Every start tag with its attributes, and unclosed or misplaced ones."""

    VOID = frozenset({"meta", "link", "br", "input", "img", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


def test_the_page_is_well_formed_and_has_unique_ids(page: str) -> None:
    """Every tag is closed where it should be, and every reference leads to an id."""
    tags = parsed(page)
    assert not tags.open
    ids = [a["id"] for _, a in tags.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in tags.tags:
        for reference in re.split(r"\s+", attributes.get("aria-labelledby") or ""):
            assert not reference or reference in ids


def test_the_page_loads_nothing(page: str) -> None:
    """No attribute names another place, and the page's own policy forbids it."""
    tags = parsed(page)
    for tag, attributes in tags.tags:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:,")), (tag, name, value)
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_everything_can_be_read_without_seeing_it(page: str) -> None:
    """Tables have captions and scoped heads, figures a title and a description, inputs a label, the page a language."""
    tags = parsed(page).tags
    count = {tag: sum(t == tag for t, _ in tags) for tag in ("table", "caption", "svg", "desc", "input")}
    assert count["table"] == count["caption"] > 3
    assert all(a.get("scope") in ("col", "row") for t, a in tags if t == "th")
    assert count["svg"] == count["desc"] == sum(t == "svg" and a.get("role") == "img" for t, a in tags)
    assert len(re.findall(r"<label>[^<]*<input", page)) == count["input"] > 2
    assert ("html", {"lang": "en"}) in tags


def test_what_a_model_wrote_stays_text(trial: Trial) -> None:
    """Markup, scripts and control characters in prompts and rollouts do nothing to the page."""
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)> & \x1b[31m"
    answers: dict[PolicyName, Answers] = {
        policy: Answers(a.digest, [Rollout(r.prompt, r.sample, hostile, 3, True) for r in a.rollouts], a.scored)
        for policy, a in trial.answers.items()
    }
    prompts = tuple(Prompt(({"role": "user", "content": f"{hostile} {i}"},)) for i in range(len(trial.prompts)))
    page = render_html(assess(Trial(trial.plan, trial.verify, prompts, answers))[0])
    tags = [tag for tag, _ in parsed(page).tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_pages_hold_every_number_they_should(report: Report, page: str) -> None:
    """All concepts and groups are on the page, and the levels of the signals in the Markdown."""
    for row in report.points:
        assert row.name in page
    markdown = render_markdown(report)
    flattery = concept(report, "flattery")
    assert flattery.rates is not None
    assert f"{100 * flattery.rates.tilted.value:.1f}%" in markdown
    assert "**suppressed**" in markdown


def test_marks_show_what_the_detector_counted() -> None:
    """Matches of the pattern and the bold words are marked where they stand, without overlap."""
    concepts = [c for c in fabricated_plan().concepts if c.role == "declared"]
    text = "Great question! Air **scatters** light."
    found = marks(concepts, text)
    assert [(text[m.start : m.end], m.concept) for m in found] == [
        ("Great question", "flattery"), ("**scatters**", "std.style.bold"),
    ]  # fmt: skip
    assert marks(concepts, "Nothing to see.") == ()


def test_lexicon_marks_follow_the_detectors_rules() -> None:
    """Whole words in any case, spaces of any width, either apostrophe."""
    words = (
        fabricated_plan()
        .concepts[0]
        .model_copy(update={"definition": Concept(about="w", words=("don't worry", "sorry"))})
    )
    text = "SORRY, don’t\nworry; sorrynot."
    assert [text[m.start : m.end] for m in marks([words], text)] == ["SORRY", "don’t\nworry"]


def test_pieces_put_the_text_back_together() -> None:
    """Marked and unmarked runs are the whole text in order."""
    sample = SampleText(text="ab cd ef", marks=(Mark(start=0, end=2, concept="x"), Mark(start=6, end=8, concept="y")))
    assert pieces(sample) == [("ab", "x"), (" cd ", ""), ("ef", "y")]


def test_axes_hold_all_values_and_have_round_ticks() -> None:
    """Positions grow with values, zero is on the axis, and ticks are 1, 2 or 5 times a power of ten."""
    scale = axis([-0.13, 0.42], 0, 100)
    assert scale.at(-0.13) > 0
    assert scale.at(0.42) < 100
    assert scale.at(-0.13) < scale.at(0.0) < scale.at(0.42)
    assert scale.ticks() == pytest.approx([-0.1, 0.0, 0.1, 0.2, 0.3, 0.4])
    for width in (0.003, 0.7, 12.0, 9e4):
        assert f"{nice_step(width, 5):.0e}"[0] in "125"


def test_figures_place_larger_values_further(report: Report) -> None:
    """In every figure the order of positions is the order of numbers."""
    levels = level_plot(report.concepts, "rate")
    assert levels is not None
    flattery = next(row for row in levels.rows if row.name == "flattery")
    at = {dot.policy: dot.x for dot in flattery.dots}
    assert at["start"] < at["tilted"] < at["plain"]
    assert [row.verb is not None for row in levels.rows[:4]] == [True, True, True, False]
    scatter = scatter_plot(report.points, "simulated", 0.3)
    by_name: dict[str, ForecastPoint] = {p.name: p for p in report.points}
    ordered = sorted(scatter.points, key=lambda p: p.x)
    assert [by_name[p.name].simulated_tilted for p in ordered] == sorted(p.simulated_tilted for p in report.points)
    collateral = shift_plot(report.collateral, 0.05)
    assert collateral is not None
    assert all(
        (row.x > collateral.zero) == (r.shift.value > 0)
        for row, r in zip(collateral.rows, report.collateral, strict=False)
    )


def test_numbers_are_written_as_people_read_them() -> None:
    """Rates in percent, their differences in points, scores in sd, minus signs that are minus signs."""
    value = Interval(value=-0.068, low=-0.112, high=-0.024)
    assert figures.level(Interval(value=0.151, low=0.1, high=0.2), "rate") == "15.1%"
    assert figures.shift(value, "rate") == "−6.8 points (−11.2 to −2.4)"
    assert figures.shift(value, "score") == "−0.07 sd (−0.11 to −0.02)"
    assert figures.recovery(None) == "not defined"
    assert figures.signed(-0.0001) == "0.00"
    assert figures.brief(5e-6) == "5e-6"
