"""Python files of a model's folder are never run, and nobody is asked whether they should be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cases.shout import shouting_rows
from tests.worlds import World, make_world

#: leaves a mark beside itself when it is run
CODE = """\
from pathlib import Path
Path({mark!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
RUNTIME = Path(__file__).parents[2] / "runtime" / "tiltc_runtime"


def world_with_code(folder: Path, file: str, changes: dict[str, object]) -> World:
    world = make_world(folder, shouting_rows(6))
    world.write("model/own.py", CODE.format(mark=str(folder / "mark")))
    path = folder / "model" / file
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    return world


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked the user"))


def test_a_model_of_its_own_is_refused(tmp_path: Path) -> None:
    """T507 with the reason, without a question, and nothing was run."""
    own = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel", "AutoModelForCausalLM": "own.OwnModel"}
    world = world_with_code(tmp_path, "config.json", {"auto_map": own, "model_type": "own"})
    said = world.tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (1, ["T507"])
    assert "is never run here" in said.out
    assert not (tmp_path / "mark").exists()


def test_a_tokenizer_of_its_own_is_not_run(tmp_path: Path) -> None:
    """The class that transformers brings reads the tokenizer's files; the one of the folder is left alone."""
    own = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    world = world_with_code(tmp_path, "tokenizer_config.json", {"auto_map": own, "tokenizer_class": "OwnTokenizer"})
    said = world.tiltc("harvest", "spec.yaml")
    assert said.codes in ([], ["T507"])
    assert not (tmp_path / "mark").exists()


def test_code_beside_an_architecture_that_is_known_is_not_run(tmp_path: Path) -> None:
    """A Llama that names code of its own is read as the library's Llama on the whole way to its rollouts."""
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    world = world_with_code(tmp_path, "config.json", {"auto_map": own})
    world.write("model/custom_generate/generate.py", CODE.format(mark=str(tmp_path / "mark")))
    for call in (("harvest", "spec.yaml"), ("compile", "spec.yaml", "-o", "plan"), ("run", "plan", "-o", "run")):
        said = world.tiltc(*call)
        assert said.code == 0, said.out + said.err
    assert world.tiltc("verify", "run", "--rollouts", "2").code in (0, 1)
    assert not (tmp_path / "mark").exists()


def test_every_loader_goes_through_one_door() -> None:
    """`from_pretrained` of transformers is called in one place of the runtime, which forbids code."""
    call = re.compile(r"\b(?:Auto\w+|kind)\.from_pretrained\(")
    places = [p.name for p in sorted(RUNTIME.rglob("*.py")) if call.search(p.read_text(encoding="utf-8"))]
    assert places == ["pretrained.py"]
    assert "trust_remote_code=False" in (RUNTIME / "pretrained.py").read_text(encoding="utf-8")
