"""However a spec is broken: no exception, no wrong place, little time. The whole campaign is benchmarks/mutated_specs.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import mutated_specs as campaign
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiltc.diagnostics import Label, Span
from tiltc.lint import lint

SPECS = campaign.corpus()


@pytest.mark.parametrize("first", range(0, 600, 200))
def test_broken_specs_are_answered(first: int) -> None:
    """Every family of damage: findings in every format, and each where it says."""
    tally = campaign.chunk(7, first, 200, SPECS)
    assert tally.exceptions == []
    assert tally.wrong == []
    assert max(tally.seconds) < 2
    assert len(tally.codes) > 15


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
)
def test_any_bytes_are_answered(tmp_path: Path, content: bytes) -> None:
    """What is no spec at all is a finding too, at a place that the file has."""
    file = tmp_path / "spec.yaml"
    for whole in (content, b"tiltc: 1\nname: case\nsignals: [keep: std.style.bold]\nmeta: " + content):
        file.write_bytes(whole)
        tally = campaign.Tally()
        tally.take(1, "bytes", file, whole)
        assert (tally.exceptions, tally.wrong) == ([], [])


def test_the_campaign_sees_what_is_wrong(tmp_path: Path) -> None:
    """A place behind the last line, beside the line, or at another word is told from a right one."""
    text = "tiltc: 1\nnmae: x"
    cases = [
        (Span("s", 2, 1, 2, 5), "`nmae` is not a key here", True),
        (Span("s", 3, 1, 3, 2), "`nmae` is not a key here", False),
        (Span("s", 2, 9, 2, 10), "`nmae` is not a key here", False),
        (Span("s", 1, 1, 1, 6), "`nmae` is not a key here", False),
    ]
    for span, said, right in cases:
        assert (campaign.wrong_place("T120", Label(span, said), text) is None) == right
    file = tmp_path / "spec.yaml"
    file.write_text("a: [1")
    assert lint(file)[1].failed
