"""A sweep: what is reached at several strengths, what moves along, and how far the policy leaves the starting one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.runtime.fabricated import fabricated_trial
from tests.runtime.test_verification import told, world
from tests.runtime.tiny import tiny_model_folder
from tiltc_runtime.assess import assess
from tiltc_runtime.frontier import differences, frontiers
from tiltc_runtime.loading import load_model
from tiltc_runtime.loss import held_out_loss
from tiltc_runtime.prompts import Prompt
from tiltc_runtime.report import Report
from tiltc_runtime.report.page import render_html, render_markdown
from tiltc_runtime.report.plots import frontier_plot
from tiltc_runtime.rollouts import Rollout

__all__ = ["world"]


@pytest.fixture(scope="module")
def report() -> Report:
    return assess(fabricated_trial())[0]


def weaker(report: Report, share: float) -> Report:
    """The same verification of a plan that leaves more of every signal: another plan, other weights, other rates."""
    told = report.model_dump()
    told["plan"]["digest"] = f"{share:.1f}" * 10
    for policy in told["policies"]:
        if policy["name"] == "tilted":
            policy["digest"] = f"weights-{share}"
    for point in told["points"]:
        point["first_step_tilted"] = share * point["first_step_plain"]
    for concept in told["concepts"]:
        if concept["rates"]:
            concept["rates"]["tilted"] = {"value": share, "low": share - 0.05, "high": share + 0.05}
    return Report.model_validate(told)


def tilted(report: Report) -> str:
    return next(p.digest for p in report.policies if p.name == "tilted")


def test_points_stand_in_the_order_of_what_their_plans_leave(report: Report) -> None:
    """Of each changed signal: the share left, the level, the mean shift of the rest, the loss; kept signals have none."""
    others = [weaker(report, 0.6), weaker(report, 0.3)]
    losses = {tilted(r): loss for r, loss in zip((report, *others), (1.0, 2.0, 3.0), strict=True)}
    found = {f.name: f for f in frontiers(report, others, losses)}
    assert set(found) == {"flattery", "std.style.bold"}
    points = {p.plan: p for p in found["flattery"].points}
    assert [p.left for p in found["flattery"].points] == sorted(p.left for p in points.values())
    assert points[others[0].plan.digest].level.value == 0.6
    assert points[others[1].plan.digest].loss == 3.0
    shifts = [abs(row.shift.value) for row in report.collateral]
    assert points[report.plan.digest].spill == pytest.approx(sum(shifts) / len(shifts))


def test_the_page_and_the_table_show_every_run(report: Report) -> None:
    """The plot has a mark a run and panel, the tables a row; without a sweep there is no such section."""
    others = [weaker(report, 0.6), weaker(report, 0.3)]
    losses = {p.digest: 2.5 for r in (report, *others) for p in r.policies}
    swept = report.model_copy(update={"frontiers": frontiers(report, others, losses)})
    plot = frontier_plot(swept.frontiers[0])
    assert [len(panel.points) for panel in plot.panels] == [3, 3, 3]
    page, text = render_html(swept), render_markdown(swept)
    assert "at other strengths" in page
    assert page.count("2.500") >= 6
    assert text.count(f"`{others[0].plan.digest[:12]}`") == 2
    assert "other strengths" not in render_html(report)
    assert "other strengths" not in render_markdown(report)


def test_points_stand_inside_their_panels(report: Report) -> None:
    """Whatever the levels, marks and intervals are drawn between the panel's edges."""
    for frontier in frontiers(report, [weaker(report, 0.95), weaker(report, 0.0)], {}):
        for panel in frontier_plot(frontier).panels:
            for point in panel.points:
                assert panel.left <= point.x <= panel.right
                assert panel.top <= point.high <= point.y <= point.low <= panel.bottom


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"settings": {"rollouts": 3}}, "other prompts or settings"),
        ({"policies": {"digest": "another"}}, "another starting policy"),
        ({"concepts": {"verb": "keep"}}, "other signals"),
        ({"collateral": {"name": "another"}}, "other things are measured"),
        ({"plan": {"data": "other pairs"}}, "another training"),
    ],
)
def test_what_can_not_be_compared_is_named(report: Report, change: dict[str, Any], told: str) -> None:
    """Other settings, other policies beside it, other signals: each is a reason of its own."""
    other = report.model_dump()
    for part, values in change.items():
        for entry in other[part] if isinstance(other[part], (list, tuple)) else [other[part]]:
            entry |= values
    assert any(told in line for line in differences(report, Report.model_validate(other)))
    assert differences(report, report) == []


def test_loss_is_that_of_an_independent_computation(tmp_path: Path) -> None:
    """The mean negative log-likelihood of response tokens, computed once and kept."""
    model = load_model(str(tiny_model_folder(tmp_path / "model")))
    prompts = [Prompt(({"role": "user", "content": f"the cat {i}"},)) for i in range(3)]
    said = [Rollout(i % 3, i // 3, "the dog sat on a mat"[: 7 + 3 * i], 3, True) for i in range(4)]
    said.append(Rollout(0, 2, " ", 0, True))
    loss = held_out_loss("tiny", lambda: model, prompts, said, tmp_path / "losses.json")
    total, count = 0.0, 0
    for rollout in said[:4]:
        turns = [*prompts[rollout.prompt].messages, {"role": "assistant", "content": rollout.text}]
        start = model.tokenizer.apply_chat_template(turns[:1], tokenize=True, add_generation_prompt=True)["input_ids"]
        whole = model.tokenizer.apply_chat_template(turns, tokenize=True)["input_ids"]
        logps = model.model(torch.tensor([whole])).logits[0].log_softmax(-1)
        total -= sum(float(logps[at - 1, whole[at]]) for at in range(len(start), len(whole)))
        count += len(whole) - len(start)
    assert loss == pytest.approx(total / count, rel=1e-5)
    never = lambda: pytest.fail("computed twice")  # noqa: E731
    assert held_out_loss("tiny", never, prompts, said, tmp_path / "losses.json") == loss


def test_a_sweep_of_runs_goes_into_the_report(world: Path) -> None:
    """Runs verified beside the same baseline are put side by side; one that was not verified is refused by T654."""
    store = world / "sweep" / "evidence"
    other, bare = world / "other", world / "bare"
    shutil.copytree(world / "run", other)
    shutil.copytree(world / "run", bare, ignore=shutil.ignore_patterns("verify"))
    beside = ("--baseline", world / "base", "--store", store)
    assert told("verify", other, *beside)[0] in (0, 1)
    code, out, _ = told("verify", world / "run", *beside, "--sweep", bare)
    assert code == 1
    assert "T654" in out
    assert Report.model_validate_json((world / "run/verify/report.json").read_bytes()).frontiers == ()
    code, out, err = told("verify", world / "run", *beside, "--sweep", other, "--format", "json")
    assert code in (0, 1), err
    (frontier,) = Report.model_validate_json(out).frontiers
    assert frontier.name == "the"
    assert len(frontier.points) == 2
    assert frontier.loss_start is not None
    assert frontier.points[0].loss is not None
    assert frontier.points[0].loss != frontier.loss_start
