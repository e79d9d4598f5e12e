"""Broken data is answered with rows or a finding, whatever is broken: no traceback, and no time or memory beyond its size."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from benchmarks.mutated_rows import FORMS, KINDS, broken, made, one
from hypothesis import given, settings
from hypothesis import strategies as st

from tiltc.data.kinds import Scan
from tiltc.datafile import read_data
from tiltc.pairs import Wish, take

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = sorted({name for form in FORMS for name in form})


@given(seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_broken_files(seed: int) -> None:
    """Files of every kind, with changes to rows, encoding and bytes."""
    with tempfile.TemporaryDirectory() as folder:
        one(seed, Path(folder))


@given(
    rows=st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5), max_size=4),
    skip=st.sampled_from((0, 2, 0.5)),
)
@settings(max_examples=200, deadline=None)
def test_rows_of_any_values(rows: list[dict[str, Any]], skip: float) -> None:
    """Known columns with values of any type: every row is a pair, or is named."""
    taken, found = take(Scan.of(rows), "rows", Wish(skip=skip))
    assert found.failed == (taken is None)
    if taken is not None:
        assert len(taken.pairs) == len(taken.numbers)
        assert set(taken.numbers) <= set(range(1, len(rows) + 1))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_broken_bytes(kind: str, seed: int) -> None:
    """Bytes of one kind of file, changed more than once."""
    rng = random.Random(seed)
    data = broken(broken(made(kind, rng), rng), rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{kind}"
        path.write_bytes(data)
        rows, found = read_data(path)
    assert (rows is None) == found.failed
    assert all(d.code == "T514" and f"a{kind}" in d.primary.text for d in found)


def test_text_that_repeats_one_sign(tmp_path: Path) -> None:
    """A hundred thousand line breaks, or turns, are looked through once."""
    for sign in ("\n", "\n ", "\n\nAssistant:", "[", "a"):
        text = sign * (100_000 // len(sign))
        taken, _ = take(Scan.of([{"chosen": f"{text} yes", "rejected": f"{text} no"}]), "rows")
        assert taken is not None
