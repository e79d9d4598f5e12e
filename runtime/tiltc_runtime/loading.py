"""Models and tokenizers: the only door to the hub and to transformers' loaders."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from tiltc.canonical import canonical_json, sha256_file, sha256_text
from tiltc.evidence import Unsealed, local_path, settings_digests, weights_digest
from tiltc.evidence.weights import tensor_line
from tiltc.plan import ModelPin
from tiltc.seal import parsed
from tiltc.spec import HubRef
from tiltc_runtime import embedded
from tiltc_runtime.pretrained import brings_code, check_architecture, complete_model, pretrained
from tiltc_runtime.refused import Refused, refuse
from tiltc_runtime.templates import template_digest, with_fixed_date
from tiltc_runtime.vocabulary import check_vocabulary

__all__ = ["LoadedModel", "Refused", "load_model", "load_tokenizer", "model_folder", "model_pin", "template_digest"]

HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken"]
NO_CODE = "code of a model's folder is never run here: use a model whose architecture transformers brings itself"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    """A frozen model in eval mode, its tokenizer and its pin.

    `model` is a causal LM, or, when only `layers` decoder layers were asked for, the trunk without a head.
    """

    model: Any
    tokenizer: Any
    pin: ModelPin
    folder: Path
    dtype: str

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def template(self) -> str:
        """sha256 of the chat template text, as plans pin it."""
        return template_digest(self.tokenizer)

    @cached_property
    def settings(self) -> str:
        """sha256 over all that decides tokens, forward pass and the ends of answers beside the weights."""
        return settings_key(self.folder, self.tokenizer)


def load_model(
    ref: str | HubRef,
    *,
    dtype: str | None = None,
    layers: int | None = None,
    device: str | None = None,
    folder: Path | None = None,
) -> LoadedModel:
    """Load a model by `builtin:` name, hub reference or local folder.

    Args:
        dtype: float32 | bfloat16 | float16; by default float32 on CPU (faster there) and bfloat16 on CUDA.
        layers: load only the first decoder layers and no head. The pin is that of the whole model all the same.
        device: by default cuda when there is one, else cpu.
        folder: what a relative local path is relative to, before the working directory.

    Raises:
        Refused: T507, T575.
    """
    place = model_folder(ref, folder)
    device = device or default_device()
    dtype = dtype or ("bfloat16" if device.startswith("cuda") else "float32")
    tokenizer = load_tokenizer(place)
    pin = model_pin(ref, place)
    with _quiet(), _loading(ref, place):
        model = _whole(place, dtype) if layers is None else _trunk(place, dtype, layers)
        decoder_layers(model)
    return LoadedModel(model.to(device).eval().requires_grad_(False), tokenizer, pin, place, dtype)


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def model_folder(ref: str | HubRef, folder: Path | None = None) -> Path:
    """The local folder of a model, downloading or converting it where needed. Raises Refused (T507)."""
    if isinstance(ref, HubRef):
        return _download(ref)
    path = local_path(ref, folder)
    if path is None:
        return embedded.model_folder(ref.removeprefix("builtin:"))
    if not (path / "config.json").is_file():
        helps = ("a model on the hub is written {hub: owner/name, revision: <commit>}",)
        refuse("T507", f"`{ref}` is no folder with a config.json", helps=helps)
    return path


def model_pin(ref: str | HubRef, place: Path) -> ModelPin:
    """Digests and dimensions of the model in a folder, without loading it. Raises Refused (T507, T575)."""
    with _loading(ref, place):
        config = _config(place)
        check_architecture(config, ref_name(ref))
        text = config.get_text_config()
        known = embedded.known_digest(place)
        return ModelPin(
            name=ref_name(ref),
            digest=known or weights_digest(place),
            layers=text.num_hidden_layers,
            width=text.hidden_size,
            files={} if known else settings_digests(place),
        )


def reward_identity(place: Path) -> str:
    """sha256 of all that a reward model's scores follow from: weights, settings, and an adapter's base as it is found.

    Raises:
        Refused: T507, T575.
    """
    with _loading(place.name):
        adapter = place / "adapter_config.json"
        used = [weights_digest(place), settings_digests(place)]
        if adapter.is_file():
            config = parsed(adapter.read_bytes())
            base = str(config.get("base_model_name_or_path")) if isinstance(config, dict) else ""
            used += [sha256_file(adapter), reward_identity(Path(base)) if Path(base).is_dir() else base]
        return sha256_text(canonical_json(used))


def context_length(place: Path) -> int | None:
    """Tokens that the model in a folder can read at once, where its config says so."""
    return getattr(_config(place).get_text_config(), "max_position_embeddings", None)


def embedding_rows(place: Path) -> int | None:
    """Rows of the embedding of the model in a folder; None where the folder holds none, as that of an adapter."""
    if not (place / "config.json").is_file():
        return None
    with _loading(place.name, place):
        return getattr(_config(place).get_text_config(), "vocab_size", None)


def load_tokenizer(place: Path) -> Any:
    """The tokenizer in a model's folder, for which it is always the same day. Raises Refused (T507, T565)."""
    from transformers import AutoTokenizer

    with _quiet(), _loading(place.name, place):
        tokenizer = with_fixed_date(pretrained(AutoTokenizer, place))
    _check_template(tokenizer, place.name)
    if (rows := embedding_rows(place)) is not None:
        check_vocabulary(tokenizer, rows, place.name)
    return tokenizer


