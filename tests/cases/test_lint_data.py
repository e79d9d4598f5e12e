"""`tiltc lint` of data, and of the data that a spec names: what is taken for what, without a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.worlds import SPEC, World

ROWS = [{"task": f"Write {i} lines.", "chosen": f"One {i}", "rejected": f"Two {i}"} for i in range(5)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.write_rows("pairs.jsonl", ROWS)
    world.write("spec.yaml", SPEC.format(data="pairs.jsonl"))
    return world


def test_a_file_is_linted_by_itself(world: World) -> None:
    """Findings of rows, and the line that harvest says; exit code 1 for errors."""
    said = world.tiltc("lint", "pairs.jsonl")
    assert (said.code, said.codes) == (1, ["T550"])
    good = [{"prompt": row["task"], **row} for row in ROWS]
    world.write_rows("good.jsonl", good)
    said = world.tiltc("lint", "good.jsonl")
    assert (said.code, said.out) == (0, "")
    assert "good.jsonl: 5 rows read as pairs, text; prompt: `prompt`; not read: `task`" in said.err


def test_the_data_of_a_spec(world: World) -> None:
    """With `--data`, findings of the data stand at the spec's `data:`; by default a spec is linted alone."""
    assert world.tiltc("lint", "spec.yaml").code == 0
    said = world.tiltc("lint", "--data", "spec.yaml")
    assert said.codes == ["T550"]
    assert "spec.yaml:5:7" in said.out
    mapped = SPEC.format(data="pairs.jsonl").replace("./pairs.jsonl", "{file: ./pairs.jsonl, columns: {prompt: task}}")
    world.write("spec.yaml", mapped)
    said = world.tiltc("lint", "--data", "spec.yaml")
    assert said.code == 0, said.out
    assert "5 rows read as pairs" in said.err


def test_a_folder_and_a_spec_in_json(world: World) -> None:
    """A folder of data is data; a JSON file that says `tiltc` is a spec."""
    (world.folder / "shards").mkdir()
    world.write("shards/a.jsonl", json.dumps({**ROWS[0], "prompt": "How so?"}) + "\n")
    assert world.tiltc("lint", "shards").code == 0
    world.write("spec.json", json.dumps({"tiltc": 1, "name": "a", "signals": [{"suppress": "std.style.bold"}]}))
    assert world.tiltc("lint", "spec.json").code == 0
    assert world.tiltc("lint", "none.jsonl").code == 2
