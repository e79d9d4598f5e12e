"""Harvest: one instrumented pass of the frozen model over the data, written as evidence.

Everything that could make two harvests differ is in the folder's name (`Inputs.key`), so what is there is what would
be computed. Shards are computed in order, each from its own rows only, and appear whole; the manifest is written last.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from functools import cache as once
from pathlib import Path
from typing import TextIO

from tiltc.canonical import canonical_json, digest
from tiltc.derived import Derived
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import Evidence, Manifest, ShardPin
from tiltc.evidence.trained import FILE, Differences, merged, read_differences
from tiltc.evidence.untrained import untrained
from tiltc.files import write_text, write_whole
from tiltc.folders import DERIVED, STORE, mark, refusal
from tiltc.parse import SpecFile
from tiltc.printing import one_line
from tiltc.resolve.attention import probe_recipes
from tiltc.resolve.pulls import likelihood_requests
from tiltc.resolve.reft import adapter_recipes
from tiltc.resolve.tools import needed
from tiltc_runtime.activations import Reader, Unread
from tiltc_runtime.adapters import fit_adapters
from tiltc_runtime.contrasts import write_contrast
from tiltc_runtime.disk import disk_full, whole_shard
from tiltc_runtime.inputs import Inputs, at_place
from tiltc_runtime.likelihood import score_likelihoods
from tiltc_runtime.loading import default_device
from tiltc_runtime.locking import Locked, lock
from tiltc_runtime.meter import Meter
from tiltc_runtime.probes import fit_probes
from tiltc_runtime.refused import Refused, refuse
from tiltc_runtime.sampled import sampled_sets
from tiltc_runtime.shards import SUMS, ShardRows, reconstruction
from tiltc_runtime.spans import Moments
from tiltc_runtime.token_scores import score_tokens
from tiltc_runtime.tokens import row_status
from tiltc_runtime.trained import compared, harmless

#: folders whose parts appear whole, from hidden ones that a kill leaves behind
KEPT = ("shards", "contrast", "attention", "reft", "sampled", "tokens/*", "likelihood", "likelihood/parts/*")


def harvest(
    spec_file: SpecFile,
    store: Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    cache: Path | None = None,
    every: bool = False,
    err: TextIO | None = None,
) -> tuple[Path | None, Diagnostics]:
    """Harvest the evidence that a spec needs and that `store` does not have yet.

    Args:
        store: a folder of evidence folders, one per (model, SAE, template, truncation, rows).
        device: cuda when there is one, else cpu.
        dtype: of the forward pass; float32 on CPU, bfloat16 on CUDA by default.
        cache: where what follows from the evidence is kept, shared with `compile`; None keeps nothing.
        every: read what any mechanism would need for the spec's signals, so that `compile --compare` can tell of all.
        err: where progress goes; None is silent.

    Returns:
        The evidence folder. Findings: T506 to T519, T546, T547, T560 to T563, T571, T572, T585, T651.
    """
    found = _refused(store, cache)
    if found:
        return None, found
    try:
        inputs = Inputs.read(spec_file, device or default_device(), dtype)
        _say(err, f"harvest: {inputs.data.line}")
        found.extend(at_place(inputs.data.found, spec_file.at(("data",))))
        found.extend(inputs.differing(spec_file))
        found.extend(inputs.asked_otherwise(spec_file))
        if found.failed:
            # before hours are spent on what verify will not take
            return None, found
        for line in inputs.lines:
            _say(err, f"harvest: {line}")
        folder = inputs.place(store)
        mark(store, STORE)
        with lock(store / f"{folder.name}.lock"):
            did = _complete(inputs, spec_file, folder, err)
            found.extend(_untrained(inputs, spec_file, _differences(inputs, folder)))
            did = _second_pass(inputs, spec_file, folder, cache, every, err) or did
        if not did:
            _say(err, f"nothing to do: {folder} has everything that this spec needs")
        return folder, found
    except Refused as refused:
        found.extend(refused.diagnostics)
    except Locked as held:
        found.add("T508", None, f"{held} is harvesting into the same evidence folder")
    except OSError as error:
        if not disk_full(error):
            raise
        helps = ["free some space or choose another disk with `--store`, then run the same command again"]
        found.add("T506", None, f"the disk that holds {store} is full; finished shards are kept", helps=helps)
    return None, found


def _refused(store: Path, cache: Path | None) -> Diagnostics:
    """T585 for folders that are not harvest's to write into."""
    found = refusal(store, STORE)
    if cache is not None:
        found.extend(refusal(cache, DERIVED, "or name another `--store`: the cache lies beside it"))
    return found


