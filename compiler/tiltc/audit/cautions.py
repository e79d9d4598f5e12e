"""What a reader should know before believing any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tiltc.audit.rows import Rows
from tiltc.audit.scale import Scale
from tiltc.figures import count, share

if TYPE_CHECKING:
    from tiltc.evidence import Evidence

#: rows below which contexts are hardly told apart, and share of cut responses and of unexplained variance worth saying
FEW_ROWS, CUT, UNEXPLAINED = 1000, 0.05, 0.30


def cautions(evidence: Evidence, rows: Rows, scale: Scale) -> tuple[str, ...]:
    out: list[str] = []
    left_out = len(rows.place) - rows.n
    if left_out:
        out.append(f"{count(left_out)} of {count(len(rows.place))} rows can't be used: empty, identical, or too long.")
    cut = float(np.mean(_cut(evidence, rows)))
    if cut > CUT:
        out.append(
            f"{share(cut)} of pairs have a response cut at {evidence.manifest.max_length} tokens: "
            "what stands behind the cut was not read, and length is understated."
        )
    fvu = evidence.manifest.reconstruction.fvu
    if fvu > UNEXPLAINED:
        out.append(f"The SAE leaves {share(fvu)} of the variance unexplained: it may lack features for this data.")
    if rows.n < FEW_ROWS:
        out.append(
            f"{count(rows.n)} pairs make {scale.data_clusters} contexts of some {scale.n_top} rows: "
            "only strong differences between contexts can be seen."
        )
    return tuple(out)


def _cut(evidence: Evidence, rows: Rows) -> np.ndarray:
    table = evidence.table
    either = np.asarray(table.column("chosen_cut")) | np.asarray(table.column("rejected_cut"))
    return either[rows.origin]
