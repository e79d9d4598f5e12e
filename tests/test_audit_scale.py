"""The scale benchmark's own instruments: what a process held, when it is stopped, exponents, and its plot."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks import audit_scale
from benchmarks.audit_scale import Measured, markdown, slope, slopes, svg, watched

from tiltc.canonical import canonical_json

DONE = [
    Measured(rows, 65_536, 2e-3 * rows, 1e-3 * rows, 0.5 * rows**0.5, 50.0, 0.02 * rows) for rows in (10, 1000, 100)
]


def test_memory_is_told_apart() -> None:
    """A process that allocates 200 MB held at least that much of its own, and no more at its peak than it says."""
    program = "import time; b = bytearray(b'x' * 200_000_000); time.sleep(0.3)"
    costs = watched([sys.executable, "-c", program], limit=60)
    assert costs is not None
    seconds, cpu, peak, own = costs
    assert seconds >= 0.3 > 0 < cpu
    assert 200 < own < peak


def test_a_slow_audit_is_stopped_and_a_broken_one_is_told() -> None:
    assert watched([sys.executable, "-c", "while True: pass"], limit=0.2) is None
    with pytest.raises(RuntimeError, match="no such thing"):
        watched([sys.executable, "-c", "raise SystemExit('no such thing')"], limit=60)


def test_a_killed_audit_is_told_and_a_talkative_one_ends() -> None:
    """What was killed for memory says nothing, so the signal is named; more than a pipe holds on standard error is no stop."""
    with pytest.raises(RuntimeError, match="signal 9"):
        watched([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], limit=60)
    assert watched([sys.executable, "-c", "import sys; sys.stderr.write('x' * 200_000)"], limit=60) is not None


def test_exponents_are_those_of_the_power_law() -> None:
    assert slope([(x, 3 * x**1.5) for x in (1, 10, 50)]) == pytest.approx(1.5)
    assert slope([(1, 1)]) is None
    assert slopes(DONE)["rows"] == {"cpu": 1.0, "peak": 0.5, "own": 0.0}
    assert slopes(DONE)["features"]["cpu"] is None


def test_the_plot_is_an_image_of_every_point() -> None:
    """Three costs against rows; nothing is drawn against features, of which there is no sweep."""
    image = ElementTree.fromstring(svg(DONE))
    assert len(image.findall(".//{*}circle")) == 3 * len(DONE)
    assert "exponent 1.00" in "".join(image.itertext())
    assert "| 1,000 | 65,536 |" in markdown(DONE)


def test_finished_measurements_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is missing is measured, and what was stopped is left out."""
    (tmp_path / "audit-scale.json").write_text(canonical_json([vars(m) for m in DONE[:1]]))
    asked: list[tuple[int, int]] = []

    def measure(work: Path, rows: int, features: int, limit: float) -> Measured | None:
        asked.append((rows, features))
        return DONE[2] if rows == 100 else None

    monkeypatch.setattr(audit_scale, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["audit_scale", str(tmp_path), "--rows", "10,100,1000", "--features", ""])
    assert audit_scale.main() == 0
    assert asked == [(100, 65_536), (1000, 65_536)]
    assert len(json.loads((tmp_path / "audit-scale.json").read_text())) == 2
