"""Evidence is hashed whatever its size, and a reference to the hub leads to the hub."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.cases.shout import shouting_rows
from tests.worlds import World, make_world
from tiltc.endpoint import keep_answer, kept_answer
from tiltc.evidence import open, open_evidence
from tiltc.spec import HubRef
from tiltc_runtime.pairs import load_pairs
from tiltc_runtime.refused import Refused

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = make_world(tmp_path, shouting_rows())
    assert world.tiltc("harvest", "spec.yaml").code == 0
    return world


def evidence(world: World) -> Path:
    return next((world.folder / ".tiltc" / "evidence").glob("*/manifest.json")).parent


def flip(file: Path, *, keep_time: bool = False) -> None:
    before, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    if keep_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all evidence were of 2 GB and more."""
    monkeypatch.setattr(open, "REMEMBER_FROM", 0)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("seen", [False, True])
def test_large_evidence_is_hashed(world: World, seen: bool) -> None:
    """At the first look and, where something changed since the last one, at the next (T504)."""
    if seen:
        assert world.tiltc("compile", "spec.yaml", "-o", "plan").code == 0
        assert (evidence(world) / "seen.json").is_file()
    flip(evidence(world) / "shards" / "00000" / "chosen.max.npy")
    said = world.tiltc("compile", "spec.yaml", "-o", "other")
    assert said.codes == ["T504"]
    assert not (world.folder / "other").exists()


@pytest.mark.usefixtures("large")
def test_what_was_seen_is_not_read_again_unless_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second compile reads no shard and no contrast set for its hash; `--verify-evidence` reads all, and sees what kept
    its size and time."""
    assert world.tiltc("compile", "spec.yaml", "-o", "plan").code == 0
    known = json.loads((evidence(world) / "seen.json").read_bytes())["files"]
    assert {name.split("/")[0] for name in known} >= {"shards", "contrast"}
    with monkeypatch.context() as patch:
        patch.setattr("tiltc.evidence.hashed.sha256_file", lambda file: pytest.fail(f"read {file}"))
        assert world.tiltc("compile", "spec.yaml", "-o", "plan", "--check").code == 0
    flip(evidence(world) / "shards" / "00000" / "chosen.max.npy", keep_time=True)
    assert "T504" not in world.tiltc("compile", "spec.yaml", "-o", "plan", "--check").codes
    for verb in (("compile", "spec.yaml", "-o", "plan", "--check"), ("audit", "spec.yaml", "-o", "audit")):
        assert world.tiltc(*verb, "--verify-evidence").codes == ["T504"]


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 5000])
def test_a_broken_memory_is_no_memory(world: World, content: bytes) -> None:
    """What is remembered can be lost or changed: then all is read again."""
    assert world.tiltc("compile", "spec.yaml", "-o", "plan").code == 0
    kept = evidence(world) / "seen.json"
    whole = json.loads(kept.read_bytes())
    kept.write_bytes(content)
    assert world.tiltc("compile", "spec.yaml", "-o", "plan", "--check").code == 0
    assert json.loads(kept.read_bytes()) == whole
    files = {**whole["files"], "shards/00000/chosen.max.npy": [0, 0, "0" * 64]}
    kept.write_text(json.dumps({**whole, "files": files}))
    assert world.tiltc("compile", "spec.yaml", "-o", "plan", "--check").code == 0


def test_small_evidence_is_read_every_time(world: World) -> None:
    """Nothing is remembered, and nothing is written beside it."""
    assert world.tiltc("compile", "spec.yaml", "-o", "plan").code == 0
    assert not (evidence(world) / "seen.json").exists()
    flip(evidence(world) / "shards" / "00000" / "chosen.max.npy", keep_time=True)
    assert {d.code for d in open_evidence(evidence(world))[1]} == {"T504"}


@pytest.mark.parametrize("error", [pa.ArrowNotImplementedError, pa.ArrowKeyError, pa.ArrowInvalid, MemoryError])
def test_whatever_a_damaged_file_makes_a_library_raise(
    world: World, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flipped types, lengths and sizes in the head of a table are T504, and no traceback."""

    def broken(file: Path) -> None:
        raise error("Integers with more than 64 bits not implemented")

    monkeypatch.setattr("pyarrow.parquet.read_metadata", broken)
    assert {d.code for d in open_evidence(evidence(world))[1]} == {"T504"}


def test_a_local_folder_is_not_taken_for_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`{hub: owner/name}` with a folder `owner/name` beside it: the hub is asked, and here it can't be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "owner" / "name").mkdir(parents=True)
    rows = "".join(json.dumps(row) + "\n" for row in shouting_rows())
    (tmp_path / "owner" / "name" / "train.jsonl").write_text(rows)
    asked: list[Any] = []
    import datasets

    real = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: (asked.append(a[0]), real(*a, **k))[1])
    with pytest.raises(Refused) as refused:
        load_pairs(HubRef(hub="owner/name", revision="0" * 40))
    assert [d.code for d in refused.value.diagnostics] == ["T514"]
    assert asked == ["hf://datasets/owner/name"]


def test_a_local_folder_is_not_taken_for_a_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of a model: its folder comes from the hub's cache or not at all."""
    from tests.runtime.tiny import tiny_model_folder
    from tiltc_runtime.loading import load_model

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny_model_folder(tmp_path / "owner" / "name")
    with pytest.raises(Refused) as refused:
        load_model(HubRef(hub="owner/name", revision="0" * 40))
    assert [d.code for d in refused.value.diagnostics] == ["T507"]


def test_a_kept_answer_of_a_judge_is_as_it_was_kept(tmp_path: Path) -> None:
    """A flipped digit of a score, or the answer to another question, is no answer: it is asked for again."""
    file = tmp_path / f"{'a' * 64}.json"
    keep_answer(file, {"score": 71})
    assert json.loads(kept_answer(file)) == {"score": 71}
    (tmp_path / "b.json").write_bytes(file.read_bytes())
    assert kept_answer(tmp_path / "b.json") == ""
    file.write_bytes(file.read_bytes().replace(b"71", b"31"))
    assert kept_answer(file) == ""
