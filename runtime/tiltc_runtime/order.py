"""In which order pairs are trained: at random, and sorted by length only among the pairs of one optimizer step.

Batches of like length over the whole data would save more padding, but they make steps of long and of short responses,
which gradient clipping then weighs differently: a plan's weights would not mean what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Sampler

if TYPE_CHECKING:
    from datasets import Dataset


def pair_lengths(dataset: Dataset, max_length: int | None) -> np.ndarray:
    """Tokens of the longer side of every pair, shape (pairs,), after truncation at `max_length`."""
    prompt, chosen, rejected = (
        [len(ids) for ids in dataset[f"{part}_ids"]] for part in ("prompt", "chosen", "rejected")
    )
    longest = np.add(prompt, np.maximum(chosen, rejected))
    return longest if max_length is None else np.minimum(longest, max_length)


class StepSorted(Sampler[int]):
    """Rows in random order, cut into optimizer steps; within a step longest first, so that its batches pad little.

    The order depends on (lengths, step, seed, epoch) alone and not on the state of any generator, so a resumed run
    sees the batches that an undisturbed one sees.

    Args:
        step: rows of one optimizer step over all processes and accumulated batches.
        epoch: gives the number of the epoch that starts.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, step: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths, self._step, self._seed, self._epoch = np.asarray(lengths), step, seed, epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rows = _shuffled(len(self.lengths), self._seed, self._epoch())
        for start in range(0, len(rows), self._step):
            block = rows[start : start + self._step]
            yield from block[np.argsort(-self.lengths[block], kind="stable")].tolist()


def visited(rows: int, step: int, seed: int, steps: int) -> np.ndarray:
    """The rows, in their order, that the first `steps` optimizer steps of a `StepSorted` train on."""
    return np.sort(_shuffled(rows, seed, 0)[: steps * step])


def _shuffled(rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(rows)
