"""What a plan tells its reader: what was found, what was asked, and what things are called."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.compiler import fabricated
from tests.compiler.synthetic import evidence
from tests.compiler.test_compile import BOTH, codes, compiled
from tiltc.check.measured import SHARED_WEIGHT, overlap
from tiltc.codes import CODES
from tiltc.diagnostics import Diagnostics
from tiltc.diff import diff, render
from tiltc.parse import parse
from tiltc.pipeline import compile_spec
from tiltc.plan import Interval, Plan
from tiltc.planfile import read_plan, write_plan
from tiltc.show import show
from tiltc.spec import Amplify, Keep, Suppress
from tiltc_runtime.findings import lines_that_keep
from tiltc_runtime.report.model import CollateralRow

#: apology is rare in both, so that a signal on it is weak and gets a finding
QUIET = BOTH | {"std.stance.apology": (0.02, 0.02)}


def test_the_compiles_findings_are_in_the_plan_and_come_first(tmp_path: Path) -> None:
    """Each warning that is printed is a finding of the plan, above all else on its page, and survives the disk."""
    result, found = compiled(tmp_path, "  - suppress: std.stance.apology\n", evidence(rates=QUIET))
    assert result is not None, codes(found)
    assert [f.code for f in result.plan.findings] == codes(found) != []
    write_plan(result.plan, result.rows, tmp_path / "plan")
    loaded, _ = read_plan(tmp_path / "plan")
    assert loaded is not None
    assert loaded.plan.findings == result.plan.findings
    page = show(loaded.plan)
    first = loaded.plan.findings[0]
    assert page.index(f"[{first.code}] {CODES[first.code].title}: {first.text}") < page.index("pinned")


def test_an_allowed_finding_stays_out_and_what_the_store_has_to_say_too(tmp_path: Path) -> None:
    """A plan holds no finding that its spec allows, nor one about the machine it was compiled on."""
    data: Any = evidence(rates=QUIET)
    signals = "  - suppress: std.stance.apology\n"
    result, found = compiled(tmp_path, signals, data)
    assert result is not None
    allow = "".join(f"  - {{code: {code}, because: known}}\n" for code in sorted(set(codes(found))))
    silent, _ = compiled(tmp_path, signals, data, f"allow:\n{allow}")
    assert silent is not None
    assert silent.plan.findings == ()
    spec_file, said = parse(tmp_path / "spec.yaml")
    assert spec_file is not None
    said = Diagnostics([*said])
    said.add("T703", None, "something about this machine")
    again, more = compile_spec(spec_file, data, said=said)
    assert again is not None
    assert "T703" in codes(more)
    assert again.plan.digest == silent.plan.digest


def test_a_finding_comes_and_goes_in_a_diff() -> None:
    """A warning that only the later plan has is an addition, with its numbers."""
    plan, rows = fabricated.plan(), fabricated.rows()
    page = render(diff(fabricated.plan(findings=()), plan, rows, rows))
    assert "+ warning[T409] the plan leaves 5% of `std.style.bold`" in page
    assert "in chosen alone in 160 pairs" in page


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({"to": "1.2x"}, {"to": "1.5x"}, "to: 1.2x -> 1.5x"),
        ({"to": "1.2x"}, {"to": "0.5sd"}, "to: 1.2x -> 0.5 sd"),
        ({"within": 0.05}, {"within": 0.07}, "within: 5% -> 7%"),
        ({}, {"with": "reward", "strength": 0.5}, "strength: 0.5"),
        ({"within": 0.05}, {"within": 0.05 + 1e-12}, "within: 0.05 -> 0.050000000001"),
    ],
)
def test_a_diff_says_what_is_asked_differently(before: dict[str, Any], after: dict[str, Any], line: str) -> None:
    """Targets and options stand as the spec has them, and no difference is written as two equal values."""
    rows, forecast = fabricated.rows(), list(fabricated.forecast())
    forecast[0] = forecast[0].model_copy(update={"verb": "amplify"})
    plans = [
        fabricated.plan(
            forecast=tuple(forecast), signals=(Amplify.model_validate({"amplify": fabricated.BOLD, **options}),)
        )
        for options in (before, after)
    ]
    assert f"{fabricated.BOLD} {line}\n" in render(diff(plans[0], plans[1], rows, rows))


def test_a_plan_has_the_specs_signals(tmp_path: Path) -> None:
    """In the spec's order, defaults filled in, and the same after a round trip over the disk."""
    signals = "  - keep: std.style.emoji\n  - suppress: std.style.bold\n    with: reward\n    to: 20%\n"
    result, found = compiled(tmp_path, signals, evidence(rates=BOTH))
    assert result is not None, codes(found)
    bold = Suppress.model_validate({"suppress": "std.style.bold", "to": "20%", "with": "reward"})
    asked = (Keep(keep="std.style.emoji"), bold)
    assert result.plan.signals == asked
    assert Plan.model_validate_json(result.plan.model_dump_json(by_alias=True)) == result.plan
    assert "asked       with: reward, to: 20%, within: 5%\n" in show(result.plan)


