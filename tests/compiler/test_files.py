"""Files appear whole or not at all: shown by killing a process at each of its calls to the file system in turn."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tiltc import beside, files
from tiltc.beside import machine
from tiltc.files import READY, settle, write_bytes, write_files, write_text, write_whole, writing

OLD = {"a.txt": "old a", "b.txt": "old b", "c.txt": "old c"}
NEW = {"a.txt": "new a", "b.txt": "new b"}
NAMES = ("a.txt", "b.txt", "c.txt")
#: calls of `os` by which files change
CALLS = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "open")
KILLED = 9


def killed_at(call: int, work: Callable[[], object]) -> bool:
    """Run `work` in a process that dies, without any clean-up, before its `call`-th call. False if it had fewer."""
    process = os.fork()
    if process == 0:
        _die_at(call)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == KILLED


def _die_at(call: int) -> None:
    left = [call]

    def counted(real: Any, *args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            os._exit(KILLED)
        return real(*args, **kwargs)

    for name in CALLS:
        setattr(os, name, partial(counted, getattr(os, name)))


def fills(texts: Mapping[str, str]) -> dict[str, Callable[[Path], object]]:
    return {name: lambda part, text=text: part.write_text(text) for name, text in texts.items()}


def texts_in(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}


def replace_all(folder: Path) -> None:
    write_files(folder, fills(NEW), ["c.txt"])


def test_a_set_is_replaced_whole_at_whatever_call_it_is_killed(tmp_path: Path) -> None:
    """After a kill at any call, and what a reader then completes, all is old or all is new; the user's file stays."""
    seen: set[str] = set()
    call = 0
    for call in range(1000):
        folder = tmp_path / str(call)
        write_files(folder, fills(OLD))
        (folder / "mine.md").write_text("mine")
        died = killed_at(call, lambda folder=folder: replace_all(folder))
        settle(folder, NAMES)
        files.sweep(folder)
        left = texts_in(folder)
        assert left.pop("mine.md") == "mine"
        assert left in (OLD, NEW)
        assert [path for path in folder.iterdir() if path.name.startswith(".")] == []
        seen.add(left["a.txt"])
        if not died:
            break
    assert call > 10
    assert seen == {"old a", "new a"}


def test_an_older_reader_sees_a_set_that_waits(tmp_path: Path) -> None:
    """What was complete when its writer died is carried out by the next writer, too."""
    for call in range(1000):
        folder = tmp_path / str(call)
        write_files(folder, fills(OLD))
        if not killed_at(call, lambda folder=folder: replace_all(folder)):
            break
        write_files(folder, fills({"b.txt": "newest b"}), ["a.txt", "c.txt"])
        assert texts_in(folder) == {"b.txt": "newest b"}
        assert not (folder / READY).exists()


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_is_replaced_whole(tmp_path: Path, before: str | None) -> None:
    """At whatever call a writer is killed, the file holds the old text or the new one."""
    file = tmp_path
    for call in range(100):
        file = tmp_path / str(call) / "file.txt"
        if before is not None:
            write_text(file, before)
        died = killed_at(call, lambda file=file: write_text(file, "new"))
        assert (file.read_text() if file.exists() else None) in (before, "new")
        if not died:
            break
    assert file.read_text() == "new"


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    """At whatever call its writer is killed, a folder holds all of its files or isn't there."""
    folder = tmp_path
    for call in range(100):
        folder = tmp_path / str(call) / "folder"

        def fill(work: Path) -> None:
            write_text(work / "a.txt", "a")
            write_text(work / "b.txt", "b")

        died = killed_at(call, lambda folder=folder, fill=fill: write_whole(folder, fill))
        assert not folder.exists() or texts_in(folder) == {"a.txt": "a", "b.txt": "b"}
        if not died:
            break
    assert folder.exists()


def test_a_failed_block_changes_nothing(tmp_path: Path) -> None:
    """An exception leaves the old file and nothing beside it; for a set the same."""
    file = tmp_path / "file.txt"
    write_bytes(file, b"old")

    def fail(part: Path) -> None:
        part.write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError), writing(file) as part:
        fail(part)
    with pytest.raises(RuntimeError):
        write_files(tmp_path, {"file.txt": lambda part: part.write_bytes(b"new"), "other.txt": fail})
    assert texts_in(tmp_path) == {"file.txt": "old"}
    assert [*tmp_path.iterdir()] == [file]


