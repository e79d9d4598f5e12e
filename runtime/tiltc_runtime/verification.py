"""Verify: sample from start, plain and tilted policy, score, and hold what was measured against the plan's forecast."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix

from tiltc.canonical import sha256_text
from tiltc.datafile import data_sha256
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import adapted_digest, weights_digest
from tiltc.folders import ROLLOUTS, over_input, refusal
from tiltc.paths import found_at
from tiltc.plan import Plan
from tiltc.planfile import read_plan
from tiltc.spec import Verify
from tiltc_runtime.activations import read_prompt_features, read_texts
from tiltc_runtime.admit import check_model, check_pin, check_sae
from tiltc_runtime.asked import check_form
from tiltc_runtime.assess import Answers, Trial, assess
from tiltc_runtime.frontier import differences, frontiers
from tiltc_runtime.loading import LoadedModel, load_model, load_tokenizer, model_folder, settings_key
from tiltc_runtime.loss import held_out_loss
from tiltc_runtime.prompts import Prompt, read_prompts
from tiltc_runtime.record import RECORD_FILE, RunRecord, check_outputs, read_record
from tiltc_runtime.refused import Refused, refuse
from tiltc_runtime.report import read_report, write_report
from tiltc_runtime.report.model import PolicyName, Report
from tiltc_runtime.rollouts import Policy, Rollout, rollouts_key, sample
from tiltc_runtime.runfolder import MODEL, PLAN
from tiltc_runtime.sae import Sae, load_sae
from tiltc_runtime.scoring import gates_read_features, score_texts

Say = Callable[[str], None]

VERIFY_FOLDER = "verify"


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, record, plan and vectors."""

    folder: Path
    record: RunRecord
    plan: Plan
    #: the plan's vectors by key
    tools: dict[str, np.ndarray]

    @property
    def root(self) -> Path:
        """What the plan's relative paths are relative to."""
        return Path(self.record.root)

    @property
    def policy_digest(self) -> str:
        """Identity of the trained weights: an adapter is nothing without the model under it."""
        if self.record.kind == "full":
            return self.record.weights
        return adapted_digest(self.record.start_model.digest, self.record.weights)


def verify(
    folder: Path,
    store: Path,
    *,
    baseline: Path | None = None,
    control: Path | None = None,
    sweep: Sequence[Path] = (),
    rollouts: int | None = None,
    say: Say | None = None,
) -> tuple[Report | None, Diagnostics]:
    """Verify a run and write `verify/` in its folder.

    Args:
        folder: run folder, as `tiltc run` left it.
        store: folder of kept rollouts, shared between runs.
        baseline: run folder of the plain training.
        control: run folder of the control arm of the plan's inoculation.
        sweep: run folders of the same training at other strengths, each verified with the same baseline.
        rollouts: number of rollouts per policy instead of the plan's.
    """
    found = refusal(store, ROLLOUTS, "or name another `--store`: rollouts lie beside it")
    if found:
        return None, found
    run, found = read_run(folder, "tilted")
    plain = None
    if baseline is not None:
        plain, more = read_run(baseline, "plain")
        found.extend(more)
        if run is not None and plain is not None:
            found.extend(check_baseline(run, plain))
    arm = None
    if control is not None:
        arm, more = read_run(control, "control")
        found.extend(more)
        if run is not None and arm is not None:
            found.extend(check_control(run, arm))
    swept: list[Run] = []
    for other in sweep:
        one, more = read_run(other, "tilted")
        found.extend(more)
        swept += [one] if one is not None else []
    if run is None or found.failed:
        return None, found
    asked = run.plan.verify.model_copy(update={"rollouts": rollouts} if rollouts else {})
    prompts, more = read_prompts(asked.prompts, run.root)
    found.extend(more)
    if prompts is not None:
        found.extend(check_form(run.record.form, prompts))
        prompts = tuple(run.record.form.asked(prompt) for prompt in prompts)
    found.extend(check_prompts(run.plan, str(found_at(asked.prompts, run.root))))
    found.extend(over_input([folder / VERIFY_FOLDER], [found_at(asked.prompts, run.root)]))
    if prompts is None or found.failed:
        return None, found
    try:
        report, more = _measure(run, _Others(plain, arm, swept), asked, prompts, store, say or _silent)
    except Refused as refused:
        report, more = None, refused.diagnostics
    found.extend(more)
    return report, found


