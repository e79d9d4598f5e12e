"""What transformers' loaders are asked for: no code that a folder brings along, and architectures that can be read."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, NoReturn

from tiltc_runtime.refused import refuse

#: what a forward pass must take: prompts are read once and continued from the keys and values that they leave
NEEDED = "past_key_values"


def pretrained(kind: Any, place: Path | str, **settings: Any) -> Any:
    """`kind.from_pretrained` of a local folder. Python files in the folder are never run.

    Raises:
        Exception: as the libraries do.
    """
    return kind.from_pretrained(str(place), trust_remote_code=False, **settings)


def pretrained_model(kind: Any, place: Path | str, **settings: Any) -> Any:
    """The same of a model, whose weights are never read from pickles, which are code too."""
    return pretrained(kind, place, use_safetensors=True, **settings)


def complete_model(kind: Any, place: Path, **settings: Any) -> Any:
    """The same of a model that is all in its folder.

    Raises:
        ValueError: the folder lacks weights, which the library would draw at random.
    """
    model, loading = pretrained_model(kind, place, output_loading_info=True, **settings)
    if missing := sorted(loading["missing_keys"]):
        raise ValueError(f"{len(missing)} weights are not in its files, such as {', '.join(missing[:3])}")
    return model


def check_architecture(config: Any, name: str) -> None:
    """Raises Refused (T507) for what is no causal language model with a cache of keys and values; reads no weights."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    known: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    kind: Any = known[0] if isinstance(known, tuple) else known
    if kind is None or getattr(config, "is_encoder_decoder", False):
        _lacks(name, f"`{config.model_type}` is no causal language model")
    if NEEDED not in inspect.signature(kind.forward).parameters:
        _lacks(name, f"{kind.__name__} keeps no keys and values (its forward pass takes no `{NEEDED}`)")


def _lacks(name: str, why: str) -> NoReturn:
    helps = ("use a decoder-only transformer: Llama, Qwen, Gemma, Mistral, OLMo, GPT-2 and the like",)
    refuse("T507", f"`{name}` has an architecture that tiltc can't read", notes=(why,), helps=helps)


def brings_code(place: Path) -> bool:
    """True where a model's folder names Python files of its own to be loaded with."""
    return any("auto_map" in _json(place / name) for name in ("config.json", "tokenizer_config.json"))


def _json(path: Path) -> dict[str, Any]:
    try:
        read: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
