"""The report of a verified run: `report.json`, and the same as Markdown and as one self-contained page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tiltc.canonical import canonical_json, sha256_text
from tiltc.files import settle, unfinished, write_files
from tiltc_runtime.report.model import Report

__all__ = ["Report", "read_report", "write_report"]

#: the report, and its sha256: other runs of a sweep read it
REPORT, SEAL = "report.json", "report.sha256"
#: everything that was sampled, one line a rollout
ROLLOUTS = "rollouts.jsonl"
FILES = (REPORT, SEAL, "report.md", "report.html", ROLLOUTS)


def read_report(folder: Path) -> Report:
    """The report of a verified run. Raises OSError, or ValueError where it is not as this version wrote it."""
    if unfinished(folder):
        raise ValueError("the replacement of its report was not finished")
    text = (folder / REPORT).read_bytes()
    if sha256_text(text.decode()) != (folder / SEAL).read_text(encoding="utf-8").strip():
        raise ValueError(f"{REPORT} is not what was written")
    return Report.model_validate_json(text)


def write_report(report: Report, folder: Path, rollouts: Callable[[Path], object] | None = None) -> Path:
    """Write report.json with its seal, report.md and report.html, all or none; returns the path of the page.

    Args:
        rollouts: writes what was sampled to the file that it is given, as one of them.
    """
    from tiltc_runtime.report.page import render_html, render_markdown

    text = canonical_json(report)
    pages = {REPORT: text, SEAL: f"{sha256_text(text)}\n", "report.md": render_markdown(report)}
    pages |= {"report.html": render_html(report)}
    fills: dict[str, Callable[[Path], object]] = {name: partial(_write, page) for name, page in pages.items()}
    # with the rollouts, which this report may leave as they are
    settle(folder, FILES)
    write_files(folder, fills | ({ROLLOUTS: rollouts} if rollouts else {}))
    return folder / "report.html"


def _write(text: str, path: Path) -> None:
    path.write_bytes(text.encode())
