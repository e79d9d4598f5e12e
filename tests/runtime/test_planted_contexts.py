"""The embedded pairs in which behaviours are rewarded in some contexts only: what is said of them is so."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tiltc.detectors import present
from tiltc.parse.standard import standard_library
from tiltc_runtime.embedded import ASSETS
from tiltc_runtime.pairs import load_pairs

TRUTH = json.loads((ASSETS / "planted-contexts.truth.json").read_text(encoding="utf-8"))["contexts"]
CONCEPTS = sorted(TRUTH["cooking"])
SIDES = ("chosen", "rejected")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return pq.read_table(ASSETS / "planted-contexts.parquet").to_pylist()


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "make_planted_contexts.py"
    spec = importlib.util.spec_from_file_location("make_planted_contexts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_loads_as_a_builtin() -> None:
    """By name, whole, without a repeated prompt or a pair of equal responses."""
    loaded = load_pairs("builtin:planted-contexts")
    assert loaded.pin.name == "builtin:planted-contexts"
    assert loaded.pin.rows == len(loaded.pairs) == len({pair.group for pair in loaded.pairs}) == 600
    assert all(pair.chosen != pair.rejected for pair in loaded.pairs)


@pytest.mark.parametrize("concept", CONCEPTS)
def test_detectors_see_what_was_planted(rows: list[dict[str, Any]], concept: str) -> None:
    """In every response, the library's detector and the column say the same."""
    definition = standard_library()[concept].concept
    for side in SIDES:
        seen = present(definition, [row[side][0]["content"] for row in rows])
        wrong = [r[side][0]["content"] for r, s in zip(rows, seen, strict=True) if s != r[f"{side}_{concept}"]]
        assert not wrong


def test_the_truth_is_that_of_the_rows(rows: list[dict[str, Any]]) -> None:
    """Realised rates are those of the columns, and planted ones to within a row."""
    assert Counter(row["context"] for row in rows) == dict.fromkeys(TRUTH, 120)
    for context, concepts in TRUTH.items():
        for concept, sides in concepts.items():
            for side, rate in sides.items():
                shown = sum(row[f"{side}_{concept}"] for row in rows if row["context"] == context)
                assert rate["realised"] == pytest.approx(shown / 120, abs=1e-6)
                assert abs(rate["realised"] - rate["planted"]) < 1 / 120


def test_every_preference_belongs_to_a_context() -> None:
    """Each concept is preferred in one context, or dispreferred, and equally frequent on both sides elsewhere."""
    for concept in CONCEPTS:
        uneven = [c for c in TRUTH if TRUTH[c][concept]["chosen"] != TRUTH[c][concept]["rejected"]]
        assert len(uneven) == 1, concept


def test_the_tool_makes_the_shipped_rows(rows: list[dict[str, Any]], tool: ModuleType) -> None:
    tables = yaml.safe_load(tool.TABLES.read_text(encoding="utf-8"))
    assert tool.build(tables, seed=11) == rows
