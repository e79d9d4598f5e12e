"""Files that appear whole or not at all, whenever the process is killed: written beside, flushed to disk, then moved.

One file: `writing`, `write_text`, `write_bytes`. A folder that is made anew: `write_whole`. Several files of a folder that
belong together and replace older ones: `write_files`. A replacement whose process was killed is completed by the next writer
(`settle`), never by a reader: it says so (`unfinished`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tiltc.beside import beside, sweep

#: a set of files that is complete, and waits to be moved into the folder that it lies in
READY = ".tiltc-ready"
#: within such a set, names of files that the set no longer has
REMOVED = ".removed"
#: what file systems say that flush by themselves, or not at all
_CANT_FLUSH = (errno.EINVAL, errno.ENOTSUP)
#: seconds to wait for another writer: moving a set takes milliseconds, and who holds the folder longer is no writer of ours
PATIENCE = 5.0


@contextmanager
def writing(file: Path, *, flush: bool = True) -> Generator[Path]:
    """A path beside `file`, with its ending, for the block to write; it takes the file's place when the block has ended.

    Args:
        flush: to disk, so that a power failure can't leave an empty file; a cache does without.

    Raises:
        OSError: as the file system says; `file` is as it was then, and nothing is left beside it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = beside(file.parent, file.suffix)
    try:
        yield part
        if flush:
            flush_to_disk(part)
        part.replace(file)
        if flush:
            flush_to_disk(file.parent)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(file: Path, text: str, *, flush: bool = True) -> None:
    """A text as UTF-8 with its line ends as they are; see `writing`."""
    write_bytes(file, text.encode(), flush=flush)


def write_bytes(file: Path, data: bytes, *, flush: bool = True) -> None:
    """See `writing`."""
    with writing(file, flush=flush) as part:
        part.write_bytes(data)


def write_whole(folder: Path, fill: Callable[[Path], object]) -> None:
    """Make a folder appear whole: `fill` is given one beside it, which then takes the place of the one that was there.

    Killed at the wrong moment, the older one is gone: for what can be made again.

    Raises:
        OSError: as the file system says; nothing of the new folder is left then.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = folder.parent / f".{folder.name}.tmp"
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir()
        fill(work)
        place_folder(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def place_folder(work: Path, folder: Path) -> None:
    """Flush a finished folder and move it to its place, in which an older one is removed."""
    for path in (*sorted(work.rglob("*")), work):
        flush_to_disk(path)
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)
    flush_to_disk(folder.parent)


def write_files(folder: Path, fills: Mapping[str, Callable[[Path], object]], remove: Collection[str] = ()) -> None:
    """Replace the files of a folder that belong together, all or none; its other files stay as they are.

    Args:
        fills: by the name of the file, what writes it to the path that it is given.
        remove: names of files that the folder shall not have any more.

    Raises:
        OSError: as the file system says; the folder is as it was then, unless the new files were complete already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {*fills, *remove}
    for name in names:
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / name))
    settle(folder, names)
    sweep(folder)
    work = beside(folder)
    try:
        work.mkdir()
        for name, fill in fills.items():
            fill(work / name)
        (work / REMOVED).write_text("\n".join(remove), encoding="utf-8")
        for path in (*work.iterdir(), work):
            flush_to_disk(path)
        with _alone(folder):
            _commit(work, folder, names)
            _carry_out(folder, names)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _commit(work: Path, folder: Path, names: Collection[str]) -> None:
    """From the rename on the replacement is done, whoever carries it out."""
    while True:
        try:
            work.rename(folder / READY)
            break
        except OSError as error:
            # another process was quicker, and its files come before ours
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _carry_out(folder, names)
    flush_to_disk(folder)


def unfinished(folder: Path) -> bool:
    """Does a set wait in a folder whose process was killed? The files beside it may be of two sets then.

    Raises:
        OSError: as the file system says.
    """
    if not _waits(folder):
        return False
    with _alone(folder):  # perhaps its process is at it
        return _waits(folder)


def settle(folder: Path, names: Collection[str]) -> None:
    """Carry out a replacement that was complete when its process was killed. Does nothing in other folders.

    For whoever is about to write the folder; a reader asks `unfinished`.

    Args:
        names: of files that may be replaced or removed; a folder from elsewhere may ask for others.

    Raises:
        OSError: as the file system says; what is left can be carried out later.
    """
    if _waits(folder):
        with _alone(folder):
            _carry_out(folder, names)


def _waits(folder: Path) -> bool:
    ready = folder / READY
    return ready.is_dir() and not ready.is_symlink()


def _carry_out(folder: Path, names: Collection[str]) -> None:
    ready, done = folder / READY, beside(folder)
    removed = _lines(ready / REMOVED)
    for name in names:
        with suppress(FileNotFoundError):  # moved before, or not in the set
            (ready / name).replace(folder / name)
    for name in removed & set(names):
        (folder / name).unlink(missing_ok=True)
    flush_to_disk(folder)
    with suppress(FileNotFoundError):
        ready.rename(done)
    shutil.rmtree(done, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """While no other process commits a set to the folder or carries one out; the kernel lets go whenever we die.

    Where nothing can be locked (some network file systems), or somebody holds the folder for long, it is done without.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    last = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > last:
                raise
            time.sleep(0.01)


def _lines(file: Path) -> set[str]:
    try:
        return set(file.read_text(encoding="utf-8").split("\n"))
    except (OSError, ValueError):
        return set()


def flush_to_disk(path: Path) -> None:
    """A file's contents, or a folder's names.

    Raises:
        OSError: the disk is full or broken.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANT_FLUSH:
            raise
    finally:
        os.close(descriptor)
