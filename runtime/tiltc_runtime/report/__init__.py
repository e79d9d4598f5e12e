"""The report of a verified run: `report.json`, and the same as Markdown and as one self-contained page."""

from __future__ import annotations

from pathlib import Path

from tiltc.canonical import canonical_json
from tiltc_runtime.report.model import Report

__all__ = ["Report", "write_report"]


def write_report(report: Report, folder: Path) -> Path:
    """Write report.json, report.md and report.html; returns the path of the page."""
    from tiltc_runtime.report.page import render_html, render_markdown

    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "report.json", canonical_json(report))
    _write(folder / "report.md", render_markdown(report))
    return _write(folder / "report.html", render_html(report))


def _write(path: Path, text: str) -> Path:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    return part.replace(path)
