"""Things on the Hub that may change under a spec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.specfile import SpecFile
from tiltc.source import Route
from tiltc.spec import HubRef

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def unpinned_references(file: SpecFile) -> Iterator[Diagnostic]:
    """A model or data set on the Hub without the commit that was meant."""
    for key, reference in (("model", file.spec.model), ("data", file.spec.data)):
        if isinstance(reference, HubRef) and not _COMMIT.fullmatch(reference.revision or ""):
            route: Route = (key, "revision") if reference.revision else (key, "hub")
            what = f"`{reference.revision}` can move" if reference.revision else f"any commit of `{reference.hub}`"
            yield _finding(file, route, what, "write the full commit: `revision: <40 hex digits>`")
        if isinstance(reference, str) and _on_hub(reference, file.folder):
            help = f"write `{key}: {{hub: {reference}, revision: <40 hex digits>}}`"
            yield _finding(file, (key,), f"any commit of `{reference}`", help)


def _finding(file: SpecFile, route: Route, text: str, help: str) -> Diagnostic:
    return Diagnostic("T150", Label(file.at(route), text), helps=(help,))


def _on_hub(reference: str, folder: Path) -> bool:
    return (
        _HUB_NAME.fullmatch(reference) is not None
        and not (folder / reference).exists()
        and not Path(reference).exists()
    )
