"""What LoRA adapters reach of a model, mixtures of experts included, is measured on the model that is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cases.shout import shouting_rows
from tests.runtime.tiny import tiny_model, tiny_tokenizer
from tests.worlds import SPEC, World, make_world
from tiltc.spec import Lora
from tiltc_runtime import settings
from tiltc_runtime.reach import reach
from tiltc_runtime.settings import adapter

EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
MIXTURES: dict[str, dict[str, Any]] = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen2Moe": {**EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 32},
    "Qwen3Moe": {**EXPERTS, "num_experts": 4, "head_dim": 8},
    "Olmoe": {"num_experts_per_tok": 2, "num_experts": 4},
    "GptOss": {"num_experts_per_tok": 2, "num_local_experts": 4, "head_dim": 8},
}

#: weights of a layer of the OLMoE below: queries and outputs, keys and values; up, gate and down of four experts
ATTENTION, PROJECTIONS, ROUTER = 2 * 32 * 32 + 2 * 16 * 32, 4 * 3 * 64 * 32, 4 * 32


def mixture(kind: str) -> Any:
    """A random mixture of experts in eval mode."""
    import transformers

    tokenizer, common = tiny_tokenizer(), {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    common |= {"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 2048}
    common |= {"initializer_range": 0.3, "vocab_size": len(tokenizer) + 8, "bos_token_id": None}
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = getattr(transformers, f"{kind}Config")(**common, **special, **MIXTURES[kind])
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config).float().eval()


def adapted(model: Any, lora: Lora) -> Any:
    from peft import get_peft_model

    return get_peft_model(model, adapter(lora, model))


@pytest.mark.parametrize("kind", MIXTURES)
def test_experts_have_adapters(kind: str) -> None:
    """All projections of all experts get one from `lora.layers` on, and each of them learns; routers get none."""
    model = adapted(mixture(kind), Lora(r=2, alpha=4, layers=1))
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert sum(".experts." in name for name in names) == 2 * 2 * 2
    assert not [name for name in names if ".layers.0." in name or "router" in name or ".mlp.gate." in name]
    measured = reach(model, 1)
    assert measured.share > 0.95
    assert all("gate" in name or "router" in name or "bias" in name for name in measured.missed)
    ids = torch.arange(20).reshape(2, 10)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    # A has a gradient once B is not zero
    assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_dense_models_are_reached_whole(family: str) -> None:
    """Every matrix of the layers that get adapters, and none below."""
    model = adapted(tiny_model(family), Lora(r=2, alpha=4, layers=2))
    measured = reach(model, 2)
    assert (measured.share, measured.missed, measured.first, measured.last) == (1.0, {}, 2, 2)
    assert not measured.check()
    assert reach(model, 0).share == pytest.approx(1 / 3)


def mixed_world(folder: Path) -> World:
    world = make_world(
        folder, shouting_rows(12), spec=SPEC.replace("epochs: 1}}", "epochs: 1, lora: {{r: 2, alpha: 4}}}}")
    )
    mixture("Olmoe").save_pretrained(folder / "model")
    for verb in (("harvest", "spec.yaml"), ("compile", "spec.yaml", "-o", "plan")):
        said = world.tiltc(*verb)
        assert said.code == 0, said.out + said.err
    return world


def test_a_mixture_is_trained_and_said_how_far(tmp_path: Path) -> None:
    """A run says the share that its adapters reach; merged, they give what they gave unmerged."""
    from peft import PeftModel
    from safetensors.torch import load_file

    world = mixed_world(tmp_path)
    said = world.tiltc("run", "plan", "-o", "run")
    assert (said.code, said.codes) == (0, []), said.out + said.err
    assert f"adapters reach {(ATTENTION + PROJECTIONS) / (ATTENTION + PROJECTIONS + ROUTER):.1%}" in said.err
    weights = load_file(tmp_path / "run" / "model" / "adapter_model.safetensors")
    moved = [name for name, tensor in weights.items() if "experts" in name and "lora_B" in name and bool(tensor.any())]
    assert len(moved) == 2 * 3
    model: Any = PeftModel.from_pretrained(mixture("Olmoe"), str(tmp_path / "run" / "model")).eval()
    ids = torch.arange(20).reshape(2, 10)
    with torch.no_grad():
        before = model(ids).logits
        assert torch.allclose(model.merge_and_unload()(ids).logits, before, atol=1e-4)


def test_what_is_not_reached_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters that leave the experts out are T573, with the share and the modules, and the run goes on."""
    world = mixed_world(tmp_path)
    monkeypatch.setattr(settings, "_fused", lambda layer: [])
    said = world.tiltc("run", "plan", "-o", "run")
    assert (said.code, said.codes) == (0, ["T573"]), said.out + said.err
    assert f"adapters reach {ATTENTION / (ATTENTION + PROJECTIONS + ROUTER):.1%}" in said.out
    assert "not reached: `mlp.experts.gate_up_proj`, 59.0%" in said.out