def read_run(folder: Path, mode: str) -> tuple[Run | None, Diagnostics]:
    """A finished run of this mode, its plan intact and its weights those of the record. T653 when it is not."""
    found = Diagnostics()
    try:
        record = read_record(folder)
    except (OSError, ValueError) as problem:
        found.add("T653", None, f"{folder}", notes=[f"record.json: {problem}"])
        return None, found
    if record is None:
        found.add("T653", None, f"{folder}", notes=["there is no record.json: the run is not finished"])
        return None, found
    loaded, more = read_plan(folder / PLAN)
    found.extend(more)
    if loaded is None:
        return None, found
    problems = _problems(folder, record, loaded.plan, mode)
    if problems:
        found.add("T653", None, f"{folder}", notes=problems)
        return None, found
    if not record.digest:
        found.add("T580", None, f"{folder / RECORD_FILE}")
    return Run(folder, record, loaded.plan, loaded.tools), found


def _problems(folder: Path, record: RunRecord, plan: Plan, mode: str) -> list[str]:
    out: list[str] = []
    if record.mode != mode:
        flag = "without --plain or --control" if mode == "tilted" else f"with --{mode}"
        out.append(f"it is a {record.mode} run; this place takes one that was trained {flag}")
    if plan.train.method == "reward":
        out.append("it trained a reward model, which scores responses and gives none: there is no policy to sample")
    if record.plan != plan.digest:
        out.append("the plan in the folder is not the one that was trained with")
    try:
        faults = check_outputs(record, folder / MODEL)
        if not faults and weights_digest(folder / MODEL) != record.weights:
            faults = ["the weights in model/ are not those that the record names"]
        out += faults
    except (OSError, ValueError) as problem:
        out.append(str(problem))
    return out


def check_baseline(run: Run, plain: Run) -> Diagnostics:
    """T652 when the two runs differ in more than the plan's rows."""
    found = Diagnostics()
    same = {
        "starting model": (run.record.start_model, plain.record.start_model),
        "data": (run.plan.pins.data.digest, plain.plan.pins.data.digest),
        "training settings": (run.plan.train, plain.plan.train),
        "chat template": (run.plan.pins.template, plain.plan.pins.template),
    }
    differ = [name for name, (one, other) in same.items() if one != other]
    if differ:
        found.add("T652", None, f"{plain.folder}", notes=[f"other {name}" for name in differ])
    return found


def check_control(run: Run, control: Run) -> Diagnostics:
    """T655 when the two runs differ in more than what instructed rows are told. The control's sentences may be its own."""
    found = Diagnostics()
    both = [
        {
            "starting model": one.record.start_model,
            "data": one.plan.pins.data.digest,
            "training settings": one.plan.train,
            "chat template": one.plan.pins.template,
            "rows": one.plan.pins.rows,
            "instructions": one.plan.prompts,
            "steering": (one.plan.steering, one.plan.pins.tools),
            "number of processes": one.record.hardware.processes,
        }
        for one in (run, control)
    ]
    differ = [name for name, value in both[0].items() if both[1][name] != value]
    if differ:
        found.add("T655", None, f"{control.folder}", notes=[f"other {name}" for name in differ])
    return found


def check_prompts(plan: Plan, name: str) -> Diagnostics:
    """T579 when the file of prompts is not the one that the plan pins."""
    found = Diagnostics()
    if plan.pins.prompts and Path(name).exists() and (now := data_sha256(Path(name))) != plan.pins.prompts:
        notes = [f"sha256 pinned: {plan.pins.prompts}", f"sha256 found:  {now}"]
        found.add("T579", None, f"`verify.prompts: {plan.verify.prompts}`", notes=notes)
    return found


@dataclass(frozen=True)
class _Others:
    """The runs that one is held against."""

    plain: Run | None
    control: Run | None
    swept: Sequence[Run]


