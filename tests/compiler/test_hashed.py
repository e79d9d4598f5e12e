"""A large file is read once for its hash while nothing happens to it, and again as soon as something does."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tiltc.canonical import sha256_file
from tiltc.evidence import file_sha256, hashed, weights, weights_digest


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read; files count as settled at once."""
    count = Counter[str]()

    def counted(file: Path) -> str:
        count[file.name] += 1
        return sha256_file(file)

    monkeypatch.setattr(hashed, "sha256_file", counted)
    monkeypatch.setattr(hashed, "SETTLED", -60.0)
    return count


def test_a_file_is_read_once(tmp_path: Path, reads: Counter[str]) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"abc")
    assert [file_sha256(file) for _ in range(3)] == [sha256_file(file)] * 3
    assert reads["large"] == 1


def test_a_flipped_byte_is_seen_though_size_and_time_are_set_back(tmp_path: Path, reads: Counter[str]) -> None:
    """So is another file of the same size and time in its place."""
    file = tmp_path / "large"
    file.write_bytes(b"abc")
    first, state = file_sha256(file), file.stat()
    for content in (b"abd", b"abe"):
        other = tmp_path / "other" if content == b"abe" else file
        other.write_bytes(content)
        other.replace(file)
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert file_sha256(file) == sha256_file(file) != first


def test_a_file_that_was_just_written_is_read_every_time(
    tmp_path: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes within one step of the clock leave the same time."""
    monkeypatch.setattr(hashed, "SETTLED", 60.0)
    file = tmp_path / "large"
    file.write_bytes(b"abc")
    assert file_sha256(file) == file_sha256(file)
    assert reads["large"] == 2


@pytest.mark.usefixtures("reads")
def test_weights_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And again where a file of them changed."""
    read, whole = list[int](), weights._digest
    monkeypatch.setattr(weights, "_digest", lambda tensors: read.append(1) or whole(tensors))
    save_file({"a": np.arange(3.0)}, tmp_path / "model.safetensors")
    first = weights_digest(tmp_path)
    assert (weights_digest(tmp_path), len(read)) == (first, 1)
    save_file({"a": np.arange(1.0, 4.0)}, tmp_path / "model.safetensors")
    assert weights_digest(tmp_path) != first
    assert len(read) == 2
