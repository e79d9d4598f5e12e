"""A digest of weights that needs no torch and no memory: it reads as bytes the safetensors files that a loader opens."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiltc.evidence.hashed import once
from tiltc.seal import parsed

CHUNK = 1 << 24
#: what loaders open, each where the ones before it are not there; pickled weights are opened by none
MODEL, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER, SAE = "adapter_model.safetensors", "sae_weights.safetensors"


class Unsealed(ValueError):
    """A loader would open other weights than those that a digest can cover."""


@dataclass(frozen=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    stop: int


def weights_digest(folder: Path) -> str:
    """sha256 over name, dtype, shape and stored bytes of all tensors that a loader reads from a folder, in name order.

    How the tensors are spread over files does not matter, nor what the model is loaded as.

    Raises:
        FileNotFoundError: there is no safetensors file in the folder.
        Unsealed: as `tensor_files`, or a tensor is in two files.
        ValueError: a file is not what its header says.
    """
    tensors = [tensor for file in tensor_files(folder) for tensor in _header(file)]
    twice = [name for name, n in Counter(t.name for t in tensors).items() if n > 1]
    if twice:
        raise Unsealed(f"tensor {twice[0]} is in more than one file")
    files = sorted({tensor.file for tensor in tensors})
    return once(("weights", tuple(tensors)), files, lambda: _digest(tensors))


def tensor_files(folder: Path) -> list[Path]:
    """The files that the loader of a model, an adapter or an SAE opens in a folder.

    Files beside them are never opened, and in no digest.

    Raises:
        FileNotFoundError: there is no safetensors file in the folder.
        Unsealed: the loader would open none of those that are there, or what it opens is not for the folder to say.
    """
    _check_redirects(folder)
    kinds = [name for name in (MODEL, INDEX, ADAPTER, SAE) if (folder / name).is_file()]
    kinds = [name for name in kinds if name != INDEX or MODEL not in kinds]
    if len(kinds) > 1:
        raise Unsealed(f"{' and '.join(kinds)} lie in one folder: what is loaded is not certain")
    if not kinds:
        others = sorted(file.name for file in folder.glob("*.safetensors"))
        if others:
            raise Unsealed(f"a loader opens {MODEL} or {INDEX}, and there is only {', '.join(others[:5])}")
        raise FileNotFoundError(f"no safetensors file in {folder.name} (pickled weights are not loaded)")
    return _indexed(folder) if kinds == [INDEX] else [folder / kinds[0]]


def _check_redirects(folder: Path) -> None:
    """What sends transformers elsewhere: a name in the config, and an adapter, whose base it loads in the model's place."""
    if not (folder / "config.json").is_file():
        return
    named = _object(folder / "config.json").get("transformers_weights")
    if named not in (None, MODEL, INDEX) or (named == INDEX and (folder / MODEL).is_file()):
        raise Unsealed(f"config.json has the weights read from `transformers_weights: {named}`")
    if (folder / "adapter_config.json").is_file():
        raise Unsealed("beside a model there is adapter_config.json, whose base would be loaded in its place")


def _indexed(folder: Path) -> list[Path]:
    places: Any = _object(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(place, str) for place in places.values()):
        raise Unsealed(f"{INDEX} has no `weight_map` from tensors to files")
    names = sorted(set(places.values()))
    if bad := [name for name in names if "/" in name or "\\" in name or not name.endswith(".safetensors")]:
        raise Unsealed(f"{INDEX} leads to {bad[0]!r}, which is no safetensors file of the folder")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise Unsealed(f"{INDEX} leads to {missing[0]!r}, which is not there")
    held = {tensor.name: name for name in names for tensor in _header(folder / name)}
    if wrong := [tensor for tensor, name in places.items() if held.get(tensor) != name]:
        raise Unsealed(f"{INDEX} looks for {wrong[0]} in {places[wrong[0]]}, which does not have it")
    return [folder / name for name in names]


def _object(file: Path) -> dict[str, Any]:
    value = parsed(file.read_bytes())
    if not isinstance(value, dict):
        raise ValueError(f"{file.name} is no JSON object")
    return value


def adapted_digest(base: str, adapter: str) -> str:
    """Identity of a model with an adapter, from the digests of the two: merged weights differ in their last bits."""
    return hashlib.sha256(f"{base}+{adapter}".encode()).hexdigest()


def tensor_line(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """What goes into the digest ahead of a tensor's bytes."""
    return f"{name}\0{dtype}\0{json.dumps(list(shape))}\0".encode()


def _digest(tensors: Iterable[_Tensor]) -> str:
    sha = hashlib.sha256()
    for tensor in sorted(tensors, key=lambda t: t.name):
        sha.update(tensor_line(tensor.name, tensor.dtype, tensor.shape))
        with open(tensor.file, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for start in range(tensor.start, tensor.stop, CHUNK):
                sha.update(data[start : min(start + CHUNK, tensor.stop)])
    return sha.hexdigest()


def _header(path: Path) -> list[_Tensor]:
    """The tensors of a safetensors file: 8 bytes of length, a JSON header, then the data."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise ValueError(f"{path.name} is cut short or no safetensors file")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            tensors = [_tensor(name, entry, path, 8 + length) for name, entry in header.items()]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise ValueError(f"{path.name} has a header that is none of safetensors") from None
    if any(not 8 + length <= t.start <= t.stop <= size for t in tensors):
        raise ValueError(f"{path.name} is cut short")
    return tensors


def _tensor(name: str, entry: dict[str, Any], path: Path, first: int) -> _Tensor:
    start, stop = entry["data_offsets"]
    return _Tensor(name, str(entry["dtype"]), tuple(map(int, entry["shape"])), path, first + start, first + stop)