def _check_template(tokenizer: Any, name: str) -> None:
    given = tokenizer.chat_template
    if isinstance(given, dict) and given and "default" not in given:
        notes = (f"its templates are {', '.join(f'`{n}`' for n in sorted(given))}",)
        helps = ("save the one to use as `chat_template.jinja` in the model's folder",)
        refuse("T507", f"`{name}` has several chat templates, and none is the default", notes=notes, helps=helps)


def tokenizer_digest(tokenizer: Any) -> str:
    """sha256 of the vocabulary with its ids."""
    return sha256_text(canonical_json(tokenizer.get_vocab()))


def settings_key(place: Path, tokenizer: Any) -> str:
    """sha256 over a folder's settings and its tokenizer as it was loaded, chat template included."""
    used = [settings_digests(place), template_digest(tokenizer), tokenizer_digest(tokenizer)]
    return sha256_text(canonical_json(used))


def ref_name(ref: str | HubRef) -> str:
    """A model's name for a pin: never a path."""
    if isinstance(ref, HubRef):
        return f"{ref.hub}@{ref.revision}" if ref.revision else ref.hub
    return ref if ref.startswith("builtin:") else Path(ref).name


def state_digest(tensors: dict[str, torch.Tensor]) -> str:
    """`weights_digest` of tensors in memory."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        sha.update(tensor_line(name, names.get(plain.dtype, str(plain.dtype)), tuple(plain.shape)))
        sha.update(plain.view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def decoder_layers(model: Any) -> torch.nn.ModuleList:
    """The list of decoder layers of a causal LM or of its trunk.

    Raises:
        LookupError: the architecture keeps them in an unknown place.
    """
    trunk = model.get_decoder() if hasattr(model, "get_decoder") else model
    trunk = getattr(trunk or model, "language_model", trunk or model)
    for name in ("layers", "h", "blocks"):
        if isinstance(layers := getattr(trunk, name, None), torch.nn.ModuleList):
            return layers
    raise LookupError(f"no list of decoder layers in {type(model).__name__}")


def _whole(place: Path, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM

    return complete_model(AutoModelForCausalLM, place, dtype=DTYPES[dtype])


def _trunk(place: Path, dtype: str, layers: int) -> Any:
    """Weights of the layers above and of the head are never read from disk."""
    from transformers import AutoModel

    config = _config(place)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if isinstance(kinds := getattr(text, "layer_types", None), list):
        text.layer_types = kinds[:layers]
    return complete_model(AutoModel, place, config=config, dtype=DTYPES[dtype])


def _config(place: Path) -> Any:
    from transformers import AutoConfig

    return pretrained(AutoConfig, place)


def _download(ref: HubRef) -> Path:
    from huggingface_hub import snapshot_download

    with _loading(ref):
        return Path(snapshot_download(ref.hub, revision=ref.revision, allow_patterns=HUB_FILES))


@contextmanager
def _loading(ref: object, place: Path | None = None) -> Generator[None, None, None]:
    """Turn whatever the loading libraries raise into a finding that says what is missing."""
    try:
        yield
    except Refused:
        raise
    except Unsealed as fault:
        refuse("T575", f"`{_shown(ref)}`", notes=(str(fault),))
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        helps = (NO_CODE,) if place is not None and brings_code(place) and "remote" in str(error) else ()
        notes = (f"{type(error).__name__}: {first[:300]}",)
        refuse("T507", f"`{_shown(ref)}` can't be loaded", notes=notes, helps=helps)


def _shown(ref: object) -> str:
    return ref.hub if isinstance(ref, HubRef) else str(ref)


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Loading part of a model makes transformers warn about the rest; progress bars are ours."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
