"""The LM head on response tokens only.

TRL's fused head can leave out the positions that no loss looks at (prompts and padding). It does so on GPUs; elsewhere
it scores every position, for the sake of compilers that dislike changing shapes. On a CPU there is no such compiler, and
the head is a large part of a small model's step.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from trl.trainer import utils

#: what TRL asks before it decides; a private name, so a test holds it to account
DECISION = "_use_triton"


@contextmanager
def responses_only() -> Generator[None]:
    """Within the block, fused heads score only positions with a label. Values are the same up to rounding."""
    before: Any = getattr(utils, DECISION, None)
    setattr(utils, DECISION, lambda device: True)
    try:
        yield
    finally:
        setattr(utils, DECISION, before)
