"""Reference log-probabilities, computed once before training, so that no second model is in memory.

The cache is a folder of chunks named by their contents (model, precision, token ids, masks), each written whole or not at all:
a killed pass goes on at the chunk it lost, and changed rows can't meet stale values. A chunk carries its own digest, and one that
is not what was written under its name is computed again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiltc.files import write_bytes
from tiltc.seal import sealed_bytes, unsealed_bytes

if TYPE_CHECKING:
    from datasets import Dataset

#: batches in a chunk: what a killed pass may lose
CHUNK_BATCHES = 4
MODEL_INPUTS = ("input_ids", "attention_mask", "completion_mask")
IDS, MASKED = ("prompt_ids", "chosen_ids", "rejected_ids"), ("chosen_masked", "rejected_masked")


def _silent(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class ReferenceCache:
    """Where reference log-probabilities are kept, and for which model and precision (`key`)."""

    folder: Path
    key: str
    report: Callable[[int, int], None] = _silent

    def add_columns(self, trainer: Any, dataset: Dataset, batch_size: int, rows: np.ndarray | None = None) -> Dataset:
        """The dataset with `ref_chosen_logps` and `ref_rejected_logps`: sums over the response
        tokens that carry loss, in nats, float32.

        Args:
            trainer: a `DPOTrainer` whose reference is its model without adapter, or before training.
            rows: those that are needed; the others get NaN, which no loss survives. All by default.
        """
        from accelerate import PartialState

        state = PartialState()
        self.folder.mkdir(parents=True, exist_ok=True)
        chunks = self._chunks(trainer, dataset, batch_size, np.arange(len(dataset)) if rows is None else rows)
        mine = [chunk for i, chunk in enumerate(chunks) if i % state.num_processes == state.process_index]
        for done, (path, chunk) in enumerate(mine):
            if self._read(path, chunk) is None:
                self._write(path, _logps(trainer, dataset.select(chunk), batch_size))
            self.report(done + 1, len(mine))
        state.wait_for_everyone()
        logps = np.full((len(dataset), 2), np.nan, np.float32)
        for path, chunk in chunks:
            if (kept := self._read(path, chunk)) is None:
                raise OSError(f"{path} was written and can't be read again")
            logps[chunk] = kept
        chosen = dataset.add_column("ref_chosen_logps", logps[:, 0].tolist())
        return chosen.add_column("ref_rejected_logps", logps[:, 1].tolist())

    def _chunks(
        self, trainer: Any, dataset: Dataset, batch_size: int, rows: np.ndarray
    ) -> list[tuple[Path, np.ndarray]]:
        from tiltc_runtime.order import pair_lengths

        by_length = rows[np.argsort(pair_lengths(dataset, trainer.args.max_length)[rows], kind="stable")]
        size = CHUNK_BATCHES * batch_size
        cuts = [by_length[i : i + size] for i in range(0, len(by_length), size)]
        settings = f"{self.key} {trainer.args.max_length} {batch_size}"
        return [(self.folder / f"{_content_hash(settings, dataset.select(cut))}.npy", cut) for cut in cuts]

    def _read(self, path: Path, rows: np.ndarray) -> np.ndarray | None:
        """What was written under this name, or None."""
        try:
            content = unsealed_bytes(path.name, path.read_bytes())
            logps = None if content is None else np.load(io.BytesIO(content), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return logps if logps is not None and logps.shape == (len(rows), 2) else None

    def _write(self, path: Path, logps: np.ndarray) -> None:
        data = io.BytesIO()
        np.save(data, logps)
        write_bytes(path, sealed_bytes(path.name, data.getvalue()))


def _content_hash(settings: str, rows: Dataset) -> str:
    sha = hashlib.sha256(settings.encode())
    wanted: Any = rows.select_columns([name for name in (*IDS, *MASKED) if name in rows.column_names])
    for row in wanted:
        # rows without a mask are the same under every plan
        told = {name: value for name, value in row.items() if value or name in IDS}
        sha.update(json.dumps(told, sort_keys=True).encode())
    return sha.hexdigest()


def _logps(trainer: Any, rows: Dataset, batch_size: int) -> np.ndarray:
    model: Any = trainer.ref_model or trainer.model
    parts: list[np.ndarray] = []
    for start in range(0, len(rows), batch_size):
        examples: list[Any] = list(rows.select(range(start, min(start + batch_size, len(rows)))))
        batch = {k: v for k, v in trainer.data_collator(examples).items() if k in MODEL_INPUTS}
        batch = {k: v.to(trainer.accelerator.device) for k, v in batch.items()}
        chosen, rejected = trainer.compute_ref_log_probs(model, batch)
        parts.append(np.stack([chosen.float().cpu().numpy(), rejected.float().cpu().numpy()], axis=1))
    return np.concatenate(parts)
