"""`tiltc show`: the page a reviewer reads."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.compiler import fabricated
from tests.compiler.golden_file import check_golden
from tiltc.cli import main
from tiltc.figures import interval, markdown, number, one_line, printable, signed, table
from tiltc.plan import Allowed, Plan
from tiltc.planfile import write_plan
from tiltc.show import met, remaining, show, summary, view


def tiltc(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    code = main([str(argument) for argument in arguments], out, err)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_plan(fabricated.plan(), fabricated.rows(), tmp_path / "plan")
    return tmp_path / "plan"


@pytest.mark.parametrize(("style", "ending"), [("text", "txt"), ("markdown", "md")])
def test_a_page_is_as_accepted(accept: bool, style: str, ending: str) -> None:
    """The page of the fabricated plan is, letter for letter, the one that a person has read and accepted."""
    check_golden(f"show.{ending}", show(fabricated.plan(), style), accept)  # type: ignore[arg-type]


def test_what_compile_prints_is_as_accepted(accept: bool) -> None:
    """The short form is the accepted one."""
    check_golden("summary.txt", summary(fabricated.plan()), accept)


def test_json_holds_the_plans_own_numbers(folder: Path) -> None:
    """`--format json` gives numbers as the plan holds them, not as the page rounds them."""
    code, out, _ = tiltc("show", folder, "--format", "json")
    page, plan = json.loads(out), fabricated.plan()
    assert code == 0
    assert page["signals"][0]["actions"][0]["strength"] == plan.actions[0].strength
    assert page["signals"][0]["forecast"]["tilted"] == plan.forecast[0].tilted.model_dump()
    assert page["digest"] == plan.digest
    assert [row["name"] for row in page["collateral"]] == ["found-1", fabricated.HEADING, fabricated.CODE]


def test_a_plan_whose_world_is_gone_is_still_shown(folder: Path) -> None:
    """Nothing that a plan pins is there in the test, and the plan can be read all the same."""
    code, out, err = tiltc("show", folder)
    assert (code, err) == (0, "")
    assert out == show(fabricated.plan())


def test_an_edited_plan_is_not_shown_as_if_it_were_whole(folder: Path) -> None:
    """A plan changed by hand gives T521 and exit code 1 instead of a page."""
    file = folder / "plan.json"
    file.write_text(file.read_text().replace("0.83", "0.84"))
    code, out, err = tiltc("show", folder)
    assert code == 1
    assert "T521" in out
    assert "signals" not in out
    assert err == "1 error\n"


def test_a_missing_folder_is_wrong_usage(tmp_path: Path) -> None:
    """A plan folder that is not there is exit code 2 and one line."""
    code, out, err = tiltc("show", tmp_path / "nothing")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


def test_the_furthest_moved_comes_first_and_only_some_are_listed() -> None:
    """Collateral is sorted by how far it moves; the page lists eight and says of how many."""
    row = fabricated.forecast()[2]
    tilted = [fabricated.around(0.1 - i / 100, 0.05) for i in range(20)]
    rows = [row.model_copy(update={"name": f"c{i}", "tilted": value}) for i, value in enumerate(tilted)]
    page = view(fabricated.plan(forecast=(*fabricated.forecast()[:2], *rows)))
    assert [r.name for r in page.movers] == [f"c{i}" for i in range(19, 11, -1)]
    assert "(8 of 20)" in show(page.plan)


def test_no_share_is_given_of_a_signal_that_may_be_zero() -> None:
    """`left` is a dash where today's interval spans zero: a share of noise says nothing."""
    bold, lists, _, code, _ = fabricated.forecast()
    assert remaining(bold) == pytest.approx(0.05)
    assert remaining(lists) == pytest.approx(0.985)
    assert remaining(code) is None


def test_a_missed_target_is_said() -> None:
    """A forecast outside of target and tolerance is `missed`, on the edge it is `met`, without a target neither."""
    bold = fabricated.forecast()[0]
    assert met(bold) is True
    assert met(bold.model_copy(update={"tilted": fabricated.around(0.0211, 0.01)})) is False
    assert met(fabricated.forecast()[2]) is None
    missed = bold.model_copy(update={"tilted": fabricated.around(0.3, 0.1)})
    assert "missed" in show(fabricated.plan(forecast=(missed, *fabricated.forecast()[1:])))


@pytest.mark.parametrize("style", ["text", "markdown", "json"])
def test_a_bare_plan_can_be_shown(style: str) -> None:
    """A plan without actions, detection, preference, collateral, overrides and allowances has a page too."""
    bare = {"detection": (), "preference": None, "group": None}
    concepts = tuple(c.model_copy(update=bare) for c in fabricated.concepts())
    empty = {"actions": (), "forecast": (), "discovered": (), "allowed": (), "overrides": {}}
    assert "plain-and-honest" in show(fabricated.plan(concepts=concepts, **empty), style)  # type: ignore[arg-type]


def hostile() -> Plan:
    reason = "a \x1b[2J\u202e|` <b>x</b>\n## heading"
    return fabricated.plan(allowed=(Allowed(code="T305", because=reason),))


def test_a_plan_can_not_drive_the_terminal() -> None:
    """Escape sequences and direction marks in a plan's texts never reach the page."""
    for style in ("text", "markdown"):
        page = show(hostile(), style)  # type: ignore[arg-type]
        assert "\x1b" not in page
        assert "\u202e" not in page


def test_a_plan_can_not_forge_markdown() -> None:
    """Texts from a plan stay on their line and can't open tags, tables or headings of the page."""
    line = next(line for line in show(hostile(), "markdown").splitlines() if "T305" in line)
    assert line.endswith("## heading")
    assert r"\|\` \<b\>x\</b\>" in line


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (-0.0, "0.000"), (-0.0004, "-0.0004"), (0.42, "0.420"), (3e-7, "3e-07"), (None, "-")],
)
def test_numbers_are_never_rounded_to_nothing(value: float | None, text: str) -> None:
    """A small number keeps its digits, zero has no sign, and nothing is a dash."""
    assert number(value) == text


def test_effects_carry_their_sign() -> None:
    """An effect above zero has a plus, zero has none."""
    assert (signed(0.2), signed(-0.2), signed(0.0)) == ("+0.200", "-0.200", "0.000")
    assert interval(fabricated.around(0.5, 0.1), plus=False) == "0.500 (0.400 to 0.600)"


def test_tables_line_up() -> None:
    """Names are on the left, numbers on the right, and no line ends in a space."""
    lines = table(("name", "n"), [("a", "1"), ("bcd", "+20.5")]).split("\n")
    assert lines == ["  name      n", "  a         1", "  bcd   +20.5"]


def test_free_text_is_one_line() -> None:
    """White space is folded, and control characters that are left become a mark that can be seen."""
    assert one_line("a\n\tb  c") == "a b c"
    assert printable("a\x07b") == "a\ufffdb"
    assert markdown("a*b|c") == r"a\*b\|c"
