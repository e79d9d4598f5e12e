"""A digest of weights that needs no torch and no memory: it reads safetensors files as bytes."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHUNK = 1 << 24


@dataclass(frozen=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    stop: int


def weights_digest(folder: Path) -> str:
    """sha256 over name, dtype, shape and stored bytes of all tensors of a folder's safetensors files, in name order.

    How the tensors are spread over files does not matter, nor what the model is loaded as.

    Raises:
        FileNotFoundError: there is no safetensors file in the folder.
        ValueError: a file is not what its header says.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no safetensors file in {folder}")
    return _digest(tensor for file in files for tensor in _header(file))


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
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    tensors = [
        _Tensor(name, t["dtype"], tuple(t["shape"]), path, *(8 + length + o for o in t["data_offsets"]))
        for name, t in header.items()
    ]
    if any(t.stop > size for t in tensors):
        raise ValueError(f"{path.name} is cut short")
    return tensors
