"""The report of a verified run: `report.json`, and the same as Markdown and as one self-contained page."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tiltc.canonical import canonical_json
from tiltc.files import write_files
from tiltc_runtime.report.model import Report

__all__ = ["Report", "write_report"]


def write_report(report: Report, folder: Path) -> Path:
    """Write report.json, report.md and report.html; returns the path of the page."""
    from tiltc_runtime.report.page import render_html, render_markdown

    pages = {"report.json": canonical_json, "report.md": render_markdown, "report.html": render_html}
    write_files(folder, {name: partial(_write, page(report)) for name, page in pages.items()})
    return folder / "report.html"


def _write(text: str, path: Path) -> None:
    path.write_bytes(text.encode())