def _complete(inputs: Inputs, spec_file: SpecFile, folder: Path, err: TextIO | None) -> bool:
    """Write what the folder lacks of shards, manifest and contrast sets. False if it lacked nothing."""
    for leftover in (p for kept in KEPT for p in folder.glob(f"{kept}/.*")):
        shutil.rmtree(leftover, ignore_errors=True)
    complete = _whole_evidence(folder)
    if not complete:
        inputs.check_tokens()
        write_text(folder / "request.json", canonical_json(inputs.request))
    # first: what is refused for want of a judge should not cost a pass over the data
    sampled, did = sampled_sets(inputs, spec_file, folder, lambda text: _say(err, f"harvest: {text}"))
    if not complete:
        _refuse_early(inputs, spec_file, err)
        pins = _shards(inputs, folder, err)
        _refuse(inputs, spec_file, _differences(inputs, folder))
        write_text(folder / "manifest.json", canonical_json(_manifest(inputs, pins, folder)))
    # from here on they are contrast sets like any other
    inputs.contrasts.update(sampled)
    missing = {key: rows for key, rows in inputs.contrasts.items() if not (folder / "contrast" / key).is_dir()}
    for key, examples in sorted(missing.items()):
        _say(err, f"harvest: contrast set {key[:12]}, {len(examples)} texts")
        write_contrast(inputs, folder / "contrast" / key, examples)
    return did or bool(missing) or not complete


def _second_pass(
    inputs: Inputs, spec_file: SpecFile, folder: Path, cache: Path | None, every: bool, err: TextIO | None
) -> bool:
    """Read what the first pass has shown to be worth reading: single tokens, and likelihoods. False if all was there.

    Attention probes are fitted first: their logits are among the figures of single tokens. So are adapters, whose
    likelihoods are asked for once they are there.
    """
    evidence = Evidence(folder, Manifest.model_validate_json((folder / "manifest.json").read_bytes()))
    derived = Derived(cache / evidence.manifest.digest[:16] if cache else None)
    fitted = fit_probes(inputs, folder, probe_recipes(spec_file, evidence, derived), err)
    read = score_tokens(inputs, folder, needed(spec_file, evidence, derived, every=every), err)
    whole = once(inputs.load_whole)
    adapted = fit_adapters(inputs, folder, adapter_recipes(spec_file, evidence, derived), whole, err)
    requests = likelihood_requests(spec_file, evidence, derived, every=every)
    scored = score_likelihoods(folder, inputs.shards, requests, whole, err=err)
    return fitted or read or adapted or bool(scored)


def _whole_evidence(folder: Path) -> bool:
    try:
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return False
    whole = all(whole_shard(folder / "shards" / pin.name) == pin for pin in manifest.shards)
    return whole and digest(manifest) == manifest.digest


def _shards(inputs: Inputs, folder: Path, err: TextIO | None) -> list[ShardPin]:
    names = inputs.shards
    pins = {name: whole_shard(folder / "shards" / name) for name in names}
    todo = [name for name, pin in pins.items() if pin is None]
    if len(todo) < len(names):
        _say(err, f"harvest: {len(names) - len(todo)} of {len(names)} shards are there already")
    if todo:
        reader = _prepared(inputs)
        meter = Meter(len(inputs.data.pairs), sum(len(names[n]) for n, pin in pins.items() if pin is not None), err)
        try:
            for name in todo:
                place = folder / "shards" / name
                before = reader.tokens
                write_whole(place, ShardRows(inputs, reader, name, names[name], inputs.first_row(name)).fill)
                meter.advance(len(names[name]), reader.tokens - before)
                pins[name] = whole_shard(place)
        finally:
            meter.close()
    _tell(folder, list(names), err)
    return [pin for pin in pins.values() if pin is not None]


