"""A pinned model is what its loader opens, and what decides its tokens and its forward pass."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.cases.shout import shouting_rows
from tests.runtime.tiny import tiny_model_folder
from tests.worlds import World, make_world
from tiltc_runtime.loading import reward_identity
from tiltc_runtime.refused import Refused

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with evidence and a plan."""
    world = make_world(tmp_path_factory.mktemp("planned"), shouting_rows())
    assert world.tiltc("harvest", "spec.yaml").code == 0
    assert world.tiltc("compile", "spec.yaml", "-o", "plan").code == 0
    return world


@pytest.fixture
def world(planned: World, tmp_path: Path) -> World:
    shutil.copytree(planned.folder, tmp_path / "world")
    return World(tmp_path / "world")


def edit(world: World, file: str, change: Callable[[Any], object]) -> None:
    """Change the object in a JSON file of the world."""
    path = world.folder / file
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


SETTINGS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "rope": ("config.json", lambda c: c["rope_parameters"].update(rope_theta=1234.0)),
    "epsilon of the norms": ("config.json", lambda c: c.update(rms_norm_eps=0.1)),
    "heads": ("config.json", lambda c: c.update(num_attention_heads=8, num_key_value_heads=4, head_dim=4)),
    "activation": ("config.json", lambda c: c.update(hidden_act="relu")),
    "merges": ("tokenizer.json", lambda t: t["model"]["merges"].reverse()),
    "normaliser": ("tokenizer.json", lambda t: t.update(normalizer={"type": "Lowercase"})),
    "special tokens": ("tokenizer_config.json", lambda t: t.update(eos_token="<|pad|>")),
    "where answers end": ("generation_config.json", lambda g: g.update(eos_token_id=[5])),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_what_decides_tokens_and_forward_pass_is_pinned(world: World, what: str) -> None:
    """`run` names the file that is not as the evidence was harvested with; nothing is trained."""
    file, change = SETTINGS[what]
    edit(world, f"model/{file}", change)
    said = world.tiltc("run", "plan", "-o", "run")
    assert said.code == 1
    assert "T523" in said.codes
    assert file in said.out
    assert not (world.folder / "run" / "model").exists()


def test_a_file_more_or_less_is_seen(world: World) -> None:
    """Settings that were not there, or are no more, are other settings."""
    (world.folder / "model" / "generation_config.json").unlink()
    world.write("model/added_tokens.json", "{}")
    said = world.tiltc("run", "plan", "-o", "run")
    assert "T523" in said.codes
    assert "generation_config.json is not there" in said.out
    assert "added_tokens.json was not there" in said.out


def test_how_json_is_written_makes_no_difference(world: World) -> None:
    """White space, order of keys and the version of the library that wrote the file are no settings."""
    for file in ("config.json", "tokenizer.json", "generation_config.json"):
        path = world.folder / "model" / file
        value = json.loads(path.read_text(encoding="utf-8"))
        if file == "config.json":
            value["transformers_version"] = "99.0"
        path.write_text(json.dumps(dict(reversed(value.items())), indent=7), encoding="utf-8")
    assert world.tiltc("run", "plan", "-o", "run").code == 0


def test_other_settings_are_other_evidence(world: World) -> None:
    """A harvest with a changed config goes to a folder of its own, and each spec finds the evidence of its own model."""
    pinned = json.loads((world.folder / "plan" / "plan.json").read_text())["pins"]["evidence"]
    whole = (world.folder / "model" / "config.json").read_bytes()
    edit(world, "model/config.json", lambda c: c.update(rms_norm_eps=0.1))
    assert world.tiltc("harvest", "spec.yaml").code == 0
    assert len(list((world.folder / ".tiltc" / "evidence").glob("*/manifest.json"))) == 2
    assert world.tiltc("compile", "spec.yaml", "-o", "other").code == 0
    assert json.loads((world.folder / "other" / "plan.json").read_text())["pins"]["evidence"] != pinned
    world.write("model/config.json", whole)
    assert world.tiltc("compile", "spec.yaml", "-o", "plan", "--check").code == 0


def test_evidence_given_by_hand_is_of_these_settings(world: World) -> None:
    """`--evidence` names the file that differs (T542)."""
    folder = next((world.folder / ".tiltc" / "evidence").glob("*/manifest.json")).parent
    edit(world, "sae/cfg.json", lambda c: c.update(apply_b_dec_to_input=False))
    said = world.tiltc("compile", "spec.yaml", "-o", "plan", "--evidence", str(folder))
    assert said.codes == ["T542"]
    assert "cfg.json" in said.out


