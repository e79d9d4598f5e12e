"""Unfinished files and folders: what they are called, and which of them nobody works on any more."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

#: `.tiltc-<process>-<machine>-<eight hex digits><ending>`
BESIDE = re.compile(r"\.tiltc-(\d+)-(?:([0-9a-f]{8})-)?[0-9a-f]{8}")
#: seconds after which a file of another machine's process is taken for left
LEFT = 24 * 60 * 60


def beside(folder: Path, ending: str = "") -> Path:
    """A new name in a folder for what is not finished."""
    return folder / f".tiltc-{os.getpid()}-{machine()}-{secrets.token_hex(4)}{ending}"


@cache
def machine() -> str:
    """Eight hex digits that differ wherever the same number may be another process: by host, boot and container."""
    said = [platform.node()]
    with suppress(OSError):
        said.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    with suppress(OSError):
        said.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:8]


def sweep(folder: Path) -> None:
    """Remove what this machine's dead processes left unfinished in a folder, and what others did that is a day old."""
    for path in folder.glob(".tiltc-*"):
        match = BESIDE.match(path.name)
        if match and _left(path, int(match[1]), match[2]):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _left(path: Path, process: int, where: str | None) -> bool:
    if where == machine():
        return not _alive(process)
    try:
        return time.time() - path.lstat().st_mtime > LEFT
    except OSError:
        return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
