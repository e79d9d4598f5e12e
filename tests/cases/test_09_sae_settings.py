"""What an SAE's config asks for is carried out, warned of or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cases.shout import shouting_rows
from tests.runtime.tiny import WIDTH, tiny_model_folder, tiny_sae_folder
from tests.worlds import exact_sae_folder, make_world
from tiltc_runtime.refused import Refused
from tiltc_runtime.sae import Sae, load_sae
from tiltc_runtime.sae_settings import layer_norms_alone


def configured(folder: Path, **settings: Any) -> Path:
    """A random SAE with settings of its config changed; those of training go to `metadata`."""
    tiny_sae_folder(folder, architecture=settings.pop("architecture", "standard"))
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"] |= settings.pop("metadata", {})
    (folder / "cfg.json").write_text(json.dumps(config | settings))
    return folder


def residuals(n: int = 200) -> torch.Tensor:
    """With a mean over the width, as real residual streams have."""
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(1)) + 1.5


def refused(folder: Path) -> str:
    with pytest.raises(Refused) as error:
        load_sae(str(folder))
    (finding,) = error.value.diagnostics
    return f"{finding.code}: {finding.primary.text}"


CENTRED = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}


def fires(sae: Sae, x: torch.Tensor) -> torch.Tensor:
    return sae.encode(x) > 0


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk"])
def test_an_sae_of_centred_residuals_reads_them_centred(tmp_path: Path, architecture: str) -> None:
    """`center_writing_weights` is what subtracting the mean over the width is: decisions, activations, reconstruction."""
    sae = load_sae(str(configured(tmp_path / "c", architecture=architecture, metadata=CENTRED)))
    plain = load_sae(str(configured(tmp_path / "p", architecture=architecture)))
    x = residuals()
    centred = x - x.mean(1, keepdim=True)
    assert torch.allclose(sae.encode(x), plain.encode(centred), atol=1e-5)
    assert torch.allclose(sae.activations_of(x, torch.tensor([3, 5])), plain.encode(centred)[:, [3, 5]], atol=1e-5)
    assert torch.allclose(sae.seen(x), centred)
    assert (fires(sae, x) != fires(plain, x)).float().mean() > 0.01


def test_the_residual_stream_of_a_centred_model_is_the_centred_residual_stream(tmp_path: Path) -> None:
    """For a model of LayerNorm alone: with the mean taken out of every weight that writes, each layer's output has the
    mean taken out and logits stay. That is the equation that reading rests on."""
    from transformers import AutoModelForCausalLM

    tiny_model_folder(tmp_path / "gpt2", "gpt2")
    ids = torch.arange(12).reshape(1, -1)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "gpt2").eval()
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "gpt2").eval()
    head = model.lm_head.weight.detach().clone()
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(head)
        for weight in (model.transformer.wte.weight, model.transformer.wpe.weight):
            weight -= weight.mean(1, keepdim=True)
        for block in model.transformer.h:
            for layer in (block.attn.c_proj, block.mlp.c_proj):
                layer.weight -= layer.weight.mean(1, keepdim=True)
                layer.bias -= layer.bias.mean()
        ours, theirs = (m(ids, output_hidden_states=True) for m in (plain, model))
    assert torch.allclose(ours.logits, theirs.logits, atol=1e-4)
    for one, other in zip(ours.hidden_states[:-1], theirs.hidden_states[:-1], strict=True):
        assert torch.allclose(one - one.mean(-1, keepdim=True), other, atol=1e-4)


def test_which_models_can_be_centred(tmp_path: Path) -> None:
    """Those whose norms are all LayerNorm; a root mean square is changed by a shift."""
    assert layer_norms_alone(tiny_model_folder(tmp_path / "gpt2", "gpt2"))
    for family in ("llama", "gemma2", "qwen3"):
        assert not layer_norms_alone(tiny_model_folder(tmp_path / family, family))


@pytest.mark.parametrize(("family", "codes"), [("gpt2", []), ("llama", ["T572"])])
def test_harvest_reads_centred_or_says_that_it_does_not(tmp_path: Path, family: str, codes: list[str]) -> None:
    """The evidence of a centred SAE is that of the centred residual stream; a model that can't be centred is a warning
    that names the setting, and can be allowed."""
    world = make_world(tmp_path, shouting_rows(8), family=family)
    exact_sae_folder(tmp_path / "sae", metadata={"hook_name": "blocks.1.hook_resid_post", **CENTRED})
    said = world.tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (0, codes), said.out
    assert ("`center_writing_weights` of sae" in said.out) == bool(codes)
    (manifest,) = (tmp_path / ".tiltc" / "evidence").glob("*/manifest.json")
    assert json.loads(manifest.read_bytes())["reconstruction"]["fvu"] < 1e-6
    spec = (tmp_path / "spec.yaml").read_text() + "allow:\n  - {code: T572, because: it reads well}\n"
    world.write("spec.yaml", spec)
    assert world.tiltc("harvest", "spec.yaml").codes == []


WARNED: dict[str, Any] = {
    "checkpoint_index": {"model_from_pretrained_kwargs": {"checkpoint_index": 17, "fold_ln": True}},
    "revision": {"model_from_pretrained_kwargs": {"revision": "step3000"}},
    "exclude_special_tokens": {"exclude_special_tokens": True},
    "seqpos_slice": {"seqpos_slice": [5, -5]},
}
SILENT: dict[str, Any] = {
    "nothing": {},
    "folded": {
        "model_from_pretrained_kwargs": {"fold_ln": True, "center_unembed": True, "center_writing_weights": False}
    },
    "defaults": {"seqpos_slice": [None], "exclude_special_tokens": False, "prepend_bos": True, "context_size": 8},
}


@pytest.mark.parametrize(("setting", "metadata"), [*WARNED.items(), *((None, m) for m in SILENT.values())])
def test_settings_that_differ_are_named(tmp_path: Path, setting: str | None, metadata: dict[str, Any]) -> None:
    """Each known setting that is not carried out is one warning that names it; those without effect are none."""
    world = make_world(tmp_path, shouting_rows(6))
    exact_sae_folder(tmp_path / "sae", metadata={"hook_name": "blocks.1.hook_resid_post", **metadata})
    said = world.tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (0, ["T572"] if setting else []), said.out
    assert setting is None or f"`{setting}` of sae" in said.out


@pytest.mark.parametrize("begins", [True, False])
def test_a_missing_bos_is_named(tmp_path: Path, begins: bool) -> None:
    """An SAE of texts behind BOS, with a tokenizer that has one: said where the template leaves it out, and only there."""
    from tests.runtime.tiny import CHAT_TEMPLATE, tiny_tokenizer

    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = "<|im_start|>"
    world = make_world(
        tmp_path, shouting_rows(6), tokenizer=tokenizer, template=CHAT_TEMPLATE if begins else "T " + CHAT_TEMPLATE
    )
    exact_sae_folder(tmp_path / "sae", metadata={"hook_name": "blocks.1.hook_resid_post", "prepend_bos": True})
    said = world.tiltc("harvest", "spec.yaml")
    assert (said.code, said.codes) == (0, [] if begins else ["T572"]), said.out


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "topk"])
@pytest.mark.parametrize("where", ["config", "metadata", "file"])
def test_an_unfolded_factor_is_folded(tmp_path: Path, architecture: str, where: str) -> None:
    """`expected_average_only_in` with a factor at hand: activations are those of the scaled residuals, and decoding
    gives back unscaled ones."""
    factor, folder = 0.37, tmp_path / "sae"
    more: dict[str, Any] = {"norm_scaling_factor": factor} if where == "config" else {}
    more |= {"metadata": {"norm_scaling_factor": factor}} if where == "metadata" else {}
    configured(folder, architecture=architecture, normalize_activations="expected_average_only_in", **more)
    if where == "file":
        (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": factor}))
    sae, plain = load_sae(str(folder)), load_sae(str(configured(tmp_path / "plain", architecture=architecture)))
    x = residuals()
    assert torch.allclose(sae.encode(x), plain.encode(factor * x), atol=1e-5)
    assert torch.allclose(sae.decode(sae.encode(x)), plain.decode(plain.encode(factor * x)) / factor, atol=1e-4)
    assert (sae.pin.digest != plain.pin.digest) or where != "file"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"normalize_activations": "expected_average_only_in"}, "expected_average_only_in"),
        ({"normalize_activations": True}, "expected_average_only_in"),
        ({"normalize_activations": "covariance_whitening"}, "covariance_whitening"),
        ({"activation_fn": "tanh-relu"}, "activation_fn: 'tanh-relu'"),
        ({"normalize_activations": "expected_average_only_in", "norm_scaling_factor": 0.0}, "expected_average_only_in"),
    ],
)
def test_what_no_encoder_here_does_is_refused(tmp_path: Path, settings: dict[str, Any], named: str) -> None:
    """A step that can't be carried out is T571 and names the setting."""
    said = refused(configured(tmp_path / "sae", **settings))
    assert said.startswith("T571")
    assert named in said


