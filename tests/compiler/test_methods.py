"""The table of mechanisms and methods."""

from __future__ import annotations

from typing import get_args

import pytest

from tiltc.check.methods import MECHANISMS, REASONS, admissible, batch_fault, reason
from tiltc.spec import Grpo, Mechanism, Train


def test_every_method_of_the_language_has_a_row() -> None:
    """No method is forgotten, and no mechanism is misspelt."""
    assert set(MECHANISMS) == set(get_args(Train.model_fields["method"].annotation))
    assert frozenset().union(*MECHANISMS.values()) == set(get_args(Mechanism)) - {"auto"}


def test_what_is_left_out_has_a_reason_and_nothing_else_has() -> None:
    """A refusal says why; a reason for something admissible would be a lie."""
    for method, mechanism in REASONS:
        assert mechanism not in MECHANISMS[method]
    assert all(reason(method, m) for method in MECHANISMS for m in get_args(Mechanism))


@pytest.mark.parametrize("method", list(MECHANISMS))
def test_rows_can_be_dropped_everywhere(method: str) -> None:
    """Keeping a row or not means the same to all methods."""
    assert "filter" in admissible(method, "sigmoid")


def test_a_loss_without_offsets_takes_the_reward_term_from_dpo_alone() -> None:
    """`loss` is DPO's: a reward model has its own."""
    assert admissible("dpo", "sigmoid") - admissible("dpo", "ipo") == {"reward"}
    assert "reward" in admissible("reward", "ipo")


def test_batches_that_hold_no_comparison_are_faults() -> None:
    """Processes count: four of them fill a group of eight with two rows each."""
    assert batch_fault(Train(method="kto", batch_size=1))
    assert batch_fault(Train(method="kto", batch_size=2)) is None
    grpo = Train(method="grpo", batch_size=2, grpo=Grpo(generations=8))
    assert batch_fault(grpo)
    assert batch_fault(grpo, processes=4) is None
    assert batch_fault(Train(batch_size=1)) is None
