"""The record of a run: what was trained, from which plan, with what, and what came out."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tiltc.canonical import canonical_json, digest
from tiltc.evidence import file_sha256
from tiltc.files import write_text
from tiltc.plan import ModelPin
from tiltc_runtime.asked import Form

RECORD_FILE = "record.json"
PACKAGES = (
    "tiltc",
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "safetensors",
    "tokenizers",
    "numpy",
)

#: files that a loader may open in a model's folder: weights, settings, templates and what kinds of tokenizers call theirs
OPENED = re.compile(
    r"[^./][^/]*\.(json|safetensors|bin|pt|pth|ckpt|h5|msgpack|index|jinja|py|model|spm|tiktoken|tokenizer|vocab|codes)"
    r"|[^./]*(vocab|merges|dict|token)[^/]*\.txt|(additional_)?chat_templates/.*"
)
#: of these, what trainers and evaluations leave
BY_PRODUCT = re.compile(r"[^/]*results[^/]*\.json|trainer_state\.json|training_args\.bin")

#: fields that say where things lay
PLACES = ("start_folder", "root")

Mode = Literal["tilted", "plain", "control"]


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RowCounts(Frozen):
    """What became of the pairs."""

    pairs: int
    #: by the plan
    kept: int
    #: kept, but the prompt alone fills max_length
    too_long: int
    trained: int


class Hardware(Frozen):
    platform: str
    python: str
    cores: int
    #: torch threads of one process
    threads: int
    #: name of the accelerator, or cpu
    device: str
    processes: int


class Session(Frozen):
    """One process's share of the run: the first one, and one for each resumption."""

    #: UTC, ISO 8601
    started: str
    #: optimizer steps already done
    from_step: int


class RunRecord(Frozen):
    """`record.json`, written when a run is finished. Everything that a plan must not hold (places, times) is here."""

    #: 1: of a version that wrote no digest
    record_version: Literal[1, 2] = 2
    #: digest of the plan; a copy of it lies in `plan/`
    plan: str
    name: str
    #: tilted: with the plan's rows; plain: the same settings on untouched rows; control: as tilted, with the plan's
    #: `controls` in place of its instructions
    mode: Mode
    #: what `model/` holds
    kind: Literal["adapter", "full"]
    #: digest of the weights in `model/`, see `evidence.weights_digest`
    weights: str
    #: sha256 of every file in `model/`
    outputs: dict[str, str]
    start_model: ModelPin
    #: where the start model was found, and what the plan's relative paths were relative to
    start_folder: str
    root: str
    seed: int
    #: arguments of the trainer that were set
    arguments: dict[str, Any]
    rows: RowCounts
    #: how the rows' prompts reached the model: others are asked alike
    form: Form = Form()
    steps: int
    epochs: float
    #: mean training loss of the last tenth of the steps (weights and offsets included)
    final_loss: float
    #: one entry a step, as logged; `loss` has the plan's rows in it, the other metrics leave them out
    history: tuple[dict[str, float], ...]
    sessions: tuple[Session, ...]
    finished: str
    versions: dict[str, str]
    hardware: Hardware
    #: share of the trained weights, of a sample, that have another value than before; None: not known
    moved: float | None = None
    #: sha256 of the canonical JSON of all other fields but the two places: a run may be moved, and what is found at a place
    #: is held against the pins
    digest: str = ""


def write_record(record: RunRecord, folder: Path) -> RunRecord:
    """Write `record.json`, whole or not at all; returns the record with its digest."""
    sealed = record.model_copy(update={"digest": _digest(record)})
    write_text(folder / RECORD_FILE, canonical_json(sealed))
    return sealed


def _digest(record: RunRecord) -> str:
    """Of the record as it will be read."""
    return digest(RunRecord.model_validate_json(canonical_json(record)), without=("digest", *PLACES))


def read_record(folder: Path) -> RunRecord | None:
    """The record of a run folder, or None if the run is not finished.

    Raises:
        OSError: it can't be read.
        ValueError: the file is not a run record, or not what was written.
    """
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    try:
        record = RunRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first: Any = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")) from None
    if record.record_version > 1 and record.digest != _digest(record):
        raise ValueError("its digest does not fit its content")
    return record


def check_outputs(record: RunRecord, model: Path) -> list[str]:
    """What in the folder of the trained model is not as the record names it, file by file.

    A file that came later counts if a loader of models, adapters or tokenizers would open it: not one in another format.
    """
    written, there = record.outputs, _files(model)
    lost = [f"{name} in model/ is missing" for name in sorted(written.keys() - there)]
    more = [
        name for name in sorted(there - written.keys()) if OPENED.fullmatch(name) and not BY_PRODUCT.fullmatch(name)
    ]
    new = [f"{name} in model/ was not there when the run finished" for name in more]
    same = [name for name in sorted(written.keys() & there) if file_sha256(model / name) != written[name]]
    return [*lost, *new, *(f"{name} in model/ is not what the run wrote" for name in same)]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def installed_versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hardware(processes: int) -> Hardware:
    import torch

    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return Hardware(
        platform=platform.platform(),
        python=platform.python_version(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device=device,
        processes=processes,
    )


def file_digests(folder: Path) -> dict[str, str]:
    """sha256 of every file of a folder by its path inside."""
    return {name: file_sha256(folder / name) for name in sorted(_files(folder))}


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
