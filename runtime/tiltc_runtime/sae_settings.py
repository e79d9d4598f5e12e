"""What the config of an SAE asks for: carried out when it is read, folded into its weights, warned of or refused.

SAELens keeps two kinds of settings. Some say what the encoder computes; those are carried out or the SAE is refused
(T571). Others say on what it was trained; what differs there is a warning that names it (T572).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import torch

from tiltc.diagnostics import Diagnostics
from tiltc_runtime.pretrained import pretrained
from tiltc_runtime.refused import refuse

Tensor = torch.Tensor

#: written beside the weights by training, while they are not yet folded
SCALER = "activation_scaler.json"
#: names under which configs keep the factor that activations were multiplied with
FACTORS = ("norm_scaling_factor", "activation_norm_scaling_factor", "scaling_factor")
#: of `model_from_pretrained_kwargs`: rewritings that leave the residual stream as it is, and where a model is put
HARMLESS = frozenset((
    "fold_ln", "center_unembed", "fold_value_biases", "refactor_factored_attn_matrices", "n_devices", "device", "device_map",
    "move_to_device", "dtype", "torch_dtype", "attn_implementation", "low_cpu_mem_usage", "default_padding_side",
    "default_prepend_bos", "first_n_layers", "tokenizer", "token", "cache_dir", "local_files_only", "trust_remote_code",
    "use_safetensors",
))  # fmt: skip
#: the tensors of an SAE that is encoded here
TENSORS = frozenset(("W_enc", "b_enc", "W_dec", "b_dec", "threshold"))


@dataclass(frozen=True)
class Training:
    """On what an SAE was trained, as far as it changes what it reads. Absent settings are None."""

    model_kwargs: Mapping[str, Any]
    prepend_bos: bool | None = None
    exclude_special_tokens: Any = None
    seqpos_slice: Any = None

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Training:
        """Of a config in the form before SAELens 6, which is flat, or after."""
        said = {**raw, **_mapping(raw.get("metadata"))}
        bos = said.get("prepend_bos")
        return cls(
            _mapping(said.get("model_from_pretrained_kwargs")),
            bos if isinstance(bos, bool) else None,
            said.get("exclude_special_tokens"),
            said.get("seqpos_slice"),
        )

    @property
    def centred(self) -> bool:
        """Were the weights that write to the residual stream centred, so that its mean over the width is zero?"""
        return bool(self.model_kwargs.get("center_writing_weights"))


def check_settings(name: str, training: Training, *, centred: bool, begins: bool | None) -> Diagnostics:
    """T572 for what an SAE was trained on and is not read on.

    Args:
        centred: whether the residual stream is centred for it.
        begins: whether the sequences of the data begin with the token that begins one; None where the tokenizer has no such token.
    """
    found = Diagnostics()
    for setting, why in _differing(training, centred, begins):
        found.add("T572", None, f"`{setting}` of {name}", notes=[why])
    return found


def _differing(training: Training, centred: bool, bos: bool | None) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    if training.centred and not centred:
        why = "only a model whose norms are all LayerNorm computes the same when it is centred: it is read as it is"
        out.append(("center_writing_weights", why))
    for key, value in training.model_kwargs.items():
        if key not in HARMLESS and key != "center_writing_weights" and value not in (None, False):
            out.append((key, f"it was trained on a model loaded with {key}: {_short(value)}, which this one is not"))
    if training.prepend_bos and bos is False:
        out.append(("prepend_bos", "it was trained on texts behind the token that begins a sequence, which these lack"))
    if training.exclude_special_tokens:
        out.append(
            ("exclude_special_tokens", "it was trained on none of these tokens, and those in a response are read")
        )
    if isinstance(training.seqpos_slice, list | tuple) and any(n is not None for n in training.seqpos_slice):
        out.append(
            ("seqpos_slice", f"it was trained on positions {_short(training.seqpos_slice)} alone, and all are read")
        )
    return out


def check_encoder(name: str, raw: Mapping[str, Any]) -> None:
    """Refuse what no encoder here computes.

    Raises:
        Refused: T571; T511 for one that reads a part of the residual stream, or reconstructs something else.
    """
    said = {**raw, **_mapping(raw.get("metadata"))}
    architecture = said.get("architecture") or "standard"
    function = said.get("activation_fn_str") or said.get("activation_fn") or "relu"
    if architecture in ("standard", "gated") and function not in ("relu", "topk"):
        _no(name, f"activation_fn: {_short(function)}", "sae-lens would compute a relu in its place")
    if said.get("normalize_activations") == "covariance_whitening":
        helps = ("save it for inference with sae-lens, which folds the whitening into the weights",)
        _no(name, "normalize_activations: covariance_whitening", "its weights are not folded", helps)
    for key in ("hook_head_index", "hook_point_head_index"):
        if said.get(key) is not None:
            refuse("T511", f"{name} reads head {said[key]} alone (`{key}`)")
    reads, writes = said.get("hook_name") or said.get("hook_point"), said.get("hook_name_out")
    if writes and writes != reads:
        refuse("T511", f"{name} reads `{reads}` and reconstructs `{writes}`: it is a transcoder")


def factor_of(name: str, raw: Mapping[str, Any], place: Path | None) -> float:
    """What activations are multiplied with before they are encoded, for `expected_average_only_in`.

    Raises:
        Refused: T571, it is nowhere.
    """
    said = {**raw, **_mapping(raw.get("metadata"))}
    if place is not None and (place / SCALER).is_file():
        said = {**said, **_scaler(name, place / SCALER)}
    given = (said[key] for key in FACTORS if isinstance(said.get(key), int | float))
    factor = next((float(value) for value in given if not isinstance(value, bool)), None)
    if factor is None or not 0 < factor < float("inf"):
        helps = (
            "save it for inference with sae-lens, which folds the factor into the weights",
            "or give `norm_scaling_factor` in its cfg.json: sqrt(d_in) by the mean norm of what it was trained on",
        )
        why = "it was trained on activations times a factor that is neither in its weights nor beside them"
        _no(name, "normalize_activations: expected_average_only_in", why, helps)
    return factor


def folded(tensors: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Weights that read activations as they are, in place of activations times `factor`."""
    scale = {"W_enc": factor, "W_dec": 1 / factor, "b_dec": 1 / factor}
    return {key: tensor * scale[key] if key in scale else tensor for key, tensor in tensors.items()}


