"""Opening an evidence folder: is it there, is it whole, is it what was written?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tiltc.canonical import digest
from tiltc.diagnostics import Diagnostics
from tiltc.evidence.attention import FOLDER, PIN, ProbePin
from tiltc.evidence.hashed import Hashes
from tiltc.evidence.layout import FORMAT, SPANS, ContrastManifest, LikelihoodManifest, Manifest, ShardPin
from tiltc.evidence.likelihood import SCORES
from tiltc.evidence.read import Evidence, Shard
from tiltc.evidence.reft import FOLDER as REFT
from tiltc.evidence.reft import PIN as ADAPTER
from tiltc.evidence.reft import AdapterPin
from tiltc.evidence.sampled import FOLDER as SAMPLED
from tiltc.evidence.sampled import SampledManifest
from tiltc.evidence.token_scores import TokenPin
from tiltc.evidence.trained import FILE, read_differences

Pin = TypeVar("Pin", TokenPin, ProbePin, AdapterPin)

#: From this many bytes on, a file is read once and its hash remembered: reading would take longer than compiling.
REMEMBER_FROM = 2 << 30
#: what numpy and pyarrow raise for files that were damaged; pyarrow's own errors are of these kinds too
UNREADABLE = (ValueError, OSError, EOFError, NotImplementedError, LookupError, TypeError, MemoryError)


def open_evidence(folder: Path, *, verify: bool | None = None) -> tuple[Evidence | None, Diagnostics]:
    """Open an evidence folder.

    Shapes and sizes are always checked, and what was fitted; the sha256 of every file as well. In evidence of 2 GB and more a file
    whose size and time are those of the last look is not read again. Findings: T501 nothing there, T503 unfinished or files
    missing, T504 not what was written.

    Args:
        verify: True reads every file again; False compares no hashes of the shards.
    """
    found = Diagnostics()
    manifest = _manifest(folder, found)
    if manifest is None:
        return None, found
    evidence = Evidence(folder, manifest)
    for pin in manifest.shards:
        _check_files(folder / "shards" / pin.name, pin.files, found)
    if not found.failed:
        _check_shapes(evidence, found)
    if found.failed:
        return None, found
    hashes = Hashes(folder, remember=_bytes(evidence) >= REMEMBER_FROM, again=verify is True)
    check = verify is not False
    _check_likelihoods(evidence, hashes if check else None, found)
    _check_fitted(evidence, hashes, found)
    if check:
        for pin in manifest.shards:
            _check_hashes(folder / "shards" / pin.name, pin.files, hashes, found)
        _check_sets(evidence, "contrast", ContrastManifest, hashes, found)
        _check_sets(evidence, SAMPLED, SampledManifest, hashes, found)
        _check_tokens(evidence, hashes, found)
        hashes.keep()
    return (None if found.failed else evidence), found


def _manifest(folder: Path, found: Diagnostics) -> Manifest | None:
    file = folder / "manifest.json"
    if not file.is_file():
        if (folder / "request.json").is_file():
            done = len(list((folder / "shards").glob("[0-9]*")))
            text = f"the harvest into {folder.name} was interrupted after {done} shards"
            found.add("T503", None, text, helps=["run `tiltc harvest` again: it goes on where it stopped"])
        else:
            inside = sorted(file.parent.name for file in folder.glob("*/manifest.json"))
            helps = [f"it is a store: name a folder in it, {', '.join(inside)}"] if inside else []
            found.add("T501", None, f"{folder} holds no evidence", helps=helps or ["run `tiltc harvest SPEC` first"])
        return None
    version = written_format(file)
    if version not in (None, FORMAT):
        text = f"{folder.name} has evidence format {version}, this tiltc reads {FORMAT}"
        found.add("T504", None, text, helps=["run `tiltc harvest` again"])
        return None
    try:
        manifest = Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        found.add("T504", None, f"{folder.name}/manifest.json is not a manifest", notes=[_first(error)])
        return None
    if digest(manifest) != manifest.digest:
        found.add("T504", None, f"{folder.name}/manifest.json was changed: its digest does not fit its content")
        return None
    return manifest


def written_format(file: Path) -> int | None:
    """The version of the layout that a manifest names; None if it names none."""
    try:
        value: Any = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    version = value.get("format") if isinstance(value, dict) else None
    return version if isinstance(version, int) else None


def _first(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _check_files(folder: Path, files: dict[str, str], found: Diagnostics) -> None:
    missing = [name for name in sorted(files) if not (folder / name).is_file()]
    if missing:
        helps = ["run `tiltc harvest` again: it makes what is missing"]
        found.add("T503", None, f"{folder.parent.name}/{folder.name} lacks {', '.join(missing)}", helps=helps)


def _check_hashes(folder: Path, files: dict[str, str], hashes: Hashes, found: Diagnostics) -> None:
    for name, expected in sorted(files.items()):
        if hashes.of(folder / name) != expected:
            _damaged(f"{folder.parent.name}/{folder.name}/{name} is not the file that was written", found)


def _check_sets(
    evidence: Evidence,
    kind: str,
    model: type[ContrastManifest] | type[SampledManifest],
    hashes: Hashes,
    found: Diagnostics,
) -> None:
    for file in sorted(evidence.folder.glob(f"{kind}/*/manifest.json")):
        try:
            manifest = model.model_validate_json(file.read_bytes())
        except ValidationError as error:
            _damaged(f"{kind}/{file.parent.name}/manifest.json is not a manifest: {_first(error)}", found)
            continue
        if digest(manifest) != manifest.digest:
            _damaged(f"{kind}/{file.parent.name}/manifest.json was changed", found)
        if isinstance(manifest, SampledManifest) and _foreign(manifest, evidence.manifest, file.parent.name):
            _damaged(f"{kind}/{file.parent.name} belongs to other evidence", found)
        _check_files(file.parent, manifest.files, found)
        if not found.failed:
            _check_hashes(file.parent, manifest.files, hashes, found)


def _foreign(sampled: SampledManifest, of: Manifest, name: str) -> bool:
    ours = (sampled.recipe.key, sampled.model, sampled.template, sampled.dtype)
    return ours != (name, of.model.digest, of.template, of.dtype)


def _check_tokens(evidence: Evidence, hashes: Hashes, found: Diagnostics) -> None:
    """What was written of token scores is as it was written. A missing shard is not harvested yet, and no damage."""
    _check_pins(evidence, "tokens/*/tool.json", TokenPin, lambda pin: pin.tool.key, found)
    _check_marked(evidence.folder, "tokens/*/*", hashes, found)


def _check_fitted(evidence: Evidence, hashes: Hashes, found: Diagnostics) -> None:
    """Attention probes and ReFT adapters."""
    for folder in (FOLDER, REFT):
        _check_marked(evidence.folder, f"{folder}/*", hashes, found)
    _check_pins(evidence, f"{FOLDER}/*/{PIN}", ProbePin, lambda pin: pin.recipe.key, found)
    _check_pins(evidence, f"{REFT}/*/{ADAPTER}", AdapterPin, lambda pin: pin.recipe.key, found)


def _check_pins(
    evidence: Evidence, places: str, model: type[Pin], key: Callable[[Pin], str], found: Diagnostics
) -> None:
    """Pins are of this evidence, and each lies in the folder of its key."""
    for file in sorted(evidence.folder.glob(places)):
        try:
            pin = model.model_validate_json(file.read_bytes())
        except ValidationError as error:
            _damaged(f"{file.relative_to(evidence.folder).as_posix()}: {_first(error)}", found)
            continue
        if (pin.of, key(pin)) != (evidence.manifest.digest, file.parent.name):
            _damaged(f"{file.parent.relative_to(evidence.folder).as_posix()} belongs to other evidence", found)


def _check_marked(folder: Path, places: str, hashes: Hashes, found: Diagnostics) -> None:
    """Folders with a `shard.json` hold the files that it names, as they were written."""
    for file in sorted(folder.glob(f"{places}/shard.json")):
        try:
            pin = ShardPin.model_validate_json(file.read_bytes())
        except ValidationError as error:
            _damaged(f"{file.relative_to(folder).as_posix()}: {_first(error)}", found)
            continue
        _check_files(file.parent, pin.files, found)
        if not found.failed:
            _check_hashes(file.parent, pin.files, hashes, found)


def _check_likelihoods(evidence: Evidence, hashes: Hashes | None, found: Diagnostics) -> None:
    of = evidence.manifest
    for file in sorted(evidence.folder.glob("likelihood/*/manifest.json")):
        name = f"likelihood/{file.parent.name}"
        try:
            manifest = LikelihoodManifest.model_validate_json(file.read_bytes())
        except ValidationError as error:
            _damaged(f"{name}/manifest.json is not a manifest: {_first(error)}", found)
            continue
        if digest(manifest) != manifest.digest:
            _damaged(f"{name}/manifest.json was changed", found)
        if (manifest.model, manifest.data, manifest.rows) != (of.model.digest, of.data.digest, of.data.rows):
            _damaged(f"{name} belongs to other evidence", found)
        _check_files(file.parent, manifest.files, found)
        if not found.failed and hashes:
            _check_hashes(file.parent, manifest.files, hashes, found)
        if not found.failed and not _has_rows(file.parent / SCORES, of.data.rows):
            _damaged(f"{name}/{SCORES} does not fit the other files", found)


def _has_rows(file: Path, rows: int) -> bool:
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(file).num_rows == rows
    except UNREADABLE:
        return False


def _check_shapes(evidence: Evidence, found: Diagnostics) -> None:
    for pin, shard in zip(evidence.manifest.shards, evidence.shards, strict=True):
        try:
            wrong = _misfit(evidence, pin, shard)
        except UNREADABLE as error:
            _damaged(f"shards/{pin.name} can't be read: {error}", found)
        else:
            if wrong:
                _damaged(f"shards/{pin.name}/{wrong} does not fit the other files", found)


def _misfit(evidence: Evidence, pin: ShardPin, shard: Shard) -> str | None:
    """The first file of a shard whose length contradicts the others, or whose feature ids the SAE does not have."""
    import pyarrow.parquet as pq

    read_differences(shard.folder / name for name in pin.files if name == FILE)
    if pq.read_metadata(shard.folder / "rows.parquet").num_rows != pin.rows:
        return "rows.parquet"
    if shard.array("residual").shape != (pin.rows, 2, evidence.manifest.sae.width):
        return "residual.npy"
    for span in SPANS:
        pointers = shard.array(f"{span}.indptr")
        if len(pointers) != pin.rows + 1:
            return f"{span}.indptr.npy"
        for part in ("indices", "max", "count", "peak"):
            if len(shard.array(f"{span}.{part}")) != pointers[-1]:
                return f"{span}.{part}.npy"
        if pointers[-1] and shard.array(f"{span}.indices").max() >= evidence.manifest.sae.features:
            return f"{span}.indices.npy"
    return None


def _damaged(text: str, found: Diagnostics) -> None:
    found.add("T504", None, text, helps=["remove the evidence folder and harvest again, or restore it from a copy"])


def _bytes(evidence: Evidence) -> int:
    return sum(
        (shard.folder / n).stat().st_size
        for shard, p in zip(evidence.shards, evidence.manifest.shards, strict=True)
        for n in p.files
    )