@dataclass(frozen=True)
class _Start:
    """The starting policy, loaded when it is first needed: to sample from, and to read texts with."""

    run: Run

    @cached_property
    def model(self) -> LoadedModel:
        return load_model(self.run.plan.model, folder=self.run.root)

    @cached_property
    def sae(self) -> Sae:
        device, model = str(self.model.device), self.model.folder
        return load_sae(self.run.plan.sae, folder=self.run.root, device=device, model=model)


def _measure(
    run: Run,
    others: _Others,
    asked: Verify,
    prompts: Sequence[Prompt],
    store: Path,
    say: Say,
) -> tuple[Report | None, Diagnostics]:
    start, found = _Start(run), Diagnostics()
    found.extend(_check_world(start))
    if found.failed:
        return None, found
    answers: dict[PolicyName, Answers] = {}
    for name, policy in _policies(start, run, others).items():
        key = rollouts_key(policy, prompts, asked, start.model.dtype)
        sampled = sample(
            policy, prompts, asked, store / f"{key}.jsonl", lambda k, n, p=name: say(f"{p}: {k}/{n} rollouts")
        )
        if sampled.broken:
            found.add("T578", None, f"{sampled.broken} rollouts of `{name}`", notes=[f"in {key}.jsonl of the store"])
        say(f"{name}: reading {len(sampled.rollouts)} rollouts through the SAE")
        answers[name] = _scored(start, policy, prompts, sampled.rollouts)
    out = run.folder / VERIFY_FOLDER
    activations = _prompt_activations(start, prompts) if gates_read_features(run.plan) else None
    controls = () if others.control is None else others.control.plan.controls
    report, more = assess(Trial(run.plan, asked, prompts, answers, activations, controls))
    found.extend(more)
    write_report(report, out, lambda file: _write_rollouts(file, prompts, answers))
    if others.swept:
        report, more = _with_frontiers(report, start, run, others, answers["start"], prompts, store, say)
        found.extend(more)
        write_report(report, out)
    return report, found


def _with_frontiers(
    report: Report,
    start: _Start,
    run: Run,
    others: _Others,
    said: Answers,
    prompts: Sequence[Prompt],
    store: Path,
    say: Say,
) -> tuple[Report, Diagnostics]:
    """The report with the frontiers of a sweep; as it was, and T654, when a run is no point of it."""
    found, reports, swept = Diagnostics(), list[Report](), others.swept
    for other in swept:
        theirs, problems = _swept(other, run, report)
        if theirs is None or problems:
            found.add("T654", None, f"{other.folder}", notes=problems)
        else:
            reports.append(theirs)
    if found.failed:
        return report, found
    runs = {policy.digest: policy for name, policy in _policies(start, run, others).items() if name != "control"}
    runs |= {other.policy_digest: _trained("swept", other) for other in swept}
    losses: dict[str, float] = {}
    for digest, policy in runs.items():
        say(f"held-out loss: {len(losses) + 1} of {len(runs)} policies")
        load = partial(_loaded, start, policy)
        used = f"{digest} {policy.settings} {start.model.settings}"
        losses[digest] = held_out_loss(used, load, prompts, said.rollouts, store / "losses.jsonl")
    return report.model_copy(update={"frontiers": frontiers(report, reports, losses)}), found


def _swept(other: Run, run: Run, report: Report) -> tuple[Report | None, list[str]]:
    """The report of a run of a sweep, and why it is no point of it, if it isn't."""
    try:
        theirs = read_report(other.folder / VERIFY_FOLDER)
    except (OSError, ValueError):
        return None, ["it was not verified by this version of tiltc, or its report was changed or left unfinished"]
    problems = differences(report, theirs)
    ours, pins = run.plan.pins, other.plan.pins
    if (ours.data, ours.template, ours.sae, ours.model) != (pins.data, pins.template, pins.sae, pins.model):
        problems.append("its model, SAE, data or template is another")
    if all(policy.digest != other.policy_digest for policy in theirs.policies):
        problems.append("its weights are not those that were verified")
    return theirs, problems