def test_tensors_that_are_in_no_formula(tmp_path: Path) -> None:
    """A scale is refused by its name, unless it is ones."""
    folder = configured(tmp_path / "sae")
    weights = load_file(folder / "sae_weights.safetensors")
    save_file(weights | {"scaling_factor": torch.ones(64)}, folder / "sae_weights.safetensors")
    ones = load_sae(str(folder))
    x = residuals()
    assert torch.equal(ones.encode(x), load_sae(str(configured(tmp_path / "plain"))).encode(x))
    for name in ("scaling_factor", "r_mag", "input_mean"):
        save_file(weights | {name: torch.full((64,), 2.0)}, folder / "sae_weights.safetensors")
        said = refused(folder)
        assert said.startswith("T571")
        assert f"`{name}`" in said


def test_transcoders_and_heads_are_no_saes_of_the_residual_stream(tmp_path: Path) -> None:
    """What reconstructs another place, or reads one head, is T511."""
    other = {"hook_name_out": "blocks.2.hook_resid_post"}
    assert refused(configured(tmp_path / "a", metadata=other)).startswith("T511")
    assert refused(configured(tmp_path / "b", metadata={"hook_head_index": 3})).startswith("T511")
    same = {"hook_name_out": "blocks.1.hook_resid_post", "hook_head_index": None}
    assert np.isfinite(load_sae(str(configured(tmp_path / "c", metadata=same))).W_enc.numpy()).all()
