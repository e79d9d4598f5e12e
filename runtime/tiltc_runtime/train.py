"""A run: admit the plan, load, apply rows, train, save, record. Goes on where a killed run stopped."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from accelerate import PartialState
from transformers import TrainerCallback

from tiltc.diagnostics import Diagnostics
from tiltc.evidence import weights_digest
from tiltc.files import place_folder
from tiltc.folders import RUN, mark
from tiltc.spec import HubRef
from tiltc_runtime.admit import Admitted, admit
from tiltc_runtime.asked import Form
from tiltc_runtime.checkpoints import SealCheckpoints, kept_checkpoints, step_of
from tiltc_runtime.data import Instructions, TrainingRows, training_rows
from tiltc_runtime.fused import responses_only
from tiltc_runtime.loading import context_length, reward_identity
from tiltc_runtime.locking import Locked, lock
from tiltc_runtime.methods import maker
from tiltc_runtime.moved import nothing_changed, sample, share_moved
from tiltc_runtime.places import refused_inputs, refused_run
from tiltc_runtime.portable import name_base
from tiltc_runtime.processes import from_main
from tiltc_runtime.progress import Diverged, Progress, Say
from tiltc_runtime.reach import reach
from tiltc_runtime.record import (
    RECORD_FILE,
    Mode,
    RunRecord,
    file_digests,
    hardware,
    installed_versions,
    now,
    read_record,
    write_record,
)
from tiltc_runtime.refused import Refused
from tiltc_runtime.runfolder import LOCK_FILE, REFERENCE, RunFolder
from tiltc_runtime.settings import trainer_arguments

#: written by libraries into a model's folder: pickled arguments with absolute paths, an empty model card
BY_PRODUCTS = ("training_args.bin", "README.md")


@dataclass(frozen=True)
class Job:
    """Everything a run needs, admitted and in hand."""

    admitted: Admitted
    rows: TrainingRows
    folder: RunFolder
    mode: Mode
    root: Path
    #: where reference log-probabilities are kept
    reference: Path
    say: Say


def silent(_: str) -> None:
    """Say nothing."""


def run(
    plan_folder: Path,
    out: Path,
    *,
    plain: bool = False,
    control: bool = False,
    fresh: bool = False,
    root: Path | None = None,
    reference: Path | None = None,
    say: Say = silent,
) -> tuple[RunRecord | None, Diagnostics]:
    """Train what a plan says into the folder `out`; a finished run is returned as it is.

    Args:
        plain: the same settings on untouched rows: the baseline.
        control: everything as the plan says, but unrelated sentences in place of its instructions. Not with `plain`.
        fresh: first remove what an earlier run left in `out`.
        root: what relative paths in the plan are relative to; by default the plan's folder, then the working directory.
        reference: where reference log-probabilities are kept, by content; by default within `out`. Runs over the same
            data can share one folder, so that the second computes nothing (with `max_steps`, where both visit the same rows).
        say: takes lines of progress.

    Findings: those of `admit` and `training_rows`, T530, T535, T538, T564, T573, T576, T577, T585, T586.

    Raises:
        ValueError: for `plain` and `control` at once.
    """
    if plain and control:
        raise ValueError("a run is plain or a control, not both")
    join_processes()
    say = say if is_main() else silent
    found = refused_run(out, plan_folder, reference, fresh=fresh)
    if found:
        return None, found
    with _quiet():
        admitted, found = admit(plan_folder, plain=plain, control=control, root=root)
        if admitted is None:
            return None, found
        plan = admitted.plan
        found.extend(refused_inputs(out, plan, root or plan_folder, fresh=fresh))
        if found.failed:
            return None, found
        told = tuple(c.text for c in plan.controls) if control else plan.prompts
        rows, more = training_rows(
            admitted.pairs,
            admitted.loaded.rows,
            admitted.tokenizer,
            plan.train.max_length,
            plain=plain,
            instructions=Instructions(told, context_length(admitted.model_folder)),
        )
        found.extend(more)
        if rows is None:
            return None, found
        mode: Mode = "plain" if plain else "control" if control else "tilted"
        identity: dict[str, Any] = {"plan": plan.digest, "mode": mode, "processes": PartialState().num_processes}
        if admitted.reward is not None:
            # no pin of the plan: another reward model at the same place is another run all the same
            try:
                identity["reward"] = reward_identity(admitted.reward)
            except Refused as refused:
                found.extend(refused.diagnostics)
                return None, found
        folder = RunFolder(out, identity)
        kept = reference or out / REFERENCE
        job = Job(admitted, rows, folder, mode, (root or plan_folder).absolute(), kept, say)
        return _alone(job, fresh, found)


def is_main() -> bool:
    """Is this the process that speaks for all of a launcher's?"""
    return PartialState().is_main_process


def join_processes() -> None:
    """Meet the other processes of a launcher, over gloo where there is no accelerator.

    The first to ask decides for the whole process: without the word, accelerate takes every process on a CPU for the only one.
    """
    PartialState(cpu=not torch.cuda.is_available())


