"""How far a pass over the data is: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any, TextIO

#: seconds between plain lines
EVERY = 10.0


class Meter:
    """Counts pairs and tokens and says how fast and how long.

    Args:
        total: pairs in all.
        done: pairs that an earlier run finished.
        err: where to write; None is silent.
        what: the work, in a word.
    """

    def __init__(self, total: int, done: int, err: TextIO | None, what: str = "harvest") -> None:
        self.total, self.done, self.err, self.what = total, done, err, what
        self.tokens, self.fresh = 0, 0
        self.began = self.said = time.monotonic()
        self.bar: Any = None
        if err is not None and err.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=done, unit="pair", desc=what, file=err, dynamic_ncols=True)

    def advance(self, pairs: int, tokens: int) -> None:
        self.done, self.fresh, self.tokens = self.done + pairs, self.fresh + pairs, self.tokens + tokens
        if self.bar is not None:
            self.bar.set_postfix_str(f"{self.rate:,.0f} tokens/s", refresh=False)
            self.bar.update(pairs)
        elif self.err is not None and (time.monotonic() - self.said > EVERY or self.done == self.total):
            self.said = time.monotonic()
            self.err.write(f"{self.what}: {self.done}/{self.total} pairs, {self.rate:,.0f} tokens/s, {self._left()}\n")
            self.err.flush()

    @property
    def rate(self) -> float:
        """Tokens per second of this run."""
        return self.tokens / max(time.monotonic() - self.began, 1e-9)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def _left(self) -> str:
        if self.done == self.total:
            return "done"
        seconds = (time.monotonic() - self.began) / max(self.fresh, 1) * (self.total - self.done)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"
