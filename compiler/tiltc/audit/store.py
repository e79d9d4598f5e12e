"""An audit on disk: `audit.json`, `hypotheses.parquet`, and `audit.html`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiltc.audit.model import Audit
from tiltc.canonical import canonical_json

if TYPE_CHECKING:
    import pyarrow as pa


def write_audit(audit: Audit, folder: Path) -> Path:
    """Write all three, each whole or not at all; returns the path of the page."""
    import pyarrow.parquet as pq

    from tiltc.audit.page import render_html

    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "hypotheses.parquet.part"
    pq.write_table(hypothesis_table(audit), part, compression="zstd", store_schema=False)
    part.replace(folder / "hypotheses.parquet")
    _write(folder / "audit.html", render_html(audit))
    return _write(folder / "audit.json", canonical_json(audit)).with_name("audit.html")


def hypothesis_table(audit: Audit) -> pa.Table:
    """One row a hypothesis, flat: what a notebook wants."""
    import pyarrow as pa

    titles = {**{r.id: r.label.title for r in audit.responses}, **{c.id: c.label.title for c in audit.contexts}}
    rows: list[dict[str, Any]] = []
    for h in audit.hypotheses:
        test = h.test.model_dump(exclude={"delta", "delta_length"})
        ends = {"delta": h.test.delta, "delta_length": h.test.delta_length}
        flat = {
            f"{name}{end}": getattr(value, key) if value else None
            for name, value in ends.items()
            for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))
        }
        names = {"context_title": titles.get(h.context or ""), "response_title": titles[h.response]}
        rows.append({**h.model_dump(include={"id", "view", "context", "response", "rows"}), **names, **flat, **test})
    return pa.Table.from_pylist(rows)


def _write(path: Path, text: str) -> Path:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    return part.replace(path)
