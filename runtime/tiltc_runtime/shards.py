"""What goes into a shard of evidence: rows, features per span, pooled residuals, and how well the SAE explains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiltc.canonical import canonical_json
from tiltc.evidence import ROW_SCHEMA, Reconstruction
from tiltc.evidence.trained import FILE
from tiltc_runtime.activations import Reader, Reading, Unread
from tiltc_runtime.disk import mark_whole, save_residuals, save_spans, save_table
from tiltc_runtime.inputs import Inputs
from tiltc_runtime.marks import Marker, unmarked
from tiltc_runtime.pairs import Pair, plain_text
from tiltc_runtime.refused import refuse
from tiltc_runtime.spans import Moments, Sparse
from tiltc_runtime.tokens import READ, Encoded, row_status
from tiltc_runtime.trained import compared, read_row

SUMS = "reconstruction.json"


@dataclass(frozen=True)
class ShardRows:
    """One shard of rows on its way to disk."""

    inputs: Inputs
    reader: Reader | Unread
    name: str
    pairs: list[Pair]
    #: number of the first pair in the data set, from 1
    first: int

    def fill(self, folder: Path) -> None:
        encoded = self.inputs.encode(self.pairs)
        usable = [i for i, (p, e) in enumerate(zip(self.pairs, encoded, strict=True)) if row_status(p, e) in READ]
        reading = self.reader.read([(encoded[i].prompt, encoded[i].responses) for i in usable])
        self._check(reading, usable)
        marker = Marker(self.inputs.tokenizer)
        rows = [_row(pair, encoding, marker) for pair, encoding in zip(self.pairs, encoded, strict=True)]
        save_table(folder, rows, ROW_SCHEMA)
        save_spans(folder, "prompt", _spread(reading.prompts, usable, len(rows), slice(None)))
        save_spans(folder, "chosen", _spread(reading.responses, usable, len(rows), slice(0, None, 2)))
        save_spans(folder, "rejected", _spread(reading.responses, usable, len(rows), slice(1, None, 2)))
        save_residuals(folder, _pooled(reading, usable, len(rows)))
        (folder / SUMS).write_text(canonical_json(vars(reading.moments)), encoding="utf-8")
        if differences := compared(self.pairs, encoded, self.first):
            (folder / FILE).write_text(canonical_json(differences), encoding="utf-8")
        mark_whole(folder, self.name, len(rows))

    def _check(self, reading: Reading, usable: list[int]) -> None:
        bad = sorted({*reading.bad_prompts, *(i // 2 for i in reading.bad_responses)})
        if bad:
            names = ", ".join(f"{self.first + usable[i]} ({self.pairs[usable[i]].row_id})" for i in bad[:5])
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            helps = ("harvest with `--dtype float32`",) if self.inputs.dtype != "float32" else ()
            refuse("T513", f"activations of row {names}{more} are not finite or exceed 65504", helps=helps)


def _row(pair: Pair, encoded: Encoded, marker: Marker) -> dict[str, Any]:
    reading = read_row(pair, encoded)
    used = reading.status in READ
    marked = marker.mark(pair, encoded) if used else unmarked(pair)
    prompt = reading.prompt.text if used else None
    row: dict[str, Any] = {
        "row_id": pair.row_id,
        "group": pair.group,
        "status": reading.status,
        "prompt": plain_text(pair.prompt) if prompt is None else prompt,
        "prompt_tokens": len(encoded.prompt),
        "prompt_starts": marked.prompt_starts if prompt is None else [],
    }
    for at, side in enumerate(("chosen", "rejected")):
        # what the tokens say where that is another text, of which no place is known
        text = reading.responses[at].text if used and at < len(reading.responses) else None
        row[side] = marked.responses[at] if text is None else text
        row[f"{side}_tokens"] = len(encoded.responses[at]) if used else 0
        row[f"{side}_cut"] = encoded.cut[at] if used else False
        row[f"{side}_starts"] = marked.starts[at] if text is None else []
    return row


def _spread(sparse: Sparse, usable: Sequence[int], rows: int, every: slice) -> Sparse:
    """The spans `every` of a reading as rows of the shard; rows that are not usable stay empty."""
    picked = np.arange(len(sparse.indptr) - 1)[every]
    sizes = np.diff(sparse.indptr)
    counts = np.zeros(rows + 1, dtype=np.int64)
    counts[np.array(usable, dtype=np.int64) + 1] = sizes[picked]
    mine = np.zeros(len(sizes), dtype=bool)
    mine[picked] = True
    kept = np.repeat(mine, sizes)
    return Sparse(counts.cumsum(), sparse.indices[kept], sparse.max[kept], sparse.count[kept], sparse.peak[kept])


def _pooled(reading: Reading, usable: Sequence[int], rows: int) -> np.ndarray:
    """(rows, 2, d): chosen and rejected."""
    width = reading.residuals.shape[1]
    out = np.zeros((rows, 2, width), dtype=np.float32)
    out[np.array(usable, dtype=np.int64)] = reading.residuals.reshape(len(usable), 2, width)
    return out


def reconstruction(sums: Sequence[Moments]) -> Reconstruction:
    """Put the shards' sums together."""
    tokens = sum(s.tokens for s in sums)
    variance = sum(s.variance for s in sums)
    fvu = sum(s.error for s in sums) / variance if variance else 0.0
    l0 = sum(s.fired for s in sums) / tokens if tokens else 0.0
    return Reconstruction(fvu=round(fvu, 6), l0=round(l0, 4), tokens=tokens)
