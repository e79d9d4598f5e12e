from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jsonschema

from tiltc_runtime.record import (
    Hardware,
    RowCounts,
    RunRecord,
    Session,
    file_digests,
    hardware,
    installed_versions,
    read_record,
    write_record,
)


def record() -> RunRecord:
    return RunRecord(
        plan="1" * 64,
        name="tiny",
        mode="tilted",
        kind="adapter",
        weights="2" * 64,
        outputs={"adapter_model.safetensors": "3" * 64},
        start_model={"name": "model", "digest": "4" * 64, "layers": 3, "width": 32},  # pyright: ignore
        start_folder="/models/tiny",
        root="/work",
        seed=3,
        arguments={"beta": 0.1, "loss_type": ["sigmoid"]},
        rows=RowCounts(pairs=4, kept=3, too_long=1, trained=2),
        steps=2,
        epochs=1.0,
        final_loss=0.6,
        history=({"loss": 0.7, "step": 1}, {"loss": 0.6, "step": 2}),
        sessions=(Session(started="2026-01-01T00:00:00+00:00", from_step=0),),
        finished="2026-01-01T00:00:10+00:00",
        versions={"trl": "1.16.0"},
        hardware=Hardware(platform="x", python="3.11", cores=2, threads=2, device="cpu", processes=1),
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Written and read, it is the same record; without a file the run is not finished."""
    assert read_record(tmp_path) is None
    written = write_record(record(), tmp_path)
    assert read_record(tmp_path) == written
    assert written.model_copy(update={"digest": ""}) == record()
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_record_fits_its_schema(tmp_path: Path) -> None:
    """The JSON that is written is valid under the schema that is published."""
    jsonschema.validate(record().model_dump(mode="json"), RunRecord.model_json_schema())


def test_it_says_what_ran_and_on_what() -> None:
    """Versions of the libraries that decide the numbers, and the machine."""
    assert {"torch", "trl", "transformers", "peft"} <= installed_versions().keys()
    assert hardware(2).processes == 2
    assert hardware(1).cores >= 1


def test_file_digests_see_every_file(tmp_path: Path) -> None:
    """A change of one byte in a sub-folder shows."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    before = file_digests(tmp_path)
    (tmp_path / "a" / "x").write_bytes(b"2")
    assert before.keys() == file_digests(tmp_path).keys() == {"a/x"}
    assert before != file_digests(tmp_path)


def test_reading_a_record_needs_no_torch() -> None:
    """The record's types can be imported where the training stack is slow or absent."""
    check = "import sys, tiltc_runtime.record; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
