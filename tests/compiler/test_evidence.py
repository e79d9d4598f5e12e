"""Reading evidence: what is there, what is wrong with it, and which folder answers a spec. No torch anywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from tiltc.canonical import canonical_json, digest, sha256_file
from tiltc.datafile import data_sha256
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import (
    CONTRAST_SCHEMA,
    ROW_SCHEMA,
    SPANS,
    ContrastManifest,
    Evidence,
    Manifest,
    Reconstruction,
    ShardPin,
    answers,
    contrast_digest,
    evidence_request,
    find_evidence,
    open_evidence,
    weights_digest,
)
from tiltc.plan import DataPin, ModelPin, SaePin
from tiltc.spec import Concept, Spec

WIDTH, FEATURES, SIZES = 4, 10, (3, 2)
TYPES = {"string": pa.string(), "int32": pa.int32(), "int8": pa.int8(), "bool": pa.bool_()}
TYPES |= {"list<int32>": pa.list_(pa.int32())}
SPEC: dict[str, Any] = {"tiltc": 1, "name": "tiny", "data": "pairs.jsonl", "signals": [{"suppress": "std.style.bold"}]}


def spec(**changes: Any) -> Spec:
    return Spec.model_validate_json(json.dumps(SPEC | changes))


def dense(seed: int, rows: int) -> np.ndarray:
    """(rows, FEATURES) activations, two thirds of them zero, exact in float16."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((rows, FEATURES)) < 1 / 3, rng.integers(1, 100, (rows, FEATURES)) / 4, 0)


def write_span(folder: Path, span: str, most: np.ndarray) -> None:
    rows, features = most.nonzero()
    pointers = np.concatenate([[0], np.bincount(rows, minlength=len(most)).cumsum()])
    np.save(folder / f"{span}.indptr.npy", pointers.astype(np.int64))
    np.save(folder / f"{span}.indices.npy", features.astype(np.uint32))
    np.save(folder / f"{span}.max.npy", most[rows, features].astype(np.float16))
    np.save(folder / f"{span}.count.npy", np.full(len(rows), 3, dtype=np.uint16))
    np.save(folder / f"{span}.peak.npy", np.arange(len(rows), dtype=np.uint16))


def write_table(folder: Path, schema: tuple[tuple[str, str, str], ...], rows: list[dict[str, Any]]) -> None:
    blank = {"string": "", "int32": 1, "int8": 0, "bool": False, "list<int32>": [0]}
    full = [{name: row.get(name, blank[kind]) for name, kind, _ in schema} for row in rows]
    pq.write_table(
        pa.Table.from_pylist(full, pa.schema([(n, TYPES[k]) for n, k, _ in schema])), folder / "rows.parquet"
    )


def pins(folder: Path) -> dict[str, str]:
    return {f.name: sha256_file(f) for f in sorted(folder.iterdir())}


def write_manifest(folder: Path, manifest: Any) -> Any:
    sealed = manifest.model_copy(update={"digest": digest(manifest)})
    (folder / "manifest.json").write_text(canonical_json(sealed), encoding="utf-8")
    return sealed


