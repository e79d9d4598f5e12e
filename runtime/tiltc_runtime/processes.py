"""What one process of a launcher finds out for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def from_main(look: Callable[[], T]) -> T:
    """What the main process finds, in every process: what is done next must not hang on what each sees for itself.

    Every process calls it, whatever it saw. The answer is pickled on its way.

    Raises:
        Exception: what `look` raises; in the other processes a RuntimeError with its text.
    """
    answer: list[Any] = [None, ""]
    problem: Exception | None = None
    if PartialState().is_main_process:
        try:
            answer[0] = look()
        except Exception as raised:
            # whatever it is, the others wait for an answer
            problem, answer[1] = raised, f"{type(raised).__name__}: {raised}"
    broadcast_object_list(answer)
    if problem is not None:
        raise problem
    if answer[1]:
        raise RuntimeError(f"the main process stopped at {answer[1]}")
    return answer[0]
