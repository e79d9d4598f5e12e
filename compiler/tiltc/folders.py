"""Whose a folder is. A verb writes into one that is new, empty or its own, and never over what it reads.

A run and an evidence store carry a mark; what else tiltc writes says what it is by its contents, as runs and stores did
before there were marks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tiltc.diagnostics import Diagnostics
from tiltc.figures import one_line
from tiltc.files import READY, write_text
from tiltc.paths import real

MARK = ".tiltc-folder"
#: what a folder may hold and be empty all the same: nobody's work, or the log of the very command; never written over
TRIFLES = re.compile(
    r"\.gitkeep|\.gitignore|\.gitattributes|\.DS_Store|Thumbs\.db|desktop\.ini|lost\+found|\.tiltc-\d.*"
    r"|.*\.(log|out|err|txt|[oe]\d+)|stdout|stderr|logs?|wandb|mlruns|tensorboard"
)
#: bytes of a file that are read to see what it is; strangers that a finding names
MOST, NAMED = 1 << 26, 5


@dataclass(frozen=True)
class Kind:
    """What a folder may be. `looks` recognises it by what it holds; `trifles` are names that leave it empty."""

    name: str
    looks: Callable[[Path], bool]
    trifles: str = ""

    def owns(self, folder: Path) -> bool:
        """Does it carry this kind's mark, or look like this kind? So does one in which a set of its files waits."""
        mark = marked(folder)
        return mark == self.name if mark else self.looks(folder) or self._waits(folder / READY)

    def _waits(self, ready: Path) -> bool:
        return ready.is_dir() and not ready.is_symlink() and self.looks(ready)


def marked(folder: Path) -> str:
    """The name of the kind that a folder's mark says; empty without one."""
    try:
        mark = json.loads((folder / MARK).read_bytes())
        return str(mark["tiltc"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def mark(folder: Path, kind: Kind) -> None:
    """Make a folder that of a kind.

    Raises:
        OSError: as the file system says.
    """
    if not (folder / MARK).exists():
        write_text(folder / MARK, json.dumps({"tiltc": kind.name}) + "\n")


def refusal(folder: Path, kind: Kind, help: str = "") -> Diagnostics:
    """T585 where a folder is there, not empty, and not one of this kind.

    Args:
        help: another way than naming a folder.
    """
    found = Diagnostics()
    why = _why_not(folder, kind)
    if why:
        helps = [f"name a folder that is new, empty or {kind.name}", *filter(None, [help])]
        found.add(
            "T585", None, f"{one_line(folder)} is not {kind.name}", notes=[why, "nothing was written"], helps=helps
        )
    return found


def _why_not(folder: Path, kind: Kind) -> str:
    if not folder.is_dir():
        return "it is no folder" if folder.exists() or folder.is_symlink() else ""
    if kind is not REFERENCE and folder.name in RUN_FOLDERS and RUN.owns(real(folder).parent):
        return "it is part of a run"
    names = sorted(path.name for path in folder.iterdir() if not _trifle(path.name, kind))
    if not names or kind.owns(folder):
        return ""
    other = next((other.name for other in KINDS if other.owns(folder)), "")
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"it is {other}" if other else f"it holds {', '.join(one_line(n) for n in names[:NAMED])}{more}"


def _trifle(name: str, kind: Kind) -> bool:
    return bool(TRIFLES.fullmatch(name) or (kind.trifles and re.fullmatch(kind.trifles, name)))


def other_plan(folder: Path, name: str) -> Diagnostics:
    """T585 where a folder holds the plan of a spec of another name, or one waits there. What can't be read is compiled again."""
    found = Diagnostics()
    there = next((n for n in (_name(folder / READY), _name(folder)) if n), name)
    if there != name:
        notes = [f"it holds the plan `{one_line(there)}`, and `{name}` was compiled", "nothing was written"]
        helps = [f"name another folder with `-o`, or remove {one_line(folder)} if the spec was renamed"]
        found.add("T585", None, f"{one_line(folder)} is the plan of another spec", notes=notes, helps=helps)
    return found


def _name(folder: Path) -> str:
    """What the plan in a folder is called; empty if that can't be read."""
    try:
        name = json.loads((folder / "plan.json").read_bytes())["name"]
        return name if isinstance(name, str) else ""
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def over_input(written: Iterable[Path], read: Iterable[Path]) -> Diagnostics:
    """T586 for what would be written, or removed, over a file or a folder that is read, or over what holds one."""
    found = Diagnostics()
    places = [(path, real(path)) for path in written]
    for given in dict.fromkeys(read):
        for path, place in places:
            if place in (real(given), *real(given).parents) or _same(path, given):
                text = f"{one_line(path)} would be written over, and {one_line(given)} is read"
                found.add("T586", None, text, notes=["nothing was written"], helps=["name another place to write to"])
                break
    return found


def _same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False


def foreign_file(file: Path, own: Callable[[Path], bool], what: str) -> Diagnostics:
    """T587 where a file is there that is not empty and not what the verb writes.

    Args:
        own: is it an older one of the same kind?
        what: that kind, such as "an export".
    """
    found = Diagnostics()
    if file.is_symlink() or file.exists():
        fine = file.is_file() and (file.stat().st_size == 0 or own(file))
        if not fine:
            notes = ["nothing was written"]
            text = f"{one_line(file)} is there already and is not {what}"
            found.add("T587", None, text, notes=notes, helps=["name another file, or move this one away"])
    return found


def says(file: Path, *words: str) -> bool:
    """Does a file hold these words?"""
    try:
        with open(file, "rb") as opened:
            text = opened.read(MOST) if file.is_file() else b""
    except OSError:
        return False
    return all(word.encode() in text for word in words)


def _holds(folder: Path, names: str) -> bool:
    return any(re.fullmatch(names, path.name) for path in folder.iterdir())


def _plan(folder: Path) -> bool:
    return says(folder / "plan.json", '"plan_version"', '"pins"') or says(
        folder / "rows.parquet", "margin_offset", "row_id"
    )


def _run(folder: Path) -> bool:
    begun = says(folder / "run.json", '"run"', '"mode"', '"processes"', '"sessions"')
    return begun or says(folder / "record.json", '"start_model"', '"mode"', '"weights"')


def _store(folder: Path) -> bool:
    return _holds(folder, r"[0-9a-f]{20}(\.lock)?") or any(
        says(file, '"reconstruction"', '"shards"') for file in folder.glob("*/manifest.json")
    )


#: folders within a run's
RUN_FOLDERS = ("plan", "reference", "checkpoints", "model", "verify")

PLAN = Kind("a plan", _plan)
RUN = Kind("a run", _run, r"run\.lock")
AUDIT = Kind("an audit", lambda folder: says(folder / "audit.json", '"audit_version"', '"hypotheses"'))
STORE = Kind("an evidence store", _store)
ROLLOUTS = Kind("a store of rollouts", lambda folder: _holds(folder, r"[0-9a-f]{64}\.jsonl|losses\.jsonl?"))
DERIVED = Kind("a cache of derived results", lambda folder: _holds(folder, "[0-9a-f]{16}"))
LABELS = Kind("a cache of a labeller's answers", lambda folder: _holds(folder, r"[0-9a-f]{64}\.json"))
REFERENCE = Kind("a store of reference log-probabilities", lambda folder: _holds(folder, r"[0-9a-f]{64}\.npy"))
KINDS = (RUN, PLAN, AUDIT, STORE, ROLLOUTS, DERIVED, LABELS, REFERENCE)