def fabricate(store: Path, asked: Spec, name: str = "a", file_sha256: str | None = None, **changes: Any) -> Path:
    """An evidence folder with two shards and a contrast set, made of known numbers."""
    folder = store / name
    shards: list[ShardPin] = []
    for number, size in enumerate(SIZES):
        shard = folder / "shards" / f"{number:05d}"
        shard.mkdir(parents=True)
        for k, span in enumerate(SPANS):
            write_span(shard, span, dense(10 * number + k, size))
        np.save(
            shard / "residual.npy", np.stack([np.full((size, WIDTH), number + k / 2, np.float16) for k in (0, 1)], 1)
        )
        statuses = ["ok", "ok", "identical"][:size]
        write_table(shard, ROW_SCHEMA, [{"row_id": f"{number}-{i}", "status": s} for i, s in enumerate(statuses)])
        shards.append(ShardPin(name=shard.name, rows=size, files=pins(shard)))
    contrast = folder / "contrast" / "c0ffee"
    contrast.mkdir(parents=True)
    write_span(contrast, "response", dense(99, 2))
    np.save(contrast / "residual.npy", np.ones((2, WIDTH), dtype=np.float16))
    write_table(contrast, CONTRAST_SCHEMA, [{"label": 1}, {"label": 0}])
    write_manifest(contrast, ContrastManifest(rows=2, positives=1, files=pins(contrast), digest=""))
    manifest = Manifest(
        request=evidence_request(asked),
        model=ModelPin(name="m", digest="m", layers=3, width=WIDTH),
        sae=SaePin(name="s", digest="s", hook="blocks.1.hook_resid_post", width=WIDTH, features=FEATURES),
        data=DataPin(name="pairs.jsonl", digest="d", rows=sum(SIZES), file_sha256=file_sha256),
        template="t",
        max_length=asked.train.max_length,
        dtype="float32",
        shards=tuple(shards),
        reconstruction=Reconstruction(fvu=0.2, l0=40, tokens=100),
        digest="",
    )
    (folder / "request.json").write_text(canonical_json(manifest.request), encoding="utf-8")
    write_manifest(folder, manifest.model_copy(update=changes))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fabricate(tmp_path / "store", spec())


def opened(folder: Path) -> Evidence:
    evidence, found = open_evidence(folder)
    assert evidence is not None, list(found)
    return evidence


def codes(result: tuple[object, Diagnostics]) -> list[str]:
    assert result[0] is None
    return [d.code for d in result[1]]


def test_what_was_written_is_read(folder: Path) -> None:
    """Matrices, residuals, rows and statuses of all shards come in the order of the rows."""
    evidence = opened(folder)
    for k, span in enumerate(SPANS):
        expected = np.concatenate([dense(10 * number + k, size) for number, size in enumerate(SIZES)])
        np.testing.assert_array_equal(evidence.matrix(span, "max").toarray(), expected)
        np.testing.assert_array_equal(evidence.matrix(span, "count").toarray(), 3 * (expected > 0))
        peaks = [np.arange(shard.matrix(span, "max").nnz) for shard in evidence]
        np.testing.assert_array_equal(evidence.matrix(span, "peak").data, np.concatenate(peaks))
        np.testing.assert_array_equal(evidence.matrix(span, "peak").indices, evidence.matrix(span, "max").indices)
        parts = [shard.matrix(span, "max").toarray() for shard in evidence]
        np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert evidence.residuals("chosen")[:, 0].tolist() == [0, 0, 0, 1, 1]
    assert evidence.residuals("rejected")[:, 0].tolist() == [0.5, 0.5, 0.5, 1.5, 1.5]
    assert evidence.table["row_id"].to_pylist() == ["0-0", "0-1", "0-2", "1-0", "1-1"]
    assert evidence.ok.tolist() == [True, True, False, True, True]
    assert evidence.matrix("chosen", "max").dtype == evidence.residuals("chosen").dtype == np.float32


def test_contrast_sets_are_read(folder: Path) -> None:
    """A contrast set is found by its digest, and only by that."""
    evidence = opened(folder)
    contrast = evidence.contrast("c0ffee")
    assert contrast is not None
    assert contrast.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(contrast.matrix("max").toarray(), dense(99, 2))
    assert contrast.matrix("peak").nnz == contrast.matrix("max").nnz
    assert contrast.residuals().tolist() == [[1] * WIDTH] * 2
    assert evidence.contrast("beef") is None


def test_arrays_are_mapped(folder: Path) -> None:
    """Shards hand out memory maps: evidence larger than memory can be walked."""
    assert isinstance(next(iter(opened(folder))).array("chosen.max"), np.memmap)


SHARD = "shards/00001"


