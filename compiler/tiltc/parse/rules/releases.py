"""SAELens releases and their ids, as the installed sae-lens lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.specfile import SpecFile
from tiltc.parse.suggest import did_you_mean
from tiltc.spec import SaeRef

#: a release, and an SAE of it. A YAML reader takes seconds for this file
_RELEASE, _ID = re.compile(r"(?m)^([^\s#][^\n]*?):\s*$"), re.compile(r"(?m)^\s+(?:- )?id:\s*(\S.*?)\s*$")
#: ids that are looked through for one that was meant
CLOSE = 2000


def unknown_releases(file: SpecFile) -> Iterator[Diagnostic]:
    """A release, or an id of it, that the installed sae-lens does not list. Without sae-lens nothing can be said."""
    ref = file.spec.sae
    listed = known_releases() if isinstance(ref, SaeRef) else None
    # owner/name is a repository on the hub, which needs no entry
    if not isinstance(ref, SaeRef) or not listed or ("/" in ref.release and ref.release not in listed):
        return
    if ref.release not in listed:
        helps = tuple(did_you_mean(ref.release, listed)) or (f"the installed sae-lens lists {len(listed)} releases",)
        yield Diagnostic(
            "T168", Label(file.at(("sae", "release")), f"there is no release `{ref.release}`"), helps=helps
        )
    elif ref.id not in listed[ref.release]:
        ids = listed[ref.release]
        few = ", ".join(f"`{name}`" for name in ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
        helps = tuple(did_you_mean(ref.id, ids[:CLOSE])) or (f"it has {few}",)
        yield Diagnostic("T168", Label(file.at(("sae", "id")), f"`{ref.release}` has no `{ref.id}`"), helps=helps)


@cache
def known_releases() -> dict[str, tuple[str, ...]] | None:
    """The ids of every release; None where sae-lens is not installed, or keeps no list where it used to."""
    found = find_spec("sae_lens")
    folders = [] if found is None else found.submodule_search_locations or []
    lists = [file for folder in folders if (file := Path(folder) / "pretrained_saes.yaml").is_file()]
    if not lists:
        return None
    text = lists[0].read_text(encoding="utf-8")
    starts = list(_RELEASE.finditer(text))
    ends = [*(start.start() for start in starts[1:]), len(text)][: len(starts)]
    return {
        _plain(start[1]): tuple(_plain(one) for one in _ID.findall(text, start.end(), end))
        for start, end in zip(starts, ends, strict=True)
    } or None


def _plain(text: str) -> str:
    """A YAML scalar without its quotes."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
