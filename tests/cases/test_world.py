"""The world of the cases is one in which everything works: what a case changes is what it shows."""

from __future__ import annotations

from pathlib import Path

from tests.cases.shout import shouting_rows
from tests.worlds import make_world


def test_the_whole_way(tmp_path: Path) -> None:
    """Harvest, compile, run and verify answer without a finding of severity error."""
    world = make_world(tmp_path, shouting_rows())
    said = world.tiltc("harvest", "spec.yaml")
    assert said.code == 0, said.out + said.err
    said = world.tiltc("compile", "spec.yaml", "-o", "plan")
    assert said.code == 0, said.out + said.err
    said = world.tiltc("run", "plan", "-o", "run")
    assert said.code == 0, said.out + said.err
