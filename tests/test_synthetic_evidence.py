"""Evidence that benchmarks make: it opens, it is the same every time, and what was planted can be measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.synthetic_evidence import Asked, generate

from tiltc.canonical import sha256_file
from tiltc.evidence import SPANS, Evidence, open_evidence

SMALL = Asked(pairs=200, features=512, seed=3)
LARGER = Asked(pairs=5000, features=512, seed=1, plant=3, lean=(0.7, 0.2))


def contents(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): sha256_file(f) for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("larger")
    generate(folder, LARGER)
    evidence, found = open_evidence(folder, verify=True)
    assert evidence is not None, list(found)
    return evidence


def test_bytes_follow_from_the_arguments(tmp_path: Path) -> None:
    """Two calls with one seed write the same bytes, another seed others."""
    for name, asked in (("one", SMALL), ("two", SMALL), ("three", replace(SMALL, seed=4))):
        generate(tmp_path / name, asked)
    one, two, three = (contents(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one["shards/00000/chosen.indices.npy"] != three["shards/00000/chosen.indices.npy"]


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A shard without its mark is made again, a whole one is kept; other arguments are refused."""
    generate(tmp_path, SMALL)
    before = contents(tmp_path)
    (tmp_path / "shards" / "00000" / "shard.json").unlink()
    (tmp_path / "shards" / "00000" / "chosen.max.npy").write_bytes(b"cut short")
    generate(tmp_path, SMALL)
    assert contents(tmp_path) == before
    with pytest.raises(ValueError, match="was begun as"):
        generate(tmp_path, replace(SMALL, pairs=100))


def test_it_keeps_the_rules_of_the_layout(larger: Evidence) -> None:
    """Over two shards: features ascend within a row, counts and peaks fit the span's tokens, prompts repeat."""
    assert [pin.rows for pin in larger.manifest.shards] == [4096, 904]
    for span in SPANS:
        tokens = np.asarray(larger.table.column(f"{span}_tokens"))
        for kind, least in (("count", 1), ("peak", int(span == "prompt"))):
            matrix = larger.matrix(span, kind)  # type: ignore[arg-type]
            row = np.repeat(np.arange(len(tokens)), np.diff(matrix.indptr))
            assert (np.diff(matrix.indices + 512 * row) > 0).all()
            assert matrix.data.min() >= least
            assert (matrix.data < tokens[row] + (kind == "count")).all()
    assert len(set(larger.table.column("row_id").to_pylist())) == 5000
    groups = larger.table.column("group").to_pylist()
    assert len(set(groups)) == 5000 - 4096 // 20 - 904 // 20
    assert groups[18] == groups[19]
    maxima = larger.matrix("prompt", "max")
    assert (maxima[18] != maxima[19]).nnz == 0


def test_what_was_planted_is_measured(larger: Evidence) -> None:
    """In its topic a block is active in chosen more often by the rates of `truth.json`, elsewhere equally often."""
    prompts = larger.table.column("prompt").to_pylist()
    active = {side: larger.matrix(side, "count") > 0 for side in ("chosen", "rejected")}
    planted = json.loads((larger.folder / "truth.json").read_text())
    assert len(planted) == 3
    for entry in planted:
        inside = np.array([p.startswith(f"About {entry['topic']}") for p in prompts])
        share = {side: np.asarray(fires[:, entry["features"]].mean(1)).ravel() for side, fires in active.items()}
        gap = share["chosen"] - share["rejected"]
        assert gap[inside].mean() > 0.1 > 0.03 > abs(gap[~inside].mean())
