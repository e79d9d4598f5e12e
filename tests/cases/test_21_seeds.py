"""Numbers that a trainer can't count with are refused by lint, not after the evidence is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.shout import shouting_rows
from tests.worlds import make_world
from tiltc.lint import lint

SPEC = "tiltc: 1\nname: case\nsignals:\n  - suppress: std.style.bold\n"


def codes(folder: Path, more: str) -> list[str]:
    path = folder / "spec.yaml"
    path.write_text(SPEC + more, encoding="utf-8")
    _, found = lint(path)
    return [d.code for d in found]


@pytest.mark.parametrize(
    "more",
    [
        "train: {seed: 4294967296}",
        "train: {seed: -1}",
        "train: {seed: 18446744073709551616}",
        "train: {batch_size: 2147483648}",
        "train: {method: grpo, grpo: {max_new_tokens: 99999999999}}",
        "verify: {rollouts: 4000000000}",
        "verify: {seed: 4294967296}",
    ],
)
def test_out_of_range(tmp_path: Path, more: str) -> None:
    """T122 at the value, whichever generator or counter it is for."""
    assert codes(tmp_path, more + "\n") == ["T122"]


def test_the_largest_seed_trains(tmp_path: Path) -> None:
    """2^32 - 1 is within what numpy and torch take, and a run with it ends."""
    world = make_world(tmp_path, shouting_rows(8))
    flags = ("--set", "train.seed=4294967295")
    assert world.tiltc("harvest", "spec.yaml", *flags).code == 0
    assert world.tiltc("compile", "spec.yaml", "-o", "plan", *flags).code == 0
    said = world.tiltc("run", "plan", "-o", "run")
    assert said.code == 0, said.out + said.err