def _loaded(start: _Start, policy: Policy) -> LoadedModel:
    return replace(start.model, model=policy.load()[0])


def _check_world(start: _Start) -> Diagnostics:
    """The starting model, its tokenizer and the SAE must be the pinned ones, or the scores mean something else."""
    plan, found = start.run.plan, Diagnostics()
    found.extend(check_model(plan, start.model.pin, start.model.tokenizer))
    found.extend(check_sae(plan, start.sae.pin))
    return found


def _policies(start: _Start, run: Run, others: _Others) -> dict[PolicyName, Policy]:
    model = start.model
    policies: dict[PolicyName, Policy] = {
        "start": Policy("start", model.pin.digest, model.settings, lambda: (model.model, model.tokenizer))
    }
    beside: dict[PolicyName, Run | None] = {"plain": others.plain, "control": others.control}
    for name, other in beside.items():
        if other is not None:
            policies[name] = _trained(name, other)
    policies["tilted"] = _trained("tilted", run)
    return policies


def _trained(name: str, run: Run) -> Policy:
    """The policy that a run trained."""
    settings = settings_used(run)

    def load() -> tuple[Any, Any]:
        model = load_trained(run)
        # hours may lie between the two
        if settings_used(run) != settings:
            refuse("T523", f"{run.folder}: what its model is read with changed meanwhile")
        return model

    return Policy(name, run.policy_digest, settings, load)


def settings_used(run: Run) -> str:
    """sha256 of what beside the weights decides what the policy of a run answers. Raises Refused (T507)."""
    place = run.folder / MODEL if run.record.kind == "full" else model_folder(run.plan.model, run.root)
    adapter = run.record.outputs.get("adapter_config.json", "")
    return sha256_text(f"{settings_key(place, load_tokenizer(place))} {adapter}")


def load_trained(run: Run) -> tuple[Any, Any]:
    """The trained model in eval mode and its tokenizer; an adapter is merged into its base, which is faster.

    Raises:
        Refused: T507, T523 and T653 where base or adapter are not those of the record any more.
    """
    if faults := check_outputs(run.record, run.folder / MODEL):
        refuse("T653", f"{run.folder}", notes=tuple(faults))
    if run.record.kind == "full":
        loaded = load_model(str((run.folder / MODEL).resolve()))
        return loaded.model, loaded.tokenizer
    from peft import PeftModel

    base = load_model(run.plan.model, folder=run.root)
    if found := check_pin(run.record.start_model, base.pin):
        raise Refused(found)
    adapted: Any = PeftModel.from_pretrained(base.model, str(run.folder / MODEL))
    return adapted.merge_and_unload().eval(), base.tokenizer


def _scored(start: _Start, policy: Policy, prompts: Sequence[Prompt], rollouts: list[Rollout]) -> Answers:
    texts = [rollout.text for rollout in rollouts]
    conversations = [(prompts[rollout.prompt], rollout.text) for rollout in rollouts]
    plan = start.run.plan
    vectors = {c.projection.key: start.run.tools[c.projection.key] for c in plan.concepts if c.projection is not None}
    reading = read_texts(start.model, start.sae, conversations, max_length=plan.pins.max_length, vectors=vectors)
    scored = score_texts(plan, texts, csc_matrix(reading.max), reading.projections)
    return Answers(policy.digest, rollouts, scored)


def _prompt_activations(start: _Start, prompts: Sequence[Prompt]) -> csc_matrix:
    return csc_matrix(read_prompt_features(start.model, start.sae, prompts, max_length=start.run.plan.pins.max_length))


def _write_rollouts(file: Path, prompts: Sequence[Prompt], answers: Mapping[PolicyName, Answers]) -> None:
    """Everything that was sampled, one line per rollout, for whoever wants to look further."""
    with open(file, "w", encoding="utf-8", newline="\n") as out:
        for policy, said in answers.items():
            for rollout in said.rollouts:
                row = {"policy": policy, "messages": prompts[rollout.prompt].messages, **asdict(rollout)}
                out.write(json.dumps(row, ensure_ascii=True, sort_keys=True) + "\n")


def _silent(_: str) -> None:
    pass