class Bomb:
    """Says so when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("unpickled", "w"))


def decoy(model: Path) -> None:
    (model / "model.safetensors").rename(model / "decoy.safetensors")
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))


def elsewhere(model: Path) -> None:
    """The pinned tensors lie in the folder; the index leads out of it."""
    shutil.copytree(model, model.parent / "others")
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", "pt") as file:
        places = dict.fromkeys(file.keys(), "../others/model.safetensors")
    (model / "model.safetensors").rename(model / "kept.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def named_in_config(model: Path) -> None:
    shutil.copy(model / "model.safetensors", model / "other.safetensors")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "transformers_weights": "other.safetensors"}))


def adapter_beside(model: Path) -> None:
    (model / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "../others", "peft_type": "LORA"})
    )


def wrong_shard(model: Path) -> None:
    (model / "model.safetensors").rename(model / "a.safetensors")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"no.such.tensor": "a.safetensors"}}))


@pytest.mark.parametrize("trick", [decoy, elsewhere, named_in_config, adapter_beside, wrong_shard])
@pytest.mark.parametrize("verb", ["harvest", "run"])
def test_a_digest_covers_what_is_loaded(world: World, trick: Callable[[Path], None], verb: str) -> None:
    """Wherever a loader would open other weights than those that are hashed, nothing is loaded (T575)."""
    trick(world.folder / "model")
    said = world.tiltc(*(("harvest", "spec.yaml") if verb == "harvest" else ("run", "plan", "-o", "run")))
    assert said.code == 1
    assert said.codes == ["T575"], said.out + said.err
    assert not (world.folder / "unpickled").exists()


def test_pickled_weights_beside_the_pinned_ones_are_never_opened(world: World) -> None:
    """Many models on the hub have both; the digest is of the safetensors, which alone are loaded."""
    world.write("model/pytorch_model.bin", pickle.dumps(Bomb()))
    assert world.tiltc("run", "plan", "-o", "run").code == 0
    assert not (world.folder / "unpickled").exists()


def test_compile_names_no_library_where_local_weights_are_broken(world: World) -> None:
    """Weights that can't be read answer to no evidence: a finding, no traceback."""
    folder = next((world.folder / ".tiltc" / "evidence").glob("*/manifest.json")).parent
    world.write("model/model.safetensors", b"\x08\0\0\0\0\0\0\0[1,2,3] ")
    said = world.tiltc("compile", "spec.yaml", "-o", "plan", "--evidence", str(folder))
    assert said.codes == ["T542"]
    assert "can't be read" in said.out


def test_a_mark_in_anybodys_folder_says_nothing(world: World) -> None:
    """The note of a converted built-in model counts in the cache alone: elsewhere weights are hashed."""
    pinned = json.loads((world.folder / "plan" / "plan.json").read_text())["pins"]["model"]["digest"]
    world.write("model/tiltc.json", json.dumps({"digest": pinned, "weights": {}, "files": {}}))
    weights = bytearray((world.folder / "model" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    world.write("model/model.safetensors", bytes(weights))
    assert "T523" in world.tiltc("run", "plan", "-o", "run").codes


def test_a_reward_model_is_all_that_its_scores_follow_from(tmp_path: Path) -> None:
    """Its weights, its adapter's scale, the settings and the weights of its base: each makes it another for GRPO."""
    base, place = tiny_model_folder(tmp_path / "base"), tmp_path / "reward"
    place.mkdir()
    save_file({"a": torch.ones(2)}, place / "adapter_model.safetensors")
    adapter = {"base_model_name_or_path": str(base), "lora_alpha": 4}
    (place / "adapter_config.json").write_text(json.dumps(adapter))
    seen = [reward_identity(place)]
    (place / "adapter_config.json").write_text(json.dumps({**adapter, "lora_alpha": 8}))
    seen.append(reward_identity(place))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    seen.append(reward_identity(place))
    tiny_model_folder(base, seed=1)
    seen.append(reward_identity(place))
    save_file({"a": torch.zeros(2)}, place / "adapter_model.safetensors")
    seen.append(reward_identity(place))
    assert len(set(seen)) == 5
    (place / "adapter_model.safetensors").rename(place / "adapter_model.bin")
    with pytest.raises(Refused):
        reward_identity(place)
