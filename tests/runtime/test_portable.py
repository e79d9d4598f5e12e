"""An adapter says which model it is on by a name that means the same everywhere, and is loaded by it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cases.shout import shouting_rows
from tests.runtime.tiny import tiny_model_folder
from tests.worlds import SPEC, World, make_world
from tiltc.spec import HubRef
from tiltc_runtime import portable
from tiltc_runtime.methods.grpo import load_reward_model
from tiltc_runtime.portable import base_folder, name_base
from tiltc_runtime.refused import Refused

LORA = SPEC.replace("epochs: 1}}", "epochs: 1, lora: {{r: 2, alpha: 4}}}}")


def trained(folder: Path, *flags: str) -> World:
    world = make_world(folder, shouting_rows(8), spec=LORA)
    for call in (("harvest", "spec.yaml"), ("compile", "spec.yaml", "-o", "plan"), ("run", "plan", "-o", "run")):
        said = world.tiltc(*call, *(flags if call[0] != "run" else ()))
        assert said.code == 0, said.out + said.err
    return world


def adapter(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 2, **config}), encoding="utf-8")
    return folder


def test_what_a_run_hands_over_names_no_place(tmp_path: Path) -> None:
    """No file of `model/` holds the folder that the run read from, and verify loads the adapter all the same."""
    world = trained(tmp_path)
    config = json.loads((tmp_path / "run" / "model" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "model"
    for file in (tmp_path / "run" / "model").glob("*.json"):
        assert str(tmp_path) not in file.read_text(encoding="utf-8"), file.name
    said = world.tiltc("verify", "run", "--rollouts", "2")
    assert (tmp_path / "run" / "verify" / "report.html").is_file(), said.out + said.err


def test_names_by_kind_of_reference(tmp_path: Path) -> None:
    """Hub models by name and revision, built-in ones by their name, folders by theirs."""
    for model, name, revision in (
        (HubRef(hub="org/base", revision="abc"), "org/base", "abc"),
        ("builtin:smollm2-135m-instruct", "builtin:smollm2-135m-instruct", None),
        (str(tmp_path / "deep" / "base"), "base", None),
    ):
        place = adapter(tmp_path / name, base_model_name_or_path="/root/.cache/somewhere", revision=None)
        name_base(place, model)
        config = json.loads((place / "adapter_config.json").read_text(encoding="utf-8"))
        assert (config["base_model_name_or_path"], config["revision"], config["r"]) == (name, revision, 2)


def test_the_base_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By built-in and hub name through the one door, by a path as it is, and T507 for what is not here."""
    asked: list[Any] = []
    monkeypatch.setattr(portable, "model_folder", lambda ref: asked.append(ref) or tmp_path)
    base_folder(adapter(tmp_path / "a", base_model_name_or_path="builtin:x"))
    base_folder(adapter(tmp_path / "b", base_model_name_or_path="org/base", revision="abc"))
    assert asked == ["builtin:x", HubRef(hub="org/base", revision="abc")]
    here = tiny_model_folder(tmp_path / "here")
    assert base_folder(adapter(tmp_path / "c", base_model_name_or_path=str(here))) == here
    with pytest.raises(Refused, match="T507"):
        base_folder(adapter(tmp_path / "d", base_model_name_or_path="gone"))


def test_a_reward_model_is_loaded_by_the_name_in_its_config(tmp_path: Path) -> None:
    """An adapter of `method: reward` scores for GRPO after its run was moved, as long as the base is where it was."""
    trained(tmp_path, "--set", "train.method=reward")
    moved = shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    model = load_reward_model(Path(moved) / "model")
    assert model.config.num_labels == 1
