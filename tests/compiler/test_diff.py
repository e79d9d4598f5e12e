"""`tiltc diff`: what changes between two plans."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from tests.compiler import fabricated
from tests.compiler.golden_file import check_golden
from tests.compiler.test_show import tiltc
from tiltc.diff import PlanDiff, compare_rows, diff, render
from tiltc.figures import apart
from tiltc.plan import Action, Control, ForecastRow, Plan, Steering
from tiltc.planfile import row_table, sealed, write_plan


def later() -> tuple[Plan, pa.Table]:
    """The fabricated plan after a change of data and spec: new features, strengths, rows and settings."""
    plan = fabricated.plan()
    bold, *rest = fabricated.concepts()
    group = fabricated.group((812, 0.7), (901, 0.3))
    detection = fabricated.detection(0.97, 0.98, 0.99)
    bold = bold.model_copy(update={"group": group, "status": "weak", "detection": detection})
    actions = (
        plan.actions[0].model_copy(update={"strength": 1.1, "rows_touched": 290}),
        Action(
            mechanism="filter", signal="keep: std.style.list", concept=fabricated.LISTS, strength=5, rows_touched=5,
            because="1% of the rows carry it",
        ),
    )  # fmt: skip
    rows = fabricated.rows(offset=1.2, drop=9)
    changed = fabricated.plan(
        concepts=(bold, *rest[:3]),
        forecast=_later_forecast(),
        actions=actions,
        train=plan.train.model_copy(update={"beta": 0.2, "max_steps": 100}),
        spend=plan.spend.model_copy(update={"kept": 471, "effective_sample": 0.8649}),
        allowed=(),
        overrides={},
    )
    return sealed(changed, rows), rows


def _later_forecast() -> tuple[ForecastRow, ...]:
    bold, lists, heading, _, found = fabricated.forecast()
    bold = bold.model_copy(update={"tilted": fabricated.around(0.05, 0.01), "simulated_tilted": 0.06})
    found = found.model_copy(update={"tilted": fabricated.around(-0.25, 0.1)})
    return (bold, lists, heading, found)


def changes(**fields: Any) -> PlanDiff:
    """From the fabricated plan to one with some fields replaced."""
    return diff(fabricated.plan(), fabricated.plan(**fields), fabricated.rows(), fabricated.rows())


@pytest.mark.parametrize(("style", "ending"), [("text", "txt"), ("markdown", "md")])
def test_a_page_is_as_accepted(accept: bool, style: str, ending: str) -> None:
    """The page of a diff with something in each section is the one that a person has read and accepted."""
    plan, rows = later()
    page = render(diff(fabricated.plan(), plan, fabricated.rows(), rows), style)  # type: ignore[arg-type]
    check_golden(f"diff.{ending}", page, accept)


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_equal_plans_have_no_changes(style: str) -> None:
    """A plan compared with itself says so, in two lines."""
    page = render(changes(), style)  # type: ignore[arg-type]
    assert changes().empty
    assert page.lower().rstrip().rstrip(".").endswith("no changes")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every number, text and flag inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))
    if isinstance(value, bool | int | float | str):
        yield path


def other(value: Any) -> Any:
    """A value of the same kind that differs as little as it can."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return value + 1 if isinstance(value, int) else value * (1 + 1e-12) + 1e-12


def forward() -> Plan:
    """The fabricated plan, with what only forward forms have."""
    return fabricated.plan(
        prompts=("Use bold type.",),
        controls=(Control(signal="suppress: std.style.bold", text="Answer now."),),
        steering=(Steering(concept=fabricated.LISTS, tool="direction", key="lists.steer.1", layer=3, size=1.0),),
    )


def changed_at(path: tuple[Any, ...]) -> Plan | None:
    """That plan with one leaf changed, or None where its type allows no other value of the kind."""
    dumped = forward().model_dump(mode="json", by_alias=True)
    at = dumped
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = other(at[path[-1]])
    try:
        return Plan.model_validate(dumped, strict=False)
    except ValidationError:
        return None


def test_no_change_of_a_plan_goes_unseen() -> None:
    """Whatever number, text or flag of a plan is changed, by however little, the diff is not empty and shows it."""
    plan, rows = forward(), fabricated.rows()
    paths = [p for p in leaves(plan.model_dump(mode="json", by_alias=True)) if p != ("digest",)]
    seen = {path: diff(plan, changed, rows, rows) for path in paths if (changed := changed_at(path))}
    assert len(seen) > 200
    assert [path for path, found in seen.items() if found.empty] == []
    unchanged = render(changes()).count("\n")
    shown = {path: render(found).count("\n") for path, found in seen.items() if path != ("name",)}
    assert [path for path, lines in shown.items() if lines <= unchanged + 1] == []


