"""Sparse autoencoders on the residual stream: loading, checking against a model, encoding."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from tiltc.canonical import canonical_json, sha256_text
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import Unsealed, json_digest, local_path, weights_digest
from tiltc.hook import hook_layer
from tiltc.plan import ModelPin, SaePin
from tiltc.spec import NO_SAE, SaeRef
from tiltc_runtime import embedded
from tiltc_runtime.loading import state_digest
from tiltc_runtime.refused import Refused, refuse
from tiltc_runtime.sae_settings import (
    Training,
    check_encoder,
    factor_of,
    folded,
    known_tensors,
    layer_norms_alone,
)

Tensor = torch.Tensor

#: The files of a local SAE in SAELens format.
CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
#: encoded here; every other architecture is left to sae-lens
LIGHT = ("jumprelu", "standard")
#: activations were multiplied by a factor, which inference takes into the weights
UNFOLDED = "expected_average_only_in"


@dataclass(frozen=True)
class Hook:
    """A place on the residual stream: after decoder layer `layer`, or before layer 0 when `layer` is -1."""

    name: str
    layer: int

    @property
    def layers(self) -> int:
        """How many decoder layers must be run."""
        return max(self.layer + 1, 1)


class SaeConfig(BaseModel):
    """The part of a SAELens config that matters here. SAELens itself answers None for anything missing."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    architecture: str = "standard"
    d_in: int
    d_sae: int
    hook_name: str | None = None
    model_name: str | None = None
    apply_b_dec_to_input: bool = True
    normalize_activations: str | None = "none"
    reshape_activations: str | None = "none"
    activation_fn: str | None = "relu"
    training: Training = Training({})

    @classmethod
    def read(cls, raw: dict[str, Any]) -> SaeConfig:
        """Configs before SAELens 6 are flat; later ones keep the hook under `metadata`."""
        metadata = raw.get("metadata") or {}
        flat = {**raw, **{k: v for k, v in metadata.items() if v is not None and k in cls.model_fields}}
        flat["hook_name"] = flat.get("hook_name") or raw.get("hook_point") or metadata.get("hf_hook_name")
        flat["activation_fn"] = raw.get("activation_fn_str") or raw.get("activation_fn") or "relu"
        if isinstance(flat.get("normalize_activations"), bool):
            flat["normalize_activations"] = "expected_average_only_in" if flat["normalize_activations"] else "none"
        flat["training"] = Training.read(raw)
        return cls.model_validate(flat)

    @property
    def light(self) -> bool:
        plain = (self.normalize_activations or "none") == "none" and (self.reshape_activations or "none") == "none"
        return self.architecture in LIGHT and plain and self.activation_fn == "relu"


