"""sha256 of files that are too large to read at every compile: read once, and remembered with their size and time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tiltc.canonical import sha256_file
from tiltc.files import write_text
from tiltc.seal import sealed_object, unsealed_object

#: in the evidence folder: file -> [size, time of last change in ns, sha256]
SEEN = "seen.json"

State = tuple[int, int, str]


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
        size, time, known = self._seen.get(name, (-1, -1, ""))
        digest = known if (size, time) == (state.st_size, state.st_mtime_ns) else sha256_file(file)
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
        return {str(name): (int(size), int(time), str(digest)) for name, (size, time, digest) in files.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
