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


SECRET = [{"user": "root", "host": f"password=hunter2-{i}"} for i in range(5)]


def test_nothing_outside_of_the_repository_is_read_aloud(tmp_path: Path) -> None:
    """T116 for data that a spec names elsewhere, by path, by link or by a folder with a link: the same whether it is there."""
    world, other = World(tmp_path / "repo"), World(tmp_path / "other")
    for each in (world, other):
        each.folder.mkdir()
    (world.folder / ".git").mkdir()
    other.write_rows("secret.jsonl", SECRET)
    secret = other.folder / "secret.jsonl"
    (world.folder / "link.jsonl").symlink_to(secret)
    (world.folder / "shards").mkdir()
    (world.folder / "shards" / "a.jsonl").symlink_to(secret)
    for file in (
        str(secret),
        "../other/secret.jsonl",
        "link.jsonl",
        "shards",
        "../other/none.jsonl",
        "/none/none.jsonl",
    ):
        data = f"{{file: {file}, columns: {{chosen: user, rejected: host}}}}"
        world.write("spec.yaml", SPEC.format(data="x").replace("./x", data))
        said = world.tiltc("lint", "--data", "spec.yaml")
        assert (said.code, said.codes) == (1, ["T116"]), file
        assert "spec.yaml:5:7" in said.out
        assert "hunter2" not in said.out + said.err
        assert world.tiltc("lint", "spec.yaml").code == 0


def test_what_an_allowed_folder_holds_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`TILTC_PATHS` says whose folders may be named."""
    world, other = World(tmp_path / "repo"), World(tmp_path / "other")
    for each in (world, other):
        each.folder.mkdir()
    other.write_rows("pairs.jsonl", [{**row, "prompt": row["task"]} for row in ROWS])
    world.write("spec.yaml", SPEC.format(data="../other/pairs.jsonl"))
    assert world.tiltc("lint", "--data", "spec.yaml").codes == ["T116"]
    monkeypatch.setenv("TILTC_PATHS", str(other.folder))
    said = world.tiltc("lint", "--data", "spec.yaml")
    assert (said.code, "5 rows read as pairs" in said.err) == (0, True)


def test_of_prompts_elsewhere_nobody_learns_whether_they_are_there(world: World, tmp_path: Path) -> None:
    """A spec that names prompts outside of its repository lints the same whatever is there; with `--data` it is T116."""
    (world.folder / ".git").mkdir()
    world.write_rows("pairs.jsonl", [{**row, "prompt": row["task"]} for row in ROWS])
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "there.jsonl").write_text(json.dumps({"prompt": "How so?"}) + "\n")
    for text in (f"../{outside.name}/there.jsonl", f"../{outside.name}/none.jsonl", str(outside), "/none"):
        world.write("spec.yaml", SPEC.format(data="pairs.jsonl") + f"verify: {{prompts: {text}}}\n")
        assert world.tiltc("lint", "spec.yaml").codes == []
        assert world.tiltc("lint", "--data", "spec.yaml").codes == ["T116"]
    world.write("spec.yaml", SPEC.format(data="pairs.jsonl") + "verify: {prompts: none.jsonl}\n")
    assert world.tiltc("lint", "spec.yaml").codes == ["T651"]
