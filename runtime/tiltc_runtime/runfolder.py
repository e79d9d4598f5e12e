"""A run folder on disk: whose it is, and what lies where.

run.json       identity of the run and its sessions, written at the start
plan/          copy of the plan
reference/     reference log-probabilities, in chunks
checkpoints/   see `checkpoints.py`
model/         adapter or full weights, with the tokenizer; appears whole
record.json    `RunRecord`, written last: a run is finished when it is there
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiltc.canonical import canonical_json
from tiltc.diagnostics import Diagnostics
from tiltc.files import write_text
from tiltc.planfile import copy_plan
from tiltc_runtime.record import RECORD_FILE, Session, now

RUN_FILE, LOCK_FILE = "run.json", "run.lock"
PLAN, REFERENCE, CHECKPOINTS, MODEL, VERIFY = "plan", "reference", "checkpoints", "model", "verify"
#: everything that a run writes, and that `--fresh` removes
OWNED = (RUN_FILE, f"{RUN_FILE}.part", RECORD_FILE, f"{RECORD_FILE}.part")
OWNED_FOLDERS = (PLAN, REFERENCE, CHECKPOINTS, MODEL, f"{MODEL}.part", VERIFY)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run with this identity (plan digest, mode, number of processes)."""

    path: Path
    identity: dict[str, Any]

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def model(self) -> Path:
        return self.path / MODEL

    def check(self) -> Diagnostics:
        """T530 when the folder was started by a run with another identity."""
        found = Diagnostics()
        before = self._read().get("run", self.identity)
        if before != self.identity:
            pairs = [(key, before.get(key), value) for key, value in self.identity.items() if before.get(key) != value]
            notes = [f"{key}: started with {then}, now {this}" for key, then, this in pairs]
            helps = ["choose another folder with -o", "--fresh removes what is there and starts again"]
            found.add("T530", None, f"{self.path} was started by another run", notes=notes, helps=helps)
        return found

    def sessions(self) -> tuple[Session, ...]:
        return tuple(Session.model_validate(entry) for entry in self._read().get("sessions", []))

    def begin(self, plan: Path, from_step: int) -> None:
        """Note a new session, and keep a copy of the plan."""
        copy_plan(plan, self.path / PLAN)
        sessions = [*self.sessions(), Session(started=now(), from_step=from_step)]
        content = {"run": self.identity, "sessions": [session.model_dump() for session in sessions]}
        write_text(self.path / RUN_FILE, canonical_json(content))

    def clear(self) -> None:
        """Remove what a run wrote, and nothing else."""
        for name in OWNED:
            (self.path / name).unlink(missing_ok=True)
        for name in OWNED_FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads((self.path / RUN_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