def rewrite(file: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(change((folder / file).read_bytes()))


def remove(file: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).unlink()


@pytest.mark.parametrize(
    ("damage", "code", "says"),
    [
        (remove("manifest.json"), "T503", "interrupted after 2 shards"),
        (remove(f"{SHARD}/chosen.max.npy"), "T503", "lacks chosen.max.npy"),
        (remove(f"{SHARD}/prompt.peak.npy"), "T503", "lacks prompt.peak.npy"),
        (lambda folder: shutil.rmtree(folder / SHARD), "T503", "00001 lacks"),
        (lambda folder: shutil.rmtree(folder), "T501", "holds no evidence"),
        (rewrite("manifest.json", lambda b: b[:50]), "T504", "is not a manifest"),
        (rewrite("manifest.json", lambda b: b.replace(b'"l0": 40', b'"l0": 41')), "T504", "digest"),
        (rewrite(f"{SHARD}/chosen.max.npy", lambda b: b[:-2]), "T504", "chosen.max.npy"),
        (rewrite(f"{SHARD}/chosen.max.npy", lambda b: b[:-1] + b"\x55"), "T504", "chosen.max.npy"),
        (rewrite(f"{SHARD}/residual.npy", lambda b: b[:90]), "T504", "residual.npy"),
        (rewrite(f"{SHARD}/rows.parquet", lambda b: b[:4] + b"\x00" + b[5:]), "T504", "rows.parquet"),
        (rewrite(f"{SHARD}/rows.parquet", lambda b: b[:50]), "T504", "00001"),
        (rewrite(f"{SHARD}/chosen.indptr.npy", lambda b: b""), "T504", "chosen.indptr.npy"),
        (rewrite("contrast/c0ffee/residual.npy", lambda b: b[:-1] + b"\x01"), "T504", "contrast/c0ffee"),
        (rewrite("contrast/c0ffee/manifest.json", lambda b: b.replace(b": 1", b": 2")), "T504", "c0ffee/manifest.json"),
        (remove("contrast/c0ffee/rows.parquet"), "T503", "c0ffee lacks rows.parquet"),
    ],
)
def test_damage_is_noticed(folder: Path, damage: Callable[[Path], object], code: str, says: str) -> None:
    """Whatever is cut, changed or missing is one finding that names the file."""
    damage(folder)
    result = open_evidence(folder)
    assert code in codes(result)
    assert says in " ".join(d.primary.text for d in result[1])


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("chosen.indices", np.full(3, FEATURES, dtype=np.uint32)),
        ("prompt.indptr", np.zeros(9, dtype=np.int64)),
        ("rejected.count", np.zeros(50, dtype=np.uint16)),
        ("rejected.peak", np.zeros(50, dtype=np.uint16)),
        ("residual", np.zeros((2, 2, WIDTH + 1), dtype=np.float16)),
    ],
)
def test_contradictions_are_noticed_without_hashes(folder: Path, name: str, array: np.ndarray) -> None:
    """Arrays that do not fit each other, the rows or the SAE are refused even where hashes are not compared."""
    if name == "chosen.indices":
        array = np.full_like(np.load(folder / SHARD / f"{name}.npy"), FEATURES)
    np.save(folder / SHARD / f"{name}.npy", array)
    result = open_evidence(folder, verify=False)
    assert codes(result) == ["T504"]
    assert f"{name}.npy" in next(iter(result[1])).primary.text


def test_a_store_in_place_of_its_evidence_is_told(folder: Path) -> None:
    """The folder that `--store` names holds evidence folders, and is none."""
    _, found = open_evidence(folder.parent)
    (said,) = found
    assert said.code == "T501"
    assert said.helps == (f"it is a store: name a folder in it, {folder.name}",)


