"""Which evidence folder of a store answers a spec?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tiltc.datafile import data_sha256, read_pairs, split_of
from tiltc.diagnostics import Diagnostics
from tiltc.evidence.layout import FORMAT, Manifest
from tiltc.evidence.open import written_format
from tiltc.evidence.settings import json_digest, settings_digests
from tiltc.evidence.weights import weights_digest
from tiltc.pairs import ids_digest
from tiltc.paths import find_path
from tiltc.plan import ModelPin, SaePin
from tiltc.spec import NO_SAE, FileRef, HubRef, SaeRef, Spec

#: the settings of a local SAE
SAE_CONFIG = "cfg.json"

Request = dict[str, str | int | None]


def evidence_request(spec: Spec) -> Request:
    """What a spec asks of a harvest. Local things go by their last path component: no evidence holds a path."""
    rows = None if isinstance(spec.data, str) else spec.data.rows
    return {
        "model": _named(spec.model),
        "sae": _named(spec.sae),
        "data": _named(spec.data),
        "rows": rows,
        "max_length": spec.train.max_length,
        **_as_what(spec.data),
    }


def _as_what(ref: str | FileRef | HubRef) -> Request:
    """How the rows are to be read, where a spec says so."""
    if isinstance(ref, str):
        return {}
    said: Request = {"split": ref.split} if isinstance(ref, FileRef) and ref.split else {}
    if ref.columns:
        said["columns"] = ", ".join(f"{role}: {column}" for role, column in sorted(ref.columns.items()))
    return said | ({"skip": f"{ref.skip:g}"} if ref.skip else {})


def local_path(ref: object, folder: Path | None = None) -> Path | None:
    """The path that a reference means, or None if it is no local one.

    Relative paths are read as `find_path` says.
    """
    text = ref.file if isinstance(ref, FileRef) else ref
    if not isinstance(text, str) or text.startswith("builtin:"):
        return None
    return find_path(text, folder)


def find_evidence(store: Path, spec: Spec, folder: Path | None = None) -> tuple[Path | None, Diagnostics]:
    """The folder in `store` that holds the evidence for a spec.

    Args:
        store: a folder of evidence folders.
        folder: the spec's folder, for relative paths.

    Findings: T501 none, T502 only for an older version of the data file, T503 an unfinished one, T505 several,
    T514 the data file can't be read.
    """
    found = Diagnostics()
    request = evidence_request(spec)
    data = local_path(spec.data, folder)
    asked = [(path, m) for path, m in manifests(store) if _same(m.request, request, without=("data",))]
    if data is None:
        fitting = [(path, m) for path, m in asked if m.request.get("data") == request["data"]]
    else:
        fitting = _of_file(data, spec.data, asked, request, found)
    fitting = _with_settings(_of_weights(fitting, spec, folder)) if len(fitting) > 1 else fitting
    if found.failed:
        return None, found
    if len(fitting) == 1:
        return fitting[0][0], found
    (_several if fitting else _none)(store, request, [path for path, _ in fitting], found)
    return None, found


def answers(manifest: Manifest, spec: Spec, folder: Path | None = None) -> Diagnostics:
    """T542 where evidence was harvested for something else than a spec asks."""
    found = Diagnostics()
    asked, has = evidence_request(spec), dict(manifest.request)
    for key, ref, pin in (("model", spec.model, manifest.model), ("sae", spec.sae, manifest.sae)):
        now = _local_weights(ref, folder)
        if now is not None and now.digest != pin.digest:
            asked[key] = f"{asked[key]} {now.said}"
            has[key] = f"{has.get(key)} with digest {pin.digest[:16]}"
        elif now is not None and (other := now.differing(pin)):
            asked[key] = f"{asked[key]} with another {' and '.join(other)}"
    data = local_path(spec.data, folder)
    # evidence holds the texts, so the file itself may be elsewhere
    if data is not None and data.exists():
        now = data_sha256(data, split_of(spec.data))
        if now != manifest.data.file_sha256 and rows_digest(data, spec.data) == manifest.data.digest:
            now = manifest.data.file_sha256 or now
        name, then = str(has.get("data")).removeprefix("local:"), manifest.data.file_sha256 or "unknown"
        asked["data"] = f"{data.name} with sha256 {now[:16]}"
        # the same contents under another name are the same data
        has["data"] = asked["data"] if now == then else f"{name} with sha256 {then[:16]}"
    notes = [
        f"{key}: the spec asks for {asked[key]}, harvested was {has.get(key)}"
        for key in asked
        if asked[key] != has.get(key)
    ]
    if notes:
        helps = ["run `tiltc harvest SPEC`, or leave `--evidence` out to have the store searched"]
        found.add("T542", None, "the folder does not answer this spec", notes=notes, helps=helps)
    return found


def rows_digest(file: Path, ref: str | FileRef | HubRef) -> str | None:
    """`DataPin.digest` of a data file as it is now; None where it can't be read as pairs."""
    taken, _ = read_pairs(file, ref)
    return None if taken is None else ids_digest(pair.row_id for pair in taken.pairs)


def _named(ref: str | HubRef | FileRef | SaeRef) -> str:
    match ref:
        case HubRef():
            parts = (ref.config, ref.split if ref.split != "train" else None)
            return "/".join([f"hub:{ref.hub}@{ref.revision or 'main'}", *(p for p in parts if p)])
        case SaeRef():
            return f"release:{ref.release}/{ref.id}"
        case FileRef():
            return _named(ref.file)
        case str():
            return ref if ref.startswith("builtin:") or ref == NO_SAE else f"local:{Path(ref).name}"