def _refuse_early(inputs: Inputs, spec_file: SpecFile, err: TextIO | None) -> None:
    """Refuse data that is not trained as it reads before the model reads it: where the first rows show it, look at all."""
    first = next(iter(inputs.shards.values()))
    encoded = inputs.encode(first)
    for said in harmless(first, encoded):
        _say(err, f"harvest: of the first {len(first)} rows, {said}")
    if 2 * compared(first, encoded, 1).unread > len(first):
        shards = inputs.shards.items()
        _refuse(inputs, spec_file, merged(compared(p, inputs.encode(p), inputs.first_row(n)) for n, p in shards))


def _differences(inputs: Inputs, folder: Path) -> Differences:
    files = (folder / "shards" / name / FILE for name in inputs.shards)
    return read_differences(file for file in files if file.is_file())


def _untrained(inputs: Inputs, spec_file: SpecFile, differences: Differences) -> Diagnostics:
    return untrained(differences, inputs.data.pin.rows, inputs.data.pin.name, spec_file.at(("data",)))


def _refuse(inputs: Inputs, spec_file: SpecFile, differences: Differences) -> None:
    """Raises Refused (T561) where most rows are not trained as they read."""
    found = _untrained(inputs, spec_file, differences)
    if found.failed:
        raise Refused(found)


def _prepared(inputs: Inputs) -> Reader | Unread:
    """A reader that has decided from the data set's first usable rows how it reads, whichever shard comes first."""
    items = next(filter(None, map(inputs.usable, inputs.shards.values())), None)
    if items is None:
        pairs = inputs.data.pairs
        kinds = Counter(map(row_status, pairs, inputs.encode(pairs)))
        notes = tuple(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        refuse("T518", f"no row of {inputs.data.pin.name} can be used", notes=notes)
    if not inputs.sae.reads:
        return Unread()
    reader = Reader(inputs.loaded, inputs.sae)
    reader.prepare(items)
    return reader


def _manifest(inputs: Inputs, pins: list[ShardPin], folder: Path) -> Manifest:
    sums = [Moments(**json.loads((folder / "shards" / pin.name / SUMS).read_bytes())) for pin in pins]
    manifest = Manifest(
        request=inputs.request,
        model=inputs.model,
        sae=inputs.sae.pin,
        data=inputs.data.pin,
        template=inputs.template,
        tokenizer=inputs.vocabulary,
        max_length=inputs.spec.train.max_length,
        dtype=inputs.dtype,
        shards=tuple(pins),
        reconstruction=reconstruction(sums),
        digest="",
    )
    return manifest.model_copy(update={"digest": digest(manifest)})


def _tell(folder: Path, names: list[str], err: TextIO | None) -> None:
    """How many rows are usable, and why the others are not."""
    import pyarrow.parquet as pq

    kinds: Counter[str] = Counter()
    for name in names:
        columns = ["status", "chosen_cut", "rejected_cut"]
        table = pq.read_table(folder / "shards" / name / "rows.parquet", columns=columns).to_pydict()
        kinds.update(table["status"])
        kinds["cut at max_length"] += sum(
            c or r for c, r in zip(table["chosen_cut"], table["rejected_cut"], strict=True)
        )
    parts = [
        f"{kinds[kind]} {kind}"
        for kind in ("ok", "single", "unwanted", "identical", "empty", "header", "too_long", "cut at max_length")
        if kinds[kind]
    ]
    _say(err, f"harvest: {', '.join(parts)}")


def _say(err: TextIO | None, text: str) -> None:
    if err is not None:
        err.write(one_line(text) + "\n")
        err.flush()
