"""Checkpoints that count: complete, and of this run. A seal is written into a checkpoint after everything else.

It holds the sha256 of each file. A process killed while it writes leaves a checkpoint without a seal; that, and one whose files
are not those that were sealed, is removed and the one before it is used. (The trainer keeps two.)
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from tiltc.canonical import sha256_file
from tiltc.diagnostics import Diagnostics
from tiltc.files import write_text
from tiltc.seal import sealed_object, unsealed_object

SEAL_FILE = "tiltc.json"
#: checkpoints kept: the newest, and the one to fall back on
KEPT = 2
#: files named in a finding
NAMED = 5

Identity = dict[str, Any]


def seal(checkpoint: Path, identity: Identity) -> None:
    """Mark a checkpoint as complete and whose it is."""
    write_text(checkpoint / SEAL_FILE, sealed_object({"run": identity, "files": _hashes(checkpoint)}))


@dataclass(frozen=True)
class Kept:
    """The checkpoints of a run: the newest that counts, and why newer ones don't count, by their paths."""

    newest: Path | None
    broken: dict[Path, tuple[str, ...]]

    def findings(self) -> Diagnostics:
        """T577 for each that had a seal which does not hold; one without was being written when its process died."""
        found = Diagnostics()
        for path, faults in self.broken.items():
            if (path / SEAL_FILE).exists():
                found.add("T577", None, path.name, notes=faults[:NAMED])
        return found

    def remove_broken(self) -> None:
        """So that no later step trips over them."""
        for path in self.broken:
            shutil.rmtree(path)


def kept_checkpoints(folder: Path, identity: Identity) -> Kept:
    """Look at the checkpoints in a folder down to their bytes, from the newest to the first that is whole.

    Those before it are not read: they are looked at when nothing newer is whole any more.
    """
    broken: dict[Path, tuple[str, ...]] = {}
    for path in reversed(_all(folder)):
        faults = _faults(path, identity)
        if not faults:
            return Kept(path, broken)
        broken[path] = faults
    return Kept(None, broken)


def _faults(checkpoint: Path, identity: Identity) -> tuple[str, ...]:
    try:
        content = unsealed_object((checkpoint / SEAL_FILE).read_bytes())
        sealed, of = dict[str, str](content["files"]), content["run"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        return (f"{SEAL_FILE}: {problem}",)
    if of != identity:
        return ("it is of another run",)
    found = _hashes(checkpoint)
    return tuple(
        f"{name} {'is missing' if name not in found else 'is not the file that was sealed'}"
        for name in sorted({*sealed, *found})
        if sealed.get(name) != found.get(name)
    )


def _all(folder: Path) -> list[Path]:
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.rsplit("-", 1)[1].isdecimal()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done when the checkpoint was written."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def _hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(SEAL_FILE)]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


@dataclass
class SealCheckpoints(TrainerCallback):
    """Seals every checkpoint once all processes have written their part, and restores what trainers forget."""

    trainer: Any
    identity: Identity

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            seal(Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}", self.identity)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """TRL counts tokens from zero after a resumption."""
        counts = [entry["num_tokens"] for entry in state.log_history if "num_tokens" in entry]
        if counts:
            self.trainer._total_train_tokens = counts[-1]