def manifests(store: Path) -> list[tuple[Path, Manifest]]:
    """Finished evidence folders of a store with their manifests."""
    read: list[tuple[Path, Manifest]] = []
    for file in sorted(store.glob("*/manifest.json")):
        try:
            read.append((file.parent, Manifest.model_validate_json(file.read_bytes())))
        except (ValidationError, OSError):
            continue
    return read


def _same(one: Mapping[str, object], other: Mapping[str, object], without: tuple[str, ...] = ()) -> bool:
    return all(one.get(key) == other.get(key) for key in {*one, *other} - {*without})


def _of_file(
    file: Path,
    ref: str | FileRef | HubRef,
    asked: list[tuple[Path, Manifest]],
    request: Request,
    found: Diagnostics,
) -> list[tuple[Path, Manifest]]:
    """Those of a file with these bytes; failing that, with these rows: a file that was written anew is the same data."""
    try:
        now = data_sha256(file, split_of(ref))
    except OSError as error:
        found.add("T514", None, f"can't read {file}: {error.strerror}")
        return []
    fitting = [(path, m) for path, m in asked if m.data.file_sha256 == now]
    if not fitting and asked:
        rows = rows_digest(file, ref)
        fitting = [(path, m) for path, m in asked if m.data.digest == rows]
    older = [(path, m) for path, m in asked if m.request.get("data") == request["data"]]
    if not fitting and older:
        then = older[-1][1].data.file_sha256 or "unknown"
        found.add(
            "T502", None, f"{file.name} was changed after it was harvested",
            notes=[f"sha256 then {then[:16]}, now {now[:16]}"], helps=["run `tiltc harvest` on this spec again"],
        )  # fmt: skip
    return fitting


def _of_weights(fitting: list[tuple[Path, Manifest]], spec: Spec, folder: Path | None) -> list[tuple[Path, Manifest]]:
    """Of several, those harvested with the local weights and settings as they are now."""
    for ref, pin in ((spec.model, "model"), (spec.sae, "sae")):
        now = _local_weights(ref, folder)
        if now is not None:
            fitting = [(place, m) for place, m in fitting if now.fits(getattr(m, pin))]
    return fitting


def _with_settings(fitting: list[tuple[Path, Manifest]]) -> list[tuple[Path, Manifest]]:
    """Of several, those that pin the settings: the others are of a version that did not."""
    pinned = [(place, m) for place, m in fitting if m.model.files or m.sae.config]
    return pinned or fitting


@dataclass(frozen=True)
class _Local:
    """What a local folder of a model or of an SAE holds now."""

    digest: str
    settings: dict[str, str]
    #: why no digest can be had
    fault: str = ""

    @property
    def said(self) -> str:
        return f"that can't be read: {self.fault}" if self.fault else f"with digest {self.digest[:16]}"

    def differing(self, pin: ModelPin | SaePin) -> list[str]:
        """The files that are not as pinned; none where the evidence does not say."""
        pinned = pin.files if isinstance(pin, ModelPin) else {SAE_CONFIG: pin.config} if pin.config else {}
        return [
            name for name in sorted({*pinned, *self.settings}) if pinned and pinned.get(name) != self.settings.get(name)
        ]

    def fits(self, pin: ModelPin | SaePin) -> bool:
        return self.digest == pin.digest and not self.differing(pin)


def _local_weights(ref: object, folder: Path | None) -> _Local | None:
    """The weights in a local folder that a reference names; None for anything else."""
    path = None if ref == NO_SAE else local_path(ref, folder)
    if path is None or not path.is_dir() or not any(path.glob("*.safetensors")):
        return None
    config = path / SAE_CONFIG
    try:
        settings = {SAE_CONFIG: json_digest(config)} if config.is_file() else settings_digests(path)
        return _Local(weights_digest(path), settings)
    except (OSError, ValueError) as fault:
        return _Local("", {}, str(fault))


def _none(store: Path, request: Request, _: list[Path], found: Diagnostics) -> None:
    from tiltc.canonical import canonical_json

    wanted = canonical_json(request)
    unfinished = [f.parent for f in sorted(store.glob("*/request.json")) if not (f.parent / "manifest.json").is_file()]
    for folder in unfinished:
        if (folder / "request.json").read_text(encoding="utf-8") == wanted:
            text = f"the harvest into {folder.name} was interrupted"
            found.add("T503", None, text, helps=["run `tiltc harvest` again: it goes on where it stopped"])
            return
    notes = [f"asked for: {', '.join(f'{k} {v}' for k, v in request.items() if v is not None)}"]
    other = sum(written_format(file) not in (None, FORMAT) for file in store.glob("*/manifest.json"))
    if other:
        notes.append(f"{other} folders there hold evidence of another format, this tiltc reads {FORMAT}")
    found.add(
        "T501", None, f"{store} has no evidence for this spec", notes=notes, helps=["run `tiltc harvest SPEC` first"]
    )


def _several(store: Path, _: Request, folders: list[Path], found: Diagnostics) -> None:
    notes = [f"{folder.name}" for folder in folders]
    helps = ["remove those that are out of date, or name one with `--evidence`"]
    found.add("T505", None, f"{len(folders)} evidence folders in {store} answer this spec", notes=notes, helps=helps)
