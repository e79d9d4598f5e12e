"""Models that can't be read are refused when they are loaded, and the finding says what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.cases.shout import shouting_rows
from tests.runtime.tiny import tiny_tokenizer
from tests.worlds import World, make_world

VOCABULARY = len(tiny_tokenizer()) + 8


def config_of(kind: str) -> Any:
    import transformers

    match kind:
        case "mamba":
            return transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, state_size=4)
        case "t5":
            return transformers.T5Config(vocab_size=VOCABULARY, d_model=32, num_layers=3, d_ff=32, num_heads=2, d_kv=16)
        case "bert":
            return transformers.BertConfig(
                vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
            )
        case "rwkv":
            return transformers.RwkvConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3)
        case _:
            return transformers.ViTConfig()


def world_of(folder: Path, config: Any = None, **changes: Any) -> World:
    """A world whose model has another config, or changes to its own."""
    world = make_world(folder, shouting_rows(4))
    file = folder / "model" / "config.json"
    if config is not None:
        config.save_pretrained(folder / "model")
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    return world


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("mamba", "MambaForCausalLM keeps no keys and values"),
        ("rwkv", "RwkvForCausalLM keeps no keys and values"),
        ("t5", "`t5` is no causal language model"),
        ("vit", "`vit` is no causal language model"),
    ],
)
def test_other_architectures(tmp_path: Path, kind: str, missing: str) -> None:
    """T507 from the config alone: no weights are read."""
    said = world_of(tmp_path, config_of(kind)).tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (1, ["T507"])
    assert missing in said.out
    assert "decoder-only transformer" in said.out


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "no-such-method"])
def test_quantised_weights_without_the_package_that_reads_them(tmp_path: Path, method: str) -> None:
    """T507 with what the library says is missing."""
    quantised = {"quant_method": method, "load_in_4bit": True, "bits": 4, "group_size": 32}
    said = world_of(tmp_path, quantization_config=quantised).tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (1, ["T507"]), said.err
    assert "note:" in said.out


@pytest.mark.parametrize(
    ("changes", "file"),
    [
        ({"model_type": "no-such-architecture"}, None),
        ({"num_hidden_layers": "three"}, None),
        ({"hidden_size": 33}, None),
        ({"rope_parameters": {"rope_type": "no-such-rope"}}, None),
        ({}, "tokenizer.json"),
    ],
    ids=["unknown", "text-for-a-number", "odd-width", "odd-rope", "broken-tokenizer"],
)
def test_whatever_a_library_raises_is_a_finding(tmp_path: Path, changes: dict[str, Any], file: str | None) -> None:
    """T507, never a traceback, for configs and tokenizers that no library accepts."""
    world = world_of(tmp_path, **changes)
    if file is not None:
        world.write(f"model/{file}", '{"version": "1.0", "model": {"type": "Nothing"}}')
    said = world.tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (1, ["T507"]), said.err


def test_weights_that_are_not_there_are_not_drawn_at_random(tmp_path: Path) -> None:
    """T507 counts the weights that the config asks for and the files lack."""
    world = world_of(tmp_path, tie_word_embeddings=False)
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    without = {name: tensor for name, tensor in tensors.items() if "layers.0.mlp" not in name}
    assert len(without) < len(tensors)
    save_file(without, file, metadata={"format": "pt"})
    said = world.tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (1, ["T507"]), said.out + said.err
    assert "3 weights are not in its files, such as layers.0.mlp.down_proj.weight" in said.out