def test_hashes_are_compared_only_when_asked_or_cheap(folder: Path) -> None:
    """`verify=False` trusts bytes whose shapes are right; the default does not."""
    rewrite(f"{SHARD}/chosen.max.npy", lambda b: b[:-1] + b"\x55")(folder)
    assert open_evidence(folder, verify=False)[0] is not None
    assert open_evidence(folder)[0] is None


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    file = tmp_path / "pairs.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    return file


def test_finding(tmp_path: Path, pairs: Path) -> None:
    """Evidence is found by what was asked for and by the data file's bytes, whatever the file is called."""
    store, sha = tmp_path / "store", sha256_file(pairs)
    folder = fabricate(store, spec(), "a", sha)
    fabricate(store, spec(train={"max_length": 64}), "b", sha)
    fabricate(store, spec(data={"file": "pairs.jsonl", "rows": 3}), "c", sha)
    fabricate(store, spec(), "d", "another file of this name")
    assert find_evidence(store, spec(), tmp_path) == (folder, Diagnostics())
    pairs.rename(tmp_path / "renamed.jsonl")
    assert find_evidence(store, spec(data="renamed.jsonl"), tmp_path)[0] == folder
    assert codes(find_evidence(store, spec(data="renamed.jsonl", sae="builtin:other"), tmp_path)) == ["T501"]
    assert codes(find_evidence(store, spec(data="gone.jsonl"), tmp_path)) == ["T514"]
    assert codes(find_evidence(tmp_path / "no-store", spec(data="renamed.jsonl"), tmp_path)) == ["T501"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"train": {"max_length": 64}}, "max_length: the spec asks for 64"),
        ({"model": "builtin:other"}, "model: the spec asks for builtin:other"),
        ({"data": "other.jsonl"}, "data: the spec asks for other.jsonl with sha256"),
        ({"data": "builtin:planted"}, "data: the spec asks for builtin:planted"),
    ],
)
def test_a_named_folder_must_answer_the_spec(
    tmp_path: Path, pairs: Path, change: dict[str, Any], says: str | None
) -> None:
    """Evidence that is named by hand is refused when it was harvested for something else."""
    (tmp_path / "other.jsonl").write_text("{}", encoding="utf-8")
    manifest = opened(fabricate(tmp_path / "store", spec(), file_sha256=sha256_file(pairs))).manifest
    found = list(answers(manifest, spec(**change), tmp_path))
    assert [d.code for d in found] == ([] if says is None else ["T542"])
    assert says is None or says in found[0].notes[0]


def test_a_named_folder_may_outlive_its_data_but_not_its_model(tmp_path: Path) -> None:
    """Evidence holds the texts, so the data file may be gone; a local model with other weights is refused."""
    manifest = opened(fabricate(tmp_path / "store", spec(model="model"))).manifest
    assert not list(answers(manifest, spec(model="model"), tmp_path))
    (tmp_path / "model").mkdir()
    save_file({"w": np.zeros(2, np.float32)}, tmp_path / "model/model.safetensors")
    (finding,) = answers(manifest, spec(model="model"), tmp_path)
    assert (finding.code, "with digest" in finding.notes[0]) == ("T542", True)


def test_stale(tmp_path: Path, pairs: Path) -> None:
    """A changed data file makes its evidence stale, not missing."""
    fabricate(tmp_path / "store", spec(), "a", sha256_file(pairs))
    pairs.write_text("{} \n", encoding="utf-8")
    assert codes(find_evidence(tmp_path / "store", spec(), tmp_path)) == ["T502"]


