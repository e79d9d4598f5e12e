"""Pages that a person has read and accepted, as files."""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"


def check_golden(name: str, page: str, accept: bool) -> None:
    """Compare a page with its accepted file; with `--accept`, make it the accepted one."""
    file = GOLDEN / name
    if accept:
        file.write_text(page, encoding="utf-8", newline="\n")
    assert page == file.read_text(encoding="utf-8"), f"{file} differs: read why, then accept it with `pytest --accept`"
