"""An audit on disk: `audit.json`, `hypotheses.parquet`, and `audit.html`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiltc.audit.model import Audit
from tiltc.canonical import canonical_json
from tiltc.files import write_files

if TYPE_CHECKING:
    import pyarrow as pa


AUDIT_FILE, TABLE_FILE, PAGE_FILE = "audit.json", "hypotheses.parquet", "audit.html"
AUDIT_FILES = (AUDIT_FILE, TABLE_FILE, PAGE_FILE)


def write_audit(audit: Audit, folder: Path) -> Path:
    """Write all three, or none; returns the path of the page."""
    import pyarrow.parquet as pq

    from tiltc.audit.page import render_html

    table, page, text = hypothesis_table(audit), render_html(audit), canonical_json(audit)
    fills: dict[str, Callable[[Path], object]] = {
        TABLE_FILE: lambda part: pq.write_table(table, part, compression="zstd", store_schema=False),
        PAGE_FILE: lambda part: part.write_bytes(page.encode()),
        AUDIT_FILE: lambda part: part.write_bytes(text.encode()),
    }
    write_files(folder, fills)
    return folder / PAGE_FILE


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
