"""Paths as a spec may write them: relative to the file that names them, with `${VAR}` from the environment.

Specs and plans keep the text as written, so that neither depends on the machine; only opening a file expands it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def unset_variables(text: str) -> list[str]:
    """The variables a path names that the environment does not have."""
    return [name for name in VARIABLE.findall(text) if name not in os.environ]


def expand(text: str) -> str:
    """A path with the variables that are set filled in; the others stay as written."""
    return VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), text)


def locate(text: str, folder: Path) -> Path:
    """Where a path written in a file of `folder` leads."""
    return folder / expand(text)


def find_path(text: str, folder: Path | None = None) -> Path:
    """Where a path of a spec leads: from the spec's folder, and from the working directory if there is nothing there.

    The one rule for data, models, SAEs and prompts. A path that leads nowhere is given from the working directory.
    """
    beside = locate(text, folder or Path())
    return beside if beside.exists() else Path(expand(text)).expanduser()


def found_at(text: str, folder: Path) -> Path:
    """Where a path of a spec or plan in `folder` leads: beside it, or, where there is nothing, in the working directory."""
    beside = locate(text, folder)
    return beside if beside.exists() else Path(expand(text)).expanduser()