def test_another_test_set_is_stale_where_it_is_what_was_asked_for(tmp_path: Path) -> None:
    """Of a folder of several splits, the one that the spec names is what its evidence is held against."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    row = {"prompt": "Is it?", "chosen": "Yes.", "rejected": "No."}
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text(json.dumps(row), encoding="utf-8")
    asked = spec(data={"file": "pairs", "split": "test"})
    manifest = opened(fabricate(tmp_path / "store", asked, "a", data_sha256(folder, "test"))).manifest
    (folder / "train.jsonl").write_text(json.dumps(row | {"chosen": "Perhaps."}), encoding="utf-8")
    assert find_evidence(tmp_path / "store", asked, tmp_path)[0] == tmp_path / "store" / "a"
    (folder / "test.jsonl").write_text(json.dumps(row | {"chosen": "Perhaps."}), encoding="utf-8")
    assert codes(find_evidence(tmp_path / "store", asked, tmp_path)) == ["T502"]
    assert [d.code for d in answers(manifest, asked, tmp_path)] == ["T542"]


def test_another_format_is_refused_by_name(tmp_path: Path) -> None:
    """Evidence of an older layout is neither read nor found; both say what it is and what to do."""
    asked, store = spec(data="builtin:planted"), tmp_path / "store"
    folder = fabricate(store, asked)
    rewrite("manifest.json", lambda b: b.replace(b'"format": 2', b'"format": 1'))(folder)
    (refusal,) = open_evidence(folder)[1]
    assert (refusal.code, refusal.helps) == ("T504", ("run `tiltc harvest` again",))
    assert "evidence format 1, this tiltc reads 2" in refusal.primary.text
    place, found = find_evidence(store, asked, tmp_path)
    assert codes((place, found)) == ["T501"]
    assert "1 folders there hold evidence of another format" in next(iter(found)).notes[1]


def test_unfinished_and_several(tmp_path: Path) -> None:
    """An interrupted harvest is told from none; two answers are refused rather than chosen from."""
    asked, store = spec(data="builtin:planted"), tmp_path / "store"
    folder = fabricate(store, asked)
    (folder / "manifest.json").unlink()
    assert codes(find_evidence(store, asked, tmp_path)) == ["T503"]
    fabricate(store, asked, "b")
    assert find_evidence(store, asked, tmp_path)[0] == store / "b"
    fabricate(store, asked, "c")
    assert codes(find_evidence(store, asked, tmp_path)) == ["T505"]


def test_local_weights_decide_between_two(tmp_path: Path) -> None:
    """After a local model was replaced and harvested again, the evidence of the present weights is taken."""
    model = tmp_path / "model"
    model.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\x80\x3f")
    asked, store = spec(data="builtin:planted", model="model"), tmp_path / "store"
    fabricate(store, asked, "old")
    now = ModelPin(name="m", digest=weights_digest(model), layers=3, width=WIDTH)
    fabricate(store, asked, "new", model=now)
    assert find_evidence(store, asked, tmp_path)[0] == store / "new"


def test_contrast_digest(tmp_path: Path) -> None:
    """The digest is of the rows: not of key order, file name or place; a changed response changes it."""

    def of(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return contrast_digest(Concept(about="x", examples=name), tmp_path)

    one = '{"prompt": "p", "response": "r", "label": 1, "pair": "1"}\n{"prompt": "p", "response": "q", "label": 0}\n'
    same = '{"label": 1, "pair": "1", "response": "r", "prompt": "p"}\n\n{"response": "q", "label": 0, "prompt": "p"}'
    assert of("a.jsonl", one) == of("b.jsonl", same)
    assert of("c.jsonl", one.replace('"q"', '"x"')) != of("a.jsonl", one)
    with pytest.raises(ValueError, match="label 0"):
        of("d.jsonl", one.splitlines()[0])
    with pytest.raises(ValueError, match="can't read"):
        contrast_digest(Concept(about="x", examples="none.jsonl"), tmp_path)


def test_nothing_heavy_is_imported(folder: Path) -> None:
    """Naming the types loads no numpy; reading evidence loads no torch."""
    code = f"""
import sys, tiltc.evidence as e
assert not {{"numpy", "scipy", "pyarrow"}} & set(sys.modules)
evidence, _ = e.open_evidence(__import__("pathlib").Path({str(folder)!r}))
evidence.matrix("chosen", "max")
assert not {{"torch", "transformers", "tiltc_runtime"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
