"""Training methods: one file each, named as in `train.method`, with `make(job, arguments)`.

A file says what a plan's rows mean under its objective, builds the data set from them and makes the trainer. Everything
else (admission, checkpoints, resumption, record) is the one recipe of `train.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiltc_runtime.train import Job

#: a job and the arguments of its trainer -> the trainer
Make = Callable[["Job", dict[str, Any]], Any]


def maker(method: str) -> Make:
    """What makes the trainers of a method. Loaded when asked for: TRL's trainers are slow to import."""
    return import_module(f"tiltc_runtime.methods.{method}").make
