"""One writer at a time: an advisory lock that the kernel gives back when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class Locked(Exception):
    """Somebody else holds the lock. `pid` is theirs, if known."""

    def __init__(self, pid: str) -> None:
        super().__init__(f"process {pid}" if pid else "another process")
        self.pid = pid


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Generator[None, None, None]:
    """Hold the lock file `path` for the block.

    Raises:
        Locked: another process holds it (never with `wait`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(path, wait)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, wait: bool) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            pid = os.read(descriptor, 32).decode(errors="replace")
            os.close(descriptor)
            raise Locked(pid) from None
        # the holder before us may have removed the file between our open and our lock
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
        os.close(descriptor)