def test_a_folder_from_elsewhere_moves_only_what_is_its_own(tmp_path: Path) -> None:
    """A waiting set that names other files than its reader knows moves and removes none of them."""
    folder = tmp_path / "plan"
    (folder / READY).mkdir(parents=True)
    (tmp_path / "victim.txt").write_text("mine")
    (folder / READY / "stranger.txt").write_text("x")
    (folder / READY / files.REMOVED).write_text("../victim.txt\nkept.txt")
    (folder / "kept.txt").write_text("kept")
    settle(folder, ["a.txt"])
    assert texts_in(folder) == {"kept.txt": "kept"}
    assert (tmp_path / "victim.txt").read_text() == "mine"


def test_only_what_the_dead_left_is_swept(tmp_path: Path) -> None:
    """Unfinished files of processes that live, or lived a day ago on another machine, and what looks alike, stay."""
    here = machine()
    mine, dead = (
        tmp_path / f".tiltc-{os.getpid()}-{here}-01234567.json",
        tmp_path / f".tiltc-99999999-{here}-01234567.json",
    )
    alike, theirs = tmp_path / ".tiltc-notes", tmp_path / ".tiltc-99999999-89abcdef-01234567"
    older = [tmp_path / ".tiltc-99999999-89abcdef-76543210", tmp_path / f".tiltc-{os.getpid()}-01234567"]
    for path in (mine, dead, alike, theirs, *older):
        path.write_text("x")
    for path in (alike, *older):
        os.utime(path, (0, 0))
    files.sweep(tmp_path)
    assert {*tmp_path.iterdir()} == {mine, alike, theirs}


def test_a_work_folder_of_another_machine_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers that share a folder, whose process numbers say nothing to each other."""

    def meanwhile(part: Path) -> None:
        part.write_text("slow")
        with monkeypatch.context() as patch:
            patch.setattr(beside, "machine", lambda: "89abcdef")
            patch.setattr(beside, "_alive", lambda process: False)
            write_files(tmp_path, fills({"b.txt": "quick"}))

    write_files(tmp_path, {"a.txt": meanwhile})
    assert texts_in(tmp_path) == {"a.txt": "slow", "b.txt": "quick"}


def waiting(folder: Path) -> None:
    """A set whose process was killed when it was complete."""
    (folder / READY).mkdir(parents=True)
    for name, text in {**NEW, files.REMOVED: "c.txt"}.items():
        (folder / READY / name).write_text(text)


def test_a_set_is_not_lost_to_who_carries_out_an_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process is about to remove an older set that it has moved; what another commits meanwhile stays."""
    write_files(tmp_path, fills(OLD))
    waiting(tmp_path)
    at, go, real = threading.Event(), threading.Event(), files.flush_to_disk

    def slow(path: Path) -> None:
        if threading.current_thread() is older and path == tmp_path:
            at.set()
            go.wait(0.5)
        real(path)

    commit = files._commit

    def committed(*args: Any) -> None:
        commit(*args)
        go.set()
        older.join(5)

    monkeypatch.setattr(files, "flush_to_disk", slow)
    monkeypatch.setattr(files, "_commit", committed)
    older = threading.Thread(target=settle, args=(tmp_path, NAMES))
    older.start()
    assert at.wait(5)
    write_files(tmp_path, fills(dict.fromkeys(NAMES, "newest")))
    assert texts_in(tmp_path) == dict.fromkeys(NAMES, "newest")


def test_sets_of_many_writers_come_one_after_the_other(tmp_path: Path) -> None:
    """Four processes replace a set at once: at the end there is one of theirs, whole, and nothing is left beside it."""
    running: list[int] = []
    for number in range(4):
        process = os.fork()
        if process == 0:
            for turn in range(15):
                write_files(tmp_path, fills(dict.fromkeys(NAMES, f"{number} {turn}")))
            os._exit(0)
        running.append(process)
    assert [os.waitpid(process, 0)[1] for process in running] == [0] * 4
    left = texts_in(tmp_path)
    assert (left.keys(), len({*left.values()}), left["a.txt"][1:]) == ({*NAMES}, 1, " 14")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_folder_that_somebody_holds_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `flock plan tiltc compile`, or on a file system without locks."""
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    write_files(tmp_path, fills(NEW))
    os.close(held)
    assert texts_in(tmp_path) == NEW


def test_a_reader_is_told_of_a_set_that_waits(tmp_path: Path) -> None:
    """And finds the folder as it was, whatever waits there."""
    write_files(tmp_path, fills(OLD))
    assert not files.unfinished(tmp_path)
    waiting(tmp_path)
    assert files.unfinished(tmp_path)
    assert texts_in(tmp_path) == OLD
    settle(tmp_path, NAMES)
    assert not files.unfinished(tmp_path)


def test_a_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    """The umask decides, as for files that are simply opened."""
    write_text(tmp_path / "a", "a")
    (tmp_path / "b").write_text("b")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