def known_tensors(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without a scale of ones, which says nothing.

    Raises:
        Refused: T571, there is one that nothing is known about.
    """
    kept = {k: t for k, t in tensors.items() if k in TENSORS or not bool((t == 1).all()) or "scal" not in k}
    if strange := sorted(kept.keys() - TENSORS):
        _no(name, f"the tensor `{strange[0]}`", f"of {', '.join(sorted(kept))}, it is in no formula that is known here")
    return kept


def layer_norms_alone(place: Path) -> bool:
    """Does the model in a folder read its residual stream through LayerNorm alone? Then a shift of it changes nothing."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from tiltc_runtime.loading import decoder_layers

    config = pretrained(AutoConfig, place)
    if getattr(config, "do_layer_norm_before", True) is False:
        return False
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    # a norm of the embeddings comes before the first layer, and what it writes is not centred
    outside = [m for m in _norms(model) if m not in set(_norms(decoder_layers(model)))]
    norms = _norms(model)
    return bool(norms) and len(outside) <= 1 and all(isinstance(norm, torch.nn.LayerNorm) for norm in norms)


def _norms(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [m for m in model.modules() if "norm" in type(m).__name__.lower() and not list(m.children())]


def _no(name: str, setting: str, why: str, helps: tuple[str, ...] = ()) -> NoReturn:
    refuse("T571", f"{name}: {setting}", notes=(why,), helps=helps)


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _short(value: Any) -> str:
    return repr(value)[:60]


def _scaler(name: str, file: Path) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        refuse("T509", f"{name}/{SCALER} can't be read: {error}")