def test_nothing_to_do_is_no_action(tmp_path: Path) -> None:
    """A signal that is met as it is has no action, and the page says why; no row is dropped for it."""
    data = evidence(rates=BOTH | {"std.stance.apology": (0.0, 0.0)})
    same = dict.fromkeys(("chosen", "rejected"), data.table.column("chosen"))
    table = data.table
    for name, column in same.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    signals = "  - suppress: std.style.bold\n    readout: detector\n  - suppress: std.style.emoji\n"
    result, found = compiled(tmp_path, signals, dataclasses.replace(data, table=table))
    assert result is not None, codes(found)
    assert [a.concept for a in result.plan.actions] == ["std.style.emoji"]
    assert "action      none: the data is within tolerance of what is asked as it is" in show(result.plan)


def test_a_group_of_the_data_has_a_title_and_an_id_that_a_spec_can_name(tmp_path: Path) -> None:
    """What a plan lists as discovered can be kept by `audit: ID`: the same features, read the same way."""
    data = evidence(rates=BOTH)
    result, found = compiled(tmp_path, "  - suppress: std.style.bold\n", data)
    assert result is not None, codes(found)
    groups = result.plan.discovered
    assert groups
    assert all(g.title and g.audit.startswith("g-") for g in groups)
    assert len({g.audit for g in groups}) == len(groups)
    group = groups[0]
    extra = f"concepts:\n  found:\n    about: What the data holds together.\n    audit: {group.audit}\n"
    kept, found = compiled(tmp_path, "  - suppress: std.style.bold\n  - keep: found\n", data, extra)
    assert kept is not None, codes(found)
    concept = next(c for c in kept.plan.concepts if c.name == "found")
    assert concept.group == group.group
    assert group.called in show(result.plan) or group.name not in show(result.plan)


def test_the_lines_of_t606_compile(tmp_path: Path) -> None:
    """What the finding says to paste for a group that moved is a spec that compiles, and keeps that group."""
    data = evidence(rates=BOTH)
    bold = "  - suppress: std.style.bold\n"
    result, found = compiled(tmp_path, bold, data)
    assert result is not None, codes(found)
    rows = {row.name: row for row in result.plan.forecast}
    changed = next(c.group for c in result.plan.concepts if c.name == "std.style.bold")
    assert changed is not None
    # what is read from the features that are suppressed can't be kept, and `verify` offers no line for it
    free = [g for g in result.plan.discovered if overlap(g.group, changed)[0] <= SHARED_WEIGHT]
    assert free
    for group in free:
        moved = rows[group.name]
        if abs(moved.tilted.value / moved.plain.value - 1) >= 0.99:
            continue
        row = CollateralRow(
            name=group.name, title=group.title, audit=group.audit, kind="discovered", p=0.0, q=0.0,
            shift=Interval(value=0.4, low=0.3, high=0.5), along=abs(moved.tilted.value / moved.plain.value - 1),
        )  # fmt: skip
        entry, signal = (line.partition("`  ")[2] for line in lines_that_keep(row, {"std.style.bold"})[:2])
        kept, found = compiled(tmp_path, f"{bold}  {signal}\n", data, f"concepts:\n  {entry}\n")
        assert kept is not None, codes(found)
        concepts = {c.definition.audit: c for c in kept.plan.concepts}
        assert concepts[group.audit].group == group.group