def test_a_removed_signal_is_a_change() -> None:
    """A concept that only one plan has appears as taken out, with its features, its forecast and its signal."""
    _, *concepts = fabricated.concepts()
    found = changes(concepts=tuple(concepts), forecast=fabricated.forecast()[1:], actions=())
    assert [(c.name, c.before, c.after) for c in found.signals] == [(fabricated.BOLD, "suppress", None)]
    assert found.concepts[0].features_out == (77, 812)
    assert found.forecast[0].after is None
    assert [c.after for c in found.actions] == [None]
    assert "- suppress: std.style.bold (reward)" in render(found)


def test_features_in_and_out() -> None:
    """Features that a group gains, loses or weighs differently are told apart."""
    plan, rows = later()
    bold = diff(fabricated.plan(), plan, fabricated.rows(), rows).concepts[0]
    assert (bold.features_in, bold.features_out, bold.features_reweighted) == ((901,), (77,), (812,))


def table(*rows: tuple[str, bool, float, float]) -> pa.Table:
    names = ("row_id", "keep", "weight", "margin_offset")
    return row_table(dict(zip(names, zip(*rows, strict=True), strict=True)))


def test_rows_are_matched_by_id() -> None:
    """Counts and largest changes are over pairs with the same id, wherever they stand."""
    before = table(("a", True, 1.0, 0.0), ("b", True, 1.0, 0.5), ("c", False, 1.0, 0.0), ("d", True, 1.0, 0.0))
    after = table(("b", True, 1.5, -0.25), ("a", False, 1.0, 0.0), ("c", True, 1.0, 0.0), ("e", True, 1.0, 0.0))
    found = compare_rows(before, after)
    assert (found.common, found.only_before, found.only_after, found.changed) == (3, 1, 1, 3)
    assert (found.newly_dropped, found.newly_kept) == (1, 1)
    assert (found.weights, found.largest_weight, found.offsets, found.largest_offset) == (1, 0.5, 1, 0.75)
    assert found.reordered
    assert [c.row_id for c in found.examples] == ["a", "c", "b"]


def test_rows_that_are_read_otherwise_are_counted() -> None:
    """Masks, prompts and steering change no number of a pair, and are a change all the same."""
    rows = fabricated.rows()
    ids = rows.column("row_id").to_pylist()
    columns = {name: rows.column(name).to_pylist() for name in rows.column_names}
    masked = row_table(columns | {"chosen_masked": [[3, 4]] * 5 + [[]] * (len(ids) - 5)})
    found = compare_rows(rows, masked)
    assert (found.changed, found.readings, found.offsets) == (5, 5, 0)


def test_the_ten_largest_changes_are_examples() -> None:
    """Of many changed rows ten are listed, the largest first."""
    ids = [f"r{i:02}" for i in range(30)]
    before = table(*((name, True, 1.0, 0.0) for name in ids))
    after = table(*((name, True, 1.0, i / 10) for i, name in enumerate(ids)))
    assert [c.row_id for c in compare_rows(before, after).examples] == [f"r{i}" for i in range(29, 19, -1)]


def test_rows_in_another_order_are_a_change() -> None:
    """The same rows in another order are not the same plan: the data was reordered."""
    rows = fabricated.rows()
    found = compare_rows(rows, rows.take(list(reversed(range(len(rows))))))
    assert (found.reordered, found.changed, found.any) == (True, 0, True)


def test_exit_codes(tmp_path: Path) -> None:
    """0 for plans that differ, unless `--exit-code` asks for 1; 0 for equal ones; 2 for a folder that is not there."""
    write_plan(fabricated.plan(), fabricated.rows(), tmp_path / "a")
    write_plan(*later(), tmp_path / "b")
    a, b = tmp_path / "a", tmp_path / "b"
    assert tiltc("diff", a, b)[0] == 0
    assert tiltc("diff", a, b, "--exit-code")[0] == 1
    assert tiltc("diff", a, a, "--exit-code")[0] == 0
    assert tiltc("diff", a, tmp_path / "c")[0] == 2


def test_json_is_exact(tmp_path: Path) -> None:
    """`--format json` says whether the plans differ and gives both values of each change unrounded."""
    write_plan(fabricated.plan(), fabricated.rows(), tmp_path / "a")
    write_plan(*later(), tmp_path / "b")
    page = json.loads(tiltc("diff", tmp_path / "a", tmp_path / "b", "--format", "json")[1])
    assert page["different"] is True
    assert {"name": "effective_sample", "before": 0.881, "after": 0.8649} in page["spend"]
    assert page["rows"]["newly_dropped"] == 3


@pytest.mark.parametrize(
    ("before", "after"),
    [(0.1, 0.2), (0.1, 0.1000001), (1.0, 1.0 + 2**-52), (0.0, 1e-9), (5e-324, 0.0), (123456.7, 123456.70000001)],
)
def test_two_numbers_that_differ_look_different(before: float, after: float) -> None:
    """However close two numbers are, they are written with enough digits to tell them apart."""
    first, second = apart(before, after)
    assert first != second
    assert float(first) != float(second)
