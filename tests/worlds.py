"""Small whole worlds: a tiny model, an SAE that reconstructs it exactly, rows and a spec, and `tiltc` called on them.

world = make_world(tmp_path, rows, template=CHATML)
said = world.tiltc("harvest", "spec.yaml")
assert said.code == 0, said.err
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tests.runtime.tiny import WIDTH, tiny_model_folder, tiny_tokenizer
from tiltc.cli import main

#: a concept read by its pattern, so that no case hangs on what a random model's features detect
SPEC = """\
tiltc: 1
name: case
model: ./model
sae: ./sae
data: ./{data}
concepts:
  shout:
    about: Shouts the word wow.
    pattern: '\\bWOW\\b'
signals:
  - suppress: shout
    readout: detector
budget: {{drop: 50%, effective_sample: 10%}}
train: {{max_length: 256, batch_size: 2, learning_rate: 1.0e-3, epochs: 1}}
"""


@dataclass(frozen=True)
class Said:
    """What one call answered."""

    code: int
    out: str
    err: str

    @property
    def codes(self) -> list[str]:
        """The codes of all findings, in their order."""
        return re.findall(r"^(?:error|warning|info|note)\[(T\d{3})\]", self.out, re.MULTILINE)


@dataclass(frozen=True)
class World:
    """A folder with `spec.yaml`, `model/`, `sae/` and a data file; every call works in it."""

    folder: Path

    def tiltc(self, *arguments: str) -> Said:
        """One command as a user gives it in this folder; the store is `.tiltc/evidence` inside."""
        out, err = io.StringIO(), io.StringIO()
        quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        with chdir(self.folder), mock.patch.dict(os.environ, quiet):
            code = main(list(arguments), out, err)
        return Said(code, out.getvalue(), err.getvalue())

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        """JSON lines."""
        return self.write(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def make_world(
    folder: Path,
    rows: Iterable[Mapping[str, Any]],
    *,
    template: str | Mapping[str, str] | None = None,
    tokenizer: Any = None,
    family: str = "llama",
    spec: str = SPEC,
    data: str = "pairs.jsonl",
) -> World:
    """A world whose evidence can be harvested, compiled, trained and verified in seconds.

    Args:
        rows: of the data file, written as JSON lines.
        template: the chat template, or several by name; by default that of `tiny_tokenizer`.
        tokenizer: in place of `tiny_tokenizer`.
        spec: text of `spec.yaml`; `{data}` is filled in, other braces are doubled.
    """
    world = World(folder)
    tiny_model_folder(folder / "model", family)
    tokenizer = tiny_tokenizer() if tokenizer is None else tokenizer
    if template is not None:
        tokenizer.chat_template = template if isinstance(template, str) else dict(template)
    tokenizer.save_pretrained(folder / "model")
    exact_sae_folder(folder / "sae")
    world.write_rows(data, rows)
    world.write("spec.yaml", spec.format(data=data))
    return world


def exact_sae_folder(folder: Path, *, layer: int = 1, width: int = WIDTH, **settings: Any) -> Path:
    """An SAE of 2 x width features, the residual's positive and negative parts, that reconstructs it exactly.

    Args:
        settings: of `cfg.json`, in place of the usual ones.
    """
    import torch
    from safetensors.torch import save_file

    eye = torch.eye(width)
    encoder = torch.cat([eye, -eye], 1)
    weights = {
        "W_enc": encoder.contiguous(),
        "W_dec": encoder.T.contiguous(),
        "b_enc": torch.zeros(2 * width),
        "b_dec": torch.zeros(width),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "sae_weights.safetensors")
    config = {
        "architecture": "standard", "d_in": width, "d_sae": 2 * width, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"hook_name": f"blocks.{layer}.hook_resid_post", "model_name": "unknown"},
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config | settings, indent=1), encoding="utf-8")
    return folder
