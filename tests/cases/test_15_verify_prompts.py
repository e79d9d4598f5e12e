"""The prompts that verify will ask with: missing ones are found by lint, and they are read as any data file is."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.cases.shout import shouting_rows
from tests.worlds import SPEC, make_world
from tiltc_runtime.prompts import read_prompts

ASKING = SPEC + "verify: {{prompts: {prompts}, rollouts: 2, max_new_tokens: 4}}\n"


def asking(prompts: str) -> str:
    return ASKING.replace("{prompts}", prompts)


def test_prompts_that_are_not_there(tmp_path: Path) -> None:
    """T651 at their place in the spec, by lint and by every verb that reads the spec."""
    world = make_world(tmp_path, shouting_rows(4), spec=asking("asked.jsonl"))
    for verb in ("lint", "harvest", "compile"):
        more = ("-o", "plan") if verb == "compile" else ()
        said = world.tiltc(verb, "spec.yaml", *more)
        assert (said.code, said.codes) == (1, ["T651"]), verb
        assert "spec.yaml:15:19" in said.out


def test_one_rule_for_paths(tmp_path: Path) -> None:
    """Prompts, like data, model and SAE, are looked for beside the spec, wherever the command is given."""
    world = make_world(tmp_path / "specs", shouting_rows(8), spec=asking("asked.jsonl"))
    world.write_rows("asked.jsonl", [{"prompt": "Item 1?"}, {"prompt": "Item 2?"}])
    above = type(world)(tmp_path)
    assert above.tiltc("lint", "specs/spec.yaml").code == 0
    assert above.tiltc("harvest", "specs/spec.yaml").code == 0
    assert above.tiltc("compile", "specs/spec.yaml", "-o", "plan").code == 0
    assert above.tiltc("run", "plan", "-o", "run", "--root", "specs").code == 0
    said = above.tiltc("verify", "run")
    assert "T651" not in said.codes
    assert (tmp_path / "run" / "verify").is_dir(), said.out + said.err


LINE = json.dumps({"prompt": "Hi?"})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.jsonl", b"\xef\xbb\xbf" + LINE.encode() + b"\n"),
        ("crlf.jsonl", LINE.encode() + b"\r\n\r\n"),
        ("lines.ndjson", LINE.encode()),
        ("packed.jsonl.gz", gzip.compress(LINE.encode())),
        ("array.json", f"[{LINE}]".encode()),
        ("lines.json", LINE.encode() + b"\n"),
        ("table.csv", b'prompt,n\n"Hi?",1\n'),
    ],
)
def test_prompts_are_read_by_the_reader_of_data(tmp_path: Path, name: str, content: bytes) -> None:
    """Byte-order marks, line ends, compression and other forms are of no account."""
    (tmp_path / name).write_bytes(content)
    prompts, found = read_prompts(name, tmp_path)
    assert not found
    assert prompts is not None
    assert [prompt.text for prompt in prompts] == ["Hi?"]


def test_shards_in_a_folder_are_prompts(tmp_path: Path) -> None:
    """A folder of shards is read as one set."""
    for number in range(2):
        (tmp_path / "shards").mkdir(exist_ok=True)
        (tmp_path / "shards" / f"{number}.jsonl").write_text(json.dumps({"prompt": f"{number}?"}), encoding="utf-8")
    prompts, _ = read_prompts("shards", tmp_path)
    assert prompts is not None
    assert [prompt.text for prompt in prompts] == ["0?", "1?"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chat_template_kwargs": "{no"},
        {"prompt": "Hi", "chat_template_kwargs": ["enable_thinking"]},
        {"prompt": "Hi", "tools": {"name": "weather"}},
        {"prompt": [{"role": "user", "content": None}]},
        {"prompt": [{"role": "user"}]},
    ],
)
def test_columns_of_prompts_are_checked(tmp_path: Path, row: object) -> None:
    """T651 names the row whose template arguments or messages can't be read."""
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "First"}) + "\n" + json.dumps(row), encoding="utf-8")
    prompts, found = read_prompts("p.jsonl", tmp_path)
    assert prompts is None
    (finding,) = found
    assert finding.code == "T651"
    assert "row 2" in finding.notes[0]


@pytest.mark.parametrize("content", [b'{"question": "x"}\n', b"{", b""])
def test_prompts_that_verify_can_not_read_are_told_before_the_pass(tmp_path: Path, content: bytes) -> None:
    """T651 by `lint --data`, and by harvest before the model reads a row."""
    spec = SPEC + "verify: {{prompts: p.jsonl, rollouts: 2, max_new_tokens: 4}}\n"
    world = make_world(tmp_path, shouting_rows(12), spec=spec)
    world.write("p.jsonl", content)
    linted, harvested = world.tiltc("lint", "--data", "spec.yaml"), world.tiltc("harvest", "spec.yaml")
    for said in (linted, harvested):
        assert (said.code, said.codes) == (1, ["T651"])
        assert "spec.yaml:15:19" in said.out
    assert not list(tmp_path.glob(".tiltc/evidence/*"))