class Sae(torch.nn.Module):
    """An SAE for reading: `preactivations` and `threshold` together say what fires and how much.

    A feature fires on a token where its preactivation exceeds `threshold` (F,), and its activation is then the
    preactivation. For architectures that sae-lens encodes, "preactivations" are the activations and the threshold is 0.
    """

    threshold: Tensor
    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor

    def __init__(
        self,
        pin: SaePin,
        config: SaeConfig,
        hook: Hook,
        tensors: dict[str, Tensor],
        whole: Any = None,
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.pin, self.config, self.hook, self.whole, self.centred = pin, config, hook, whole, centred
        # relu(x) * (x > t) equals x * (x > max(t, 0))
        threshold = tensors.get("threshold")
        zero = torch.zeros(config.d_sae)
        self.register_buffer("threshold", zero if threshold is None or whole is not None else threshold.clamp(min=0))
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            self.register_buffer(name, tensors[name] if whole is None else None)

    @property
    def reads(self) -> bool:
        """False for `sae: none`."""
        return self.config.d_sae > 0

    def seen(self, x: Tensor) -> Tensor:
        """(..., d) residuals of any dtype -> (..., d) float32 as the SAE was trained on them, which `decode` gives back."""
        x = x.float()
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def preactivations(self, x: Tensor) -> Tensor:
        """(n, d) residuals of any dtype -> (n, F) float32, freshly allocated."""
        x = self.seen(x)
        if self.whole is not None:
            return self.whole.encode(x).float().clone()
        if self.config.apply_b_dec_to_input:
            x = x - self.b_dec
        return torch.addmm(self.b_enc, x, self.W_enc)

    def encode(self, x: Tensor) -> Tensor:
        """(..., d) residuals -> (..., F) float32 activations."""
        shape = x.shape[:-1]
        pre = self.preactivations(x.reshape(-1, x.shape[-1]))
        return torch.where(pre > self.threshold, pre, 0.0).reshape(*shape, -1)

    def activations_of(self, x: Tensor, features: Tensor) -> Tensor:
        """(n, d) residuals -> (n, k) float32 activations of `features` (k,), the others not computed where possible."""
        if self.whole is not None:
            return self.encode(x)[:, features]
        x = self.seen(x) - self.b_dec if self.config.apply_b_dec_to_input else self.seen(x)
        pre = torch.addmm(self.b_enc[features], x, self.W_enc[:, features])
        return torch.where(pre > self.threshold[features], pre, 0.0)

    def decode(self, activations: Tensor) -> Tensor:
        """(..., F) -> (..., d) float32. Where sae-lens normalises at run time, call it right after `encode`."""
        if self.whole is not None:
            return self.whole.decode(activations).float()
        return activations @ self.W_dec + self.b_dec


def load_sae(
    ref: str | SaeRef, *, device: str | None = None, folder: Path | None = None, model: Path | None = None
) -> Sae:
    """Load an SAE by `builtin:` name, local SAELens folder or SAELens release; `none` gives one without features.

    Args:
        model: folder of the model that it reads. An SAE of a centred residual stream reads it centred where the model
            computes the same then; without a model it does in any case.

    Raises:
        Refused: T509 can't be loaded, T511 does not read the residual stream, T571 asks for what can't be carried out.
    """
    if isinstance(ref, SaeRef):
        sae = _from_release(ref)
    elif ref == NO_SAE:
        sae = _nothing()
    else:
        place = _place(ref, folder)
        sae = _from_folder(ref if ref.startswith("builtin:") else place.name, place)
    sae.centred = sae.config.training.centred and (model is None or layer_norms_alone(model))
    return sae.to(device or "cpu").requires_grad_(False).eval()


def _nothing() -> Sae:
    """An SAE of no features, which reads nowhere: what a spec without one pins."""
    pin = SaePin(name=NO_SAE, digest="", hook="", width=0, features=0)
    empty = {"W_enc": torch.zeros(0, 0), "b_enc": torch.zeros(0), "W_dec": torch.zeros(0, 0), "b_dec": torch.zeros(0)}
    return Sae(pin, SaeConfig(d_in=0, d_sae=0), Hook("", -1), empty)


def parse_hook(config: SaeConfig) -> Hook:
    """The hook of a residual-stream SAE. Raises Refused (T511)."""
    name = config.hook_name or ""
    try:
        return Hook(name, hook_layer(name))
    except ValueError:
        refuse("T511", f"the SAE reads `{name}`" if name else "the SAE's config does not say where it reads")


def check_fits(sae: Sae, model: ModelPin, model_is_named: bool = True) -> Diagnostics:
    """Width, depth and name of the model that an SAE is for, against those of the model at hand (T510, T512)."""
    found = Diagnostics()
    if not sae.reads:
        return found
    if sae.config.d_in != model.width:
        text = f"the SAE reads width {sae.config.d_in}, the model's residual stream has {model.width}"
        found.add("T510", None, text)
    if sae.hook.layer >= model.layers:
        text = f"the SAE reads layer {sae.hook.layer} (`{sae.hook.name}`), the model has layers 0 to {model.layers - 1}"
        found.add("T510", None, text)
    theirs = sae.config.model_name
    if model_is_named and theirs and theirs != "unknown" and not named_after(model.name, theirs):
        found.add("T512", None, f"the SAE was trained on {theirs}, the model is {model.name}")
    return found


def named_after(model: str, base: str) -> bool:
    """Does a model bear the name of the one that an SAE was trained on, or of a fine-tune of it? A fine-tune's name
    goes on where its base's ends: `ours/Llama-3.1-8B-support` is one of `meta-llama/Llama-3.1-8B-Instruct`."""
    ours, theirs = name_words(model), name_words(base)
    return "".join(ours) == "".join(theirs) or (bool(theirs) and ours[: len(theirs)] == theirs)


def name_words(name: str) -> list[str]:
    """A model's name in words, without owner, revision and tuning suffix: `google/gemma-2-2b-it` -> gemma 2 2b."""
    last = name.removeprefix("builtin:").split("@")[0].rstrip("/").split("/")[-1].lower()
    words = re.split(r"[^a-z0-9]+", last)
    return [w for w in words if w not in ("meta", "it", "instruct", "chat", "hf", "base", "small")]


def _place(ref: str, folder: Path | None) -> Path:
    path = local_path(ref, folder)
    if path is None:
        path = embedded.asset(f"builtin:sae-{ref.removeprefix('builtin:')}")
        if path is None:
            refuse("T509", f"there is no {ref}")
    missing = [name for name in (CONFIG, WEIGHTS) if not (path / name).is_file()]
    if missing:
        refuse("T509", f"`{ref}` lacks {' and '.join(missing)}", helps=("give a folder in SAELens format",))
    return path


def _from_folder(name: str, place: Path) -> Sae:
    from safetensors.torch import load_file

    try:
        raw = json.loads((place / CONFIG).read_bytes())
        config = SaeConfig.read(raw)
        tensors = load_file(place / WEIGHTS)
        seal = (weights_digest(place), "" if name.startswith("builtin:") else json_digest(place / CONFIG))
    except Unsealed as fault:
        refuse("T575", f"`{name}`", notes=(str(fault),))
    except ValidationError as error:
        first: Any = error.errors()[0]
        refuse("T509", f"{name}/{CONFIG}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
    except Exception as error:
        refuse("T509", f"{name} can't be read: {error}")
    check_encoder(name, raw)
    factor = factor_of(name, raw, place) if config.normalize_activations == UNFOLDED else None
    if factor is not None:
        config = config.model_copy(update={"normalize_activations": "none"})
        # a factor that lies beside the config is no part of either
        seal = (sha256_text(canonical_json([seal[0], factor])), seal[1])
    if config.light:
        tensors = _float(known_tensors(name, tensors), config)
        return _checked(name, config, seal, folded(tensors, factor) if factor else tensors, None)
    whole = _sae_lens(name, place)
    if factor is not None:
        whole.fold_activation_norm_scaling_factor(factor)
    return _checked(name, config, seal, _float(tensors, config), whole)


def _sae_lens(name: str, place: Path) -> Any:
    try:
        from sae_lens import SAE

        return SAE.load_from_disk(str(place), device="cpu", dtype="float32").eval()
    except Exception as error:
        refuse("T509", f"{name}: sae-lens can't load it: {error}")


def _from_release(ref: SaeRef) -> Sae:
    name = f"{ref.release}/{ref.id}"
    try:
        from sae_lens import SAE

        whole: Any = SAE.from_pretrained(ref.release, ref.id, device="cpu", dtype="float32").eval()
        raw = whole.cfg.to_dict()
        config = SaeConfig.read(raw)
    except Refused:
        raise
    except Exception as error:
        refuse("T509", f"{name} can't be loaded: {str(error).splitlines()[0][:300]}")
    check_encoder(name, raw)
    if config.normalize_activations == UNFOLDED:
        # sae-lens folds the factors that it knows of, and goes on without where it knows none
        whole.fold_activation_norm_scaling_factor(factor_of(name, raw, None))
        config = config.model_copy(update={"normalize_activations": "none"})
    tensors = dict(whole.state_dict())
    # the releases' files are brought into one form by sae-lens, and each version adds to it
    said = sha256_text(canonical_json(config.model_dump(mode="json", exclude_defaults=True)))
    return _checked(name, config, (state_digest(tensors), said), tensors, None if config.light else whole)


def _float(tensors: dict[str, Tensor], config: SaeConfig) -> dict[str, Tensor]:
    floats = {name: tensor.float() for name, tensor in tensors.items()}
    floats.setdefault("b_dec", torch.zeros(config.d_in))
    return floats


def _checked(name: str, config: SaeConfig, seal: tuple[str, str], tensors: dict[str, Tensor], whole: Any) -> Sae:
    """`seal`: the digests of the weights and of the settings."""
    shapes = {"W_enc": (config.d_in, config.d_sae), "W_dec": (config.d_sae, config.d_in), "b_dec": (config.d_in,)}
    if whole is None:
        shapes["b_enc"] = (config.d_sae,)
        if config.architecture == "jumprelu":
            shapes["threshold"] = (config.d_sae,)
    for key, shape in shapes.items():
        if key not in tensors or tuple(tensors[key].shape) != shape:
            actual = f"it has {tuple(tensors[key].shape)}" if key in tensors else "it is missing"
            refuse("T509", f"{name}: {key} must have shape {shape}, {actual}")
    if bad := [key for key, tensor in sorted(tensors.items()) if not torch.isfinite(tensor).all()]:
        refuse("T509", f"{name}: {', '.join(bad)} has values that are not finite")
    hook = parse_hook(config)
    digest, settings = seal
    pin = SaePin(name=name, digest=digest, hook=hook.name, width=config.d_in, features=config.d_sae, config=settings)
    return Sae(pin, config, hook, tensors, whole)
