"""Damaged files: a share of the campaign of `benchmarks/tamper.py`, in which nothing may be taken for what it is not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from benchmarks.tamper import KINDS, Campaign, Try, read_log, table, tries

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign.begin(tmp_path_factory.mktemp("tamper"), seed=1)


def bad(campaign: Campaign, trials: list[Try]) -> list[str]:
    """What must not be, of some tries."""
    fates = [(trial.key, *campaign.carry_out(trial)) for trial in trials]
    return [f"{key}: {fate}, {what}" for key, fate, what in fates if fate in ("other", "crashed")]


def test_no_damage_is_taken_for_the_file(campaign: Campaign) -> None:
    """Twenty tries drawn from all kinds of files and verbs: refused, mended, or without effect."""
    assert bad(campaign, random.Random(0).sample(tries(12), 20)) == []


@pytest.mark.slow
def test_no_damage_is_taken_for_the_file_whatever_it_is(campaign: Campaign) -> None:
    """Every kind of file under every verb that reads it."""
    assert bad(campaign, tries(2)) == []


def test_a_log_is_taken_up(tmp_path: Path) -> None:
    """A try is named by kind, verb and number, all kinds come once before any twice, and the table counts them."""
    asked = tries(2)
    assert len({trial.key for trial in asked}) == len(asked) == 2 * sum(len(verbs) for _, verbs in KINDS.values())
    assert read_log(tmp_path / "none.jsonl") == {}
    row = {"key": "k", "kind": "data", "verb": "run", "fate": "refused", "what": "cut"}
    assert "| data | run | 1 | 1 | 0 | 0 | 0 | 0 | 0 |" in table({"k": row})
