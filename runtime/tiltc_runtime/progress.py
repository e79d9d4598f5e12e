"""What a person sees of a run: lines with step, loss and time left; and a stop when the loss is no number."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainerCallback

Say = Callable[[str], None]
#: seconds between two lines
EVERY = 5.0


class Diverged(Exception):
    """The loss or its gradient is no number any more."""

    def __init__(self, step: int, what: str, value: float) -> None:
        super().__init__(f"{what} is {value} at step {step}")


@dataclass
class Progress(TrainerCallback):
    """Says how far the run is, and raises `Diverged`."""

    say: Say
    started: float = 0.0
    first_step: int = 0
    said: float = field(default=float("-inf"))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started, self.first_step = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        logs = logs or {}
        for what in ("loss", "grad_norm"):
            if what in logs and not math.isfinite(float(logs[what])):
                raise Diverged(state.global_step, what, float(logs[what]))
        last = state.global_step == state.max_steps
        if state.is_world_process_zero and "loss" in logs and (last or time.monotonic() - self.said >= EVERY):
            self.said = time.monotonic()
            self.say(self._line(state, float(logs["loss"])))

    def _line(self, state: Any, loss: float) -> str:
        pace = (time.monotonic() - self.started) / (state.global_step - self.first_step)
        left = pace * (state.max_steps - state.global_step)
        return f"step {state.global_step}/{state.max_steps}  loss {loss:.4f}  {pace:.2f} s/step  {duration(left)} left"


@dataclass
class ReferenceProgress:
    """Says how far the reference pass is."""

    say: Say
    said: float = field(default=float("-inf"))

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self.said >= EVERY or done == total:
            self.said = time.monotonic()
            self.say(f"reference log-probabilities {done}/{total}")


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
