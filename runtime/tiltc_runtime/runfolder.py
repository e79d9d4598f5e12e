"""A run folder on disk: whose it is, and what lies where.

run.json       identity of the run and its sessions, with a digest, written at the start
plan/          copy of the plan
reference/     reference log-probabilities, in chunks
checkpoints/   see `checkpoints.py`
model/         adapter or full weights, with the tokenizer; appears whole
record.json    `RunRecord`, written last: a run is finished when it is there
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiltc.diagnostics import Diagnostics
from tiltc.files import write_text
from tiltc.planfile import copy_plan
from tiltc.seal import parsed, sealed_object, unsealed_object
from tiltc_runtime.record import RECORD_FILE, Session, check_outputs, now, read_record

RUN_FILE, LOCK_FILE = "run.json", "run.lock"
PLAN, REFERENCE, CHECKPOINTS, MODEL, VERIFY = "plan", "reference", "checkpoints", "model", "verify"
#: everything that a run writes, and that `--fresh` removes
OWNED = (RUN_FILE, f"{RUN_FILE}.part", RECORD_FILE, f"{RECORD_FILE}.part")
OWNED_FOLDERS = (PLAN, REFERENCE, CHECKPOINTS, MODEL, f"{MODEL}.part", VERIFY)
FRESH = "--fresh removes what is there and starts again"


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
        """T530 when the folder was started by a run with another identity, T576 when it does not say by which."""
        found = Diagnostics()
        try:
            before = self._read()
            faults = self._unsaid() if before is None else self._finished_faults()
        except (OSError, ValueError) as problem:
            before, faults = None, [f"{RUN_FILE}: {problem}"]
        if faults:
            helps = ["give it back as it was written, or choose another folder with -o", FRESH]
            found.add("T576", None, f"{self.path}", notes=faults, helps=helps)
        elif before is not None and before.identity != self.identity:
            then, now_ = before.identity, self.identity
            keys = [key for key in {**now_, **then} if then.get(key) != now_.get(key)]
            notes = [f"{key}: started with {then.get(key)}, now {now_.get(key)}" for key in keys]
            helps = ["choose another folder with -o", FRESH]
            found.add("T530", None, f"{self.path} was started by another run", notes=notes, helps=helps)
        return found

    def _unsaid(self) -> list[str]:
        """A folder without `run.json` must be one in which nothing was trained."""
        left = [name for name in (RECORD_FILE, CHECKPOINTS, MODEL) if (self.path / name).exists()]
        return [f"{RUN_FILE} is missing, and there is {', '.join(left)}"] if left else []

    def _finished_faults(self) -> list[str]:
        """A record must be of the run that `run.json` names, and name the files in `model/`."""
        try:
            record, before = read_record(self.path), self._read()
        except (OSError, ValueError) as problem:
            return [f"{RECORD_FILE}: {problem}"]
        if record is None or before is None:
            return []
        said = {"plan": record.plan, "mode": record.mode, "processes": record.hardware.processes}
        other = [key for key, value in said.items() if before.identity.get(key) != value]
        return [f"{RECORD_FILE} is of another run: {', '.join(other)}"] if other else check_outputs(record, self.model)

    def sessions(self) -> tuple[Session, ...]:
        before = self._read()
        return before.sessions if before is not None else ()

    def begin(self, plan: Path, from_step: int) -> None:
        """Note a new session, and keep a copy of the plan."""
        copy_plan(plan, self.path / PLAN)
        sessions = [*self.sessions(), Session(started=now(), from_step=from_step)]
        content = {"run": self.identity, "sessions": [session.model_dump() for session in sessions]}
        write_text(self.path / RUN_FILE, sealed_object(content))

    def clear(self) -> None:
        """Remove what a run wrote, and nothing else."""
        for name in OWNED:
            (self.path / name).unlink(missing_ok=True)
        for name in OWNED_FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def _read(self) -> _Begun | None:
        """What `run.json` says; None without one. Raises OSError, ValueError."""
        file = self.path / RUN_FILE
        if not file.exists():
            return None
        data = file.read_bytes()
        value = parsed(data)
        # a version before seals wrote these two alone
        if not isinstance(value, dict) or value.keys() != {"run", "sessions"}:
            value = unsealed_object(data)
        if value.keys() != {"run", "sessions"} or (type(value["run"]), type(value["sessions"])) != (dict, list):
            raise ValueError("it is no description of a run")
        return _Begun(value["run"], tuple(Session.model_validate(entry) for entry in value["sessions"]))


@dataclass(frozen=True)
class _Begun:
    """`run.json`: whose folder it is, and its sessions so far."""

    identity: dict[str, Any]
    sessions: tuple[Session, ...]
