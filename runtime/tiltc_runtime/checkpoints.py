"""Checkpoints that count: complete, and of this run. A seal is written into a checkpoint after everything else.

A process killed while it writes leaves a checkpoint without a seal, or with files that are not as long as sealed; it is
removed and the one before it is used. (The trainer keeps two.)
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from tiltc.canonical import canonical_json
from tiltc.files import write_text

SEAL_FILE = "tiltc.json"
#: checkpoints kept: the newest, and the one to fall back on
KEPT = 2

Identity = dict[str, Any]


def seal(checkpoint: Path, identity: Identity) -> None:
    """Mark a checkpoint as complete and whose it is."""
    content = {"run": identity, "files": _sizes(checkpoint)}
    write_text(checkpoint / SEAL_FILE, canonical_json(content))


def is_sealed(checkpoint: Path, identity: Identity) -> bool:
    """Is it complete, and of the run with this identity?"""
    try:
        content = json.loads((checkpoint / SEAL_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return content["run"] == identity and content["files"].items() <= _sizes(checkpoint).items()


def newest(folder: Path, identity: Identity) -> Path | None:
    """The newest checkpoint that counts."""
    return next((path for path in reversed(_all(folder)) if is_sealed(path, identity)), None)


def remove_broken(folder: Path, identity: Identity) -> None:
    """Remove the checkpoints that don't count, so that no later step trips over them."""
    for path in _all(folder):
        if not is_sealed(path, identity):
            shutil.rmtree(path)


def _all(folder: Path) -> list[Path]:
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.rsplit("-", 1)[1].isdecimal()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done when the checkpoint was written."""
    return int(checkpoint.name.rsplit("-", 1)[1])


def _sizes(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(SEAL_FILE)]
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


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