def _alone(job: Job, fresh: bool, found: Diagnostics) -> tuple[RunRecord | None, Diagnostics]:
    """Run while nobody else writes into the folder."""
    try:
        with _locked(job.folder.path):
            if PartialState().is_main_process:
                mark(job.folder.path, RUN)
                if fresh:
                    job.folder.clear()
            found.extend(from_main(job.folder.check))
            record = None if found.failed else from_main(lambda: _finished(job)) or _train(job, found)
            found.extend(nothing_changed(record) if record is not None else ())
            return record, found
    except Locked as locked:
        found.add("T538", None, f"{job.folder.path} is in use by {locked}")
    except Diverged as diverged:
        found.add("T535", None, str(diverged))
    except Refused as refused:
        found.extend(refused.diagnostics)
    return None, found


def _finished(job: Job) -> RunRecord | None:
    record = read_record(job.folder.path)
    if record is not None:
        job.say(f"already done: {job.folder.path / RECORD_FILE}")
    return record


@contextmanager
def _locked(out: Path) -> Generator[None]:
    if not PartialState().is_main_process:
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / LOCK_FILE):
        yield


def _train(job: Job, found: Diagnostics) -> RunRecord:
    folder = job.folder
    checkpoint, said = from_main(lambda: _begun(job))
    found.extend(said)
    job.say(f"training on {job.rows.counts.trained} of {job.rows.counts.pairs} pairs")
    if checkpoint:
        job.say(f"going on from step {step_of(checkpoint)}")
    with responses_only():
        trainer = make_trainer(job)
        found.extend(_reached(job, trainer))
        before = sample(trainer.model)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    moved = share_moved(before, trainer.model)
    _save(trainer, folder.model, job.admitted.plan.model)
    return from_main(lambda: write_record(_record(job, trainer, moved), folder.path))


def _begun(job: Job) -> tuple[Path | None, Diagnostics]:
    """Note that a session begins; the checkpoint that it goes on from, and what is said of those that don't count."""
    folder = job.folder
    kept = kept_checkpoints(folder.checkpoints, folder.identity)
    found = kept.findings()
    kept.remove_broken()
    folder.begin(job.admitted.loaded.folder, step_of(kept.newest) if kept.newest else 0)
    return kept.newest, found


def make_trainer(job: Job) -> Any:
    """The trainer of a job, ready to go."""
    train, folder, tokenizer = job.admitted.plan.train, job.folder, job.admitted.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    arguments = trainer_arguments(train, folder.checkpoints, cuda=torch.cuda.is_available())
    trainer = maker(train.method)(job, arguments)
    trainer.add_callback(Progress(job.say))
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(SealCheckpoints(trainer, folder.identity))
    if train.lora:
        # twice, as TRL asks for them now and transformers does when training begins
        model = trainer.model.get_base_model()
        model.disable_input_require_grads()
        trainer.add_callback(NoInputGradients(model))
    return trainer


def _reached(job: Job, trainer: Any) -> Diagnostics:
    """Say how much the adapters reach; T573 where it is little."""
    lora = job.admitted.plan.train.lora
    if lora is None:
        return Diagnostics()
    reached = reach(trainer.model, lora.layers)
    job.say(reached.text)
    return reached.check()


@dataclass
class NoInputGradients(TrainerCallback):
    """Keeps layers below the first adapter from being run backwards for nothing.

    With recomputed activations the libraries ask for gradients of the embeddings; only re-entrant checkpointing needs
    them.
    """

    model: Any

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.model.disable_input_require_grads()


def _save(trainer: Any, place: Path, model: str | HubRef) -> None:
    """Write the model beside its place and move it there, so that `model/` is whole or absent."""
    part = place.with_name(f"{place.name}.part")
    trainer.save_model(str(part))
    trainer.accelerator.wait_for_everyone()
    if trainer.accelerator.is_main_process:
        for name in BY_PRODUCTS:
            (part / name).unlink(missing_ok=True)
        name_base(part, model)
        # a model without a record: the run was killed just before its end
        place_folder(part, place)


def _record(job: Job, trainer: Any, moved: float) -> RunRecord:
    plan, place, state = job.admitted.plan, job.folder.model, trainer.state
    # GRPO logs None where a metric has no value
    steps = [entry for entry in state.log_history if "loss" in entry]
    history = tuple({k: v for k, v in entry.items() if v is not None} for entry in steps)
    tail = history[-max(1, len(history) // 10) :]
    cuda = torch.cuda.is_available()
    return RunRecord(
        plan=plan.digest,
        name=plan.name,
        mode=job.mode,
        kind="adapter" if plan.train.lora else "full",
        weights=weights_digest(place),
        outputs=file_digests(place),
        start_model=plan.pins.model,
        start_folder=str(job.admitted.model_folder.absolute()),
        root=str(job.root),
        seed=plan.train.seed,
        arguments={k: v for k, v in trainer_arguments(plan.train, Path(), cuda=cuda).items() if k != "output_dir"},
        rows=job.rows.counts,
        form=Form.of(job.admitted.pairs),
        steps=state.global_step,
        epochs=float(state.epoch or 0),
        final_loss=sum(entry["loss"] for entry in tail) / len(tail),
        history=history,
        sessions=job.folder.sessions(),
        finished=now(),
        versions=installed_versions(),
        hardware=hardware(trainer.accelerator.num_processes),
        moved=moved,
    )


@contextmanager
def _quiet() -> Generator[None]:
    """The libraries' warnings are for those who write trainers; a user of `run` sees findings and progress."""
    verbosity, trl = transformers.logging.get_verbosity(), logging.getLogger("trl")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    level, _ = trl.level, trl.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
        datasets.enable_progress_bars()
        trl.setLevel(level)


__all__ = ["Job", "is_main", "make_trainer", "run", "silent"]
