"""In which order pairs are trained: at random, but pairs of one batch have about the same length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Sampler

if TYPE_CHECKING:
    from datasets import Dataset

#: batches that are sorted together; more saves padding, fewer keep batches more random
POOL = 8


def pair_lengths(dataset: Dataset, max_length: int | None) -> np.ndarray:
    """Tokens of the longer side of every pair, shape (pairs,), after truncation at `max_length`."""
    prompt, chosen, rejected = (
        [len(ids) for ids in dataset[f"{side}_ids"]] for side in ("prompt", "chosen", "rejected")
    )
    longest = np.add(prompt, np.maximum(chosen, rejected))
    return longest if max_length is None else np.minimum(longest, max_length)


class LengthGrouped(Sampler[int]):
    """Rows in random order, sorted by length within pools of `POOL` blocks, the blocks shuffled again.

    The order depends on (lengths, block, seed, epoch) alone and not on the state of any generator, so a resumed run
    sees the batches that an undisturbed one sees. The rows that fill no block come last, whatever their length.

    Args:
        block: rows that one step of all processes reads.
        epoch: gives the number of the epoch that starts.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, block: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._block, self._seed, self._epoch = np.asarray(lengths), block, seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, self._epoch()])
        rows = rng.permutation(len(self._lengths))
        whole = len(rows) - len(rows) % self._block
        pools = [rows[i : min(i + POOL * self._block, whole)] for i in range(0, whole, POOL * self._block)]
        ordered = [pool[np.argsort(self._lengths[pool], kind="stable")] for pool in pools]
        blocks = [pool[i : i + self._block] for pool in ordered for i in range(0, len(pool), self._block)]
        shuffled = [blocks[i] for i in rng.permutation(len(blocks))]
        yield from np.concatenate([*shuffled, rows[whole:]]).tolist()
