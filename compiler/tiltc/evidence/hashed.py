"""sha256 of large files: read once while they stay as they are, within a process, and for evidence from one to the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from pathlib import Path

from tiltc.canonical import sha256_file
from tiltc.files import write_text
from tiltc.seal import sealed_object, unsealed_object

#: in the evidence folder: file -> [size, time of last change in ns, sha256]
SEEN = "seen.json"
#: a file that changed so many seconds ago may change again without another time: file systems count in coarse steps
SETTLED = 2.0

State = tuple[int, int, str]
_known: dict[Hashable, str] = {}


def file_sha256(file: Path) -> str:
    """As `sha256_file`; a file that nothing happened to since it was read in this process is not read again."""
    return once("file", [file], lambda: sha256_file(file))


def once(what: Hashable, files: Sequence[Path], read: Callable[[], str]) -> str:
    """What `read` gives, kept within the process for as long as the files are those that it read.

    A file is known by its place, inode, size and both of its times; the time of the last change of its inode can't be set back.

    Args:
        what: tells digests of the same files apart.

    Raises:
        OSError: there is no such file, or what `read` raises.
    """
    before = tuple(map(_state, files))
    known = _known.get((what, before))
    if known is not None:
        return known
    settled = all(changed < (time.time() - SETTLED) * 1e9 for *_, changed in before)
    digest = read()
    if settled and tuple(map(_state, files)) == before:
        _known[what, before] = digest
    return digest


def _state(file: Path) -> tuple[str, int, int, int, int, int]:
    state = file.stat()
    return str(file.absolute()), state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


class Hashes:
    """The hashes of the files of an evidence folder."""

    def __init__(self, folder: Path, *, remember: bool, again: bool) -> None:
        """
        Args:
            remember: keep what was read, and take what was kept of files that have the size and the time they had then.
            again: take nothing that was kept.
        """
        self.folder, self.remember = folder, remember
        self._seen = _read(folder) if remember and not again else {}
        self._now: dict[str, State] = {}

    def of(self, file: Path) -> str:
        """Raises OSError."""
        state, name = file.stat(), file.relative_to(self.folder).as_posix()
        size, changed, known = self._seen.get(name, (-1, -1, ""))
        digest = known if (size, changed) == (state.st_size, state.st_mtime_ns) else sha256_file(file)
        self._now[name] = state.st_size, state.st_mtime_ns, digest
        return digest

    def keep(self) -> None:
        """Best effort: evidence may lie where nothing can be written."""
        if self.remember and self._now != self._seen:
            with suppress(OSError):
                write_text(self.folder / SEEN, sealed_object({"files": {k: list(v) for k, v in self._now.items()}}))


def _read(folder: Path) -> dict[str, State]:
    try:
        files = unsealed_object((folder / SEEN).read_bytes())["files"]
        return {str(name): (int(size), int(changed), str(digest)) for name, (size, changed, digest) in files.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
