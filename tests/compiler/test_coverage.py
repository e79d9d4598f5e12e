"""The table of readouts and mechanisms."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from tests.compiler.synthetic import spec_text
from tiltc.check import static
from tiltc.check.coverage import (
    ADAPTER,
    PAPER,
    REFUSED,
    WAYS,
    WIDENED,
    cell,
    markdown,
    page,
    refusal,
    tools_for,
    way,
    written,
)
from tiltc.codes import CODES
from tiltc.parse import parse
from tiltc.spec import Mechanism, Readout, Steerer

DOCS = Path(__file__).parents[2] / "docs" / "mechanisms.md"


def test_no_cell_is_open_or_filled_twice() -> None:
    """Every tool of the language meets every way of carrying a signal out in exactly one of the three."""
    assert set(PAPER) == {*get_args(Readout), *get_args(Steerer)}
    assert {w.split()[0] for w in WAYS} == set(get_args(Mechanism)) - {"auto"}
    for readout, column in product(PAPER, WAYS):
        said = (column in PAPER[readout], (readout, column) in WIDENED, (readout, column) in REFUSED)
        assert sum(said) == 1, (readout, column)
    assert {(r, c) for r, c in (*WIDENED, *REFUSED)} <= set(product(PAPER, WAYS))


def test_the_papers_cells_are_the_papers() -> None:
    """Section 3.3 of the digest: difference of means, probe and SAE mask, shape and steer; a pattern filters and inoculates."""
    for tool in ("sae", "direction", "probe"):
        assert [c for c in WAYS if cell(tool, c) == "paper"] == ["reward", "tokens", "steer"]
    assert [c for c in WAYS if cell("detector", c) == "paper"] == ["filter", "inoculate forward"]
    assert [c for c in WAYS if cell(ADAPTER, c) != "-"] == ["steer"]


def test_every_mechanism_has_a_tool_and_the_default_has_all() -> None:
    """Without a word about readouts nothing is refused."""
    assert all(refusal("sae", w) is None for w in WAYS)
    assert tools_for("steer") == ("sae", "direction", "probe", "probe-pairwise", ADAPTER)
    assert (written("probe"), written(ADAPTER)) == ("readout: probe", "by: reft")
    assert tools_for("inoculate", "forward") == ("sae", "detector")
    assert way("steer", "forward") == "steer"


@pytest.mark.parametrize(("readout", "mechanism", "form"), [
    (r, m, f) for r in get_args(Readout) for m in get_args(Mechanism) for f in ((None, "forward") if m == "inoculate" else (None,))
])  # fmt: skip
def test_the_rule_is_the_table(tmp_path: Path, readout: str, mechanism: str, form: str | None) -> None:
    """A spec with one signal is refused where its cell is, and nowhere else; `auto` is refused nowhere."""
    signal = f"  - suppress: std.style.bold\n    with: {mechanism}\n    readout: {readout}\n"
    path = tmp_path / "spec.yaml"
    path.write_text(spec_text(signal + (f"    form: {form}\n" if form else "")))
    spec_file, _ = parse(path)
    assert spec_file is not None
    refused = mechanism != "auto" and refusal(readout, mechanism, form) is not None
    assert ("T326" in [d.code for d in static(spec_file)]) == refused


@pytest.mark.parametrize("readout", [None, *get_args(Readout)])
@pytest.mark.parametrize(("mechanism", "form"), [
    (m, f) for m in get_args(Mechanism) for f in ((None, "forward") if m in ("inoculate", "steer") else (None,))
])  # fmt: skip
def test_an_adapter_only_steers(tmp_path: Path, readout: str | None, mechanism: str, form: str | None) -> None:
    """Whatever the concept is read by, `by: reft` goes with `with: steer` alone, and there even with what has no vector."""
    signal = f"  - suppress: std.style.bold\n    with: {mechanism}\n    by: reft\n"
    path = tmp_path / "spec.yaml"
    path.write_text(
        spec_text(signal + (f"    form: {form}\n" if form else "") + (f"    readout: {readout}\n" if readout else ""))
    )
    spec_file, found = parse(path)
    assert spec_file is not None, list(found)
    assert ("T326" in [d.code for d in static(spec_file)]) == (mechanism != "steer")
    assert "T308" not in [d.code for d in static(spec_file)]


def test_the_page_and_the_docs_are_the_table() -> None:
    """Neither `tiltc explain T326` nor the manual says anything else than the rule does."""
    assert page() in CODES["T326"].explain
    text = DOCS.read_text(encoding="utf-8")
    between = text.split("<!-- coverage: begin -->\n\n")[1].split("\n<!-- coverage: end -->")[0]
    assert between == markdown()
