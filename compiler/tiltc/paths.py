"""Paths as a spec may write them: relative to the file that names them, with `${VAR}` from the environment.

Specs and plans keep the text as written, so that neither depends on the machine; only opening a file expands it. What a
spec says is not believed: findings show a path as it is written, never what a variable holds, and a file is read only
below the repository of the spec and the folders of `TILTC_PATHS`.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Literal

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: Folders beside the repository that specs may read from, as in `PATH`. The user's to say: a spec can't.
ALLOWED = "TILTC_PATHS"

Kind = Literal["file", "folder", "missing", "other"]


def unset_variables(text: str) -> list[str]:
    """The variables a path names that the environment does not have."""
    return [name for name in VARIABLE.findall(text) if name not in os.environ]


def expand(text: str) -> str:
    """A path with the variables that are set filled in; the others stay as written."""
    return VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), text)


def locate(text: str, folder: Path) -> Path:
    """Where a path written in a file of `folder` leads."""
    return folder / expand(text)


def kind(file: Path) -> Kind:
    """What is at a path, links followed; `other` is what reading might wait for or never end with, such as a pipe."""
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError):
        return "missing"
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def real(file: Path | str) -> Path:
    """The path with its links followed; a circle of links stays as it is."""
    return Path(os.path.realpath(str(file).replace("\0", "\ufffd")))


def repository(folder: Path) -> Path | None:
    """The repository that a folder is in: `GITHUB_WORKSPACE`, or the nearest folder above it with a `.git`."""
    here = real(folder)
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if workspace and here.is_relative_to(real(workspace)):
        return real(workspace)
    return next((above for above in (here, *here.parents) if os.path.lexists(above / ".git")), None)


def readable_roots(folder: Path) -> tuple[Path, ...]:
    """The folders that a spec of `folder` may name files in.

    Its repository; without one the working folder, or where that is elsewhere its own. And those of `TILTC_PATHS`.
    """
    here, at = real(folder), real(Path())
    own = repository(folder) or (at if here.is_relative_to(at) else here)
    return (own, *(real(path) for path in os.environ.get(ALLOWED, "").split(os.pathsep) if path))


def outside(file: Path, roots: tuple[Path, ...]) -> bool:
    """Whether a path, its links followed, leads out of all roots."""
    target = real(file)
    return not any(target.is_relative_to(root) for root in roots)


def find_path(text: str, folder: Path | None = None) -> Path:
    """Where a path of a spec leads: from the spec's folder, and from the working directory if there is nothing there.

    The one rule for data, models, SAEs and prompts. A path that leads nowhere is given from the working directory.
    """
    beside = locate(text, folder or Path())
    return beside if kind(beside) != "missing" else _from_here(text)


def leads_outside(text: str, folder: Path, roots: tuple[Path, ...]) -> bool:
    """Whether `find_path` looks outside of all roots for a path, so that its answer tells what is there."""
    beside = locate(text, folder)
    return outside(beside, roots) or (kind(beside) == "missing" and outside(_from_here(text), roots))


def found_at(text: str, folder: Path) -> Path:
    """Where a path of a spec or plan in `folder` leads: beside it, or, where there is nothing, in the working directory."""
    return find_path(text, folder)


def _from_here(text: str) -> Path:
    # not `Path.expanduser`, which raises for users that are not there
    return Path(os.path.expanduser(expand(text)))  # noqa: PTH111
