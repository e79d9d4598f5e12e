"""The second pass of a harvest: figures of every response token, for tools that are known once the data has been read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from tiltc.canonical import canonical_json
from tiltc.evidence import SIDES, AttentionTool, Manifest, TokenPin, Tool, read_probe
from tiltc.files import write_text, write_whole
from tiltc_runtime.activations import Nothing, Reader
from tiltc_runtime.attention import token_reads
from tiltc_runtime.disk import mark_whole, whole_shard
from tiltc_runtime.inputs import Inputs
from tiltc_runtime.meter import Meter
from tiltc_runtime.sae import Sae
from tiltc_runtime.tokens import READ, row_status

Tensor = torch.Tensor


@dataclass(frozen=True)
class Read:
    """What a tool reads: residuals (T, d) of a response -> figures (T, k), and the figure of a sink, which shows nothing
    and is not read."""

    figures: Callable[[Tensor], Tensor]
    sink: float


def score_tokens(inputs: Inputs, folder: Path, tools: Sequence[Tool], err: TextIO | None) -> bool:
    """Write what an evidence folder lacks of `tools`: all of a shard's in one pass, each shard whole or not at all.

    Returns:
        False if it lacked nothing.
    """
    lacking = {
        name: [tool for tool in tools if whole_shard(folder / "tokens" / tool.key / name) is None]
        for name in inputs.shards
    }
    todo = [name for name, missing in lacking.items() if missing]
    repaired = _pin(folder, tools)
    if not todo:
        return repaired
    reader = Reader(inputs.loaded, inputs.sae)
    items = next(filter(None, map(inputs.usable, inputs.shards.values())), None)
    assert items is not None, "the evidence has rows that were read"
    reader.prepare(items)
    there = sum(len(inputs.shards[name]) for name in inputs.shards if name not in todo)
    meter = Meter(len(inputs.data.pairs), there, err)
    try:
        for name in todo:
            before = reader.tokens
            write_shard(inputs, reader, folder, name, lacking[name])
            meter.advance(len(inputs.shards[name]), reader.tokens - before)
    finally:
        meter.close()
    return True


def _pin(folder: Path, tools: Sequence[Tool]) -> bool:
    """Note what each tool is and which evidence it reads, where that is not noted. False if it was."""
    wrote = False
    for tool in tools:
        of = Manifest.model_validate_json((folder / "manifest.json").read_bytes()).digest
        file, text = folder / "tokens" / tool.key / "tool.json", canonical_json(TokenPin(tool=tool, of=of))
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            write_text(file, text)
            wrote = True
    return wrote


def write_shard(inputs: Inputs, reader: Reader, folder: Path, name: str, tools: Sequence[Tool]) -> None:
    pairs = inputs.shards[name]
    encoded = inputs.encode(pairs)
    usable = [i for i, (p, e) in enumerate(zip(pairs, encoded, strict=True)) if row_status(p, e) in READ]
    answers = TokenFigures([reading(tool, reader.sae, folder) for tool in tools])
    reader.run([(encoded[i].prompt, encoded[i].responses) for i in usable], Nothing(), answers)
    for at, tool in enumerate(tools):
        place = folder / "tokens" / tool.key / name

        def fill(work: Path, at: int = at, width: int = tool.width) -> None:
            _save(work, len(pairs), usable, answers, at, width)
            mark_whole(work, name, len(pairs))

        write_whole(place, fill)


def _save(work: Path, n: int, usable: Sequence[int], answers: TokenFigures, at: int, width: int) -> None:
    for number, side in enumerate(SIDES):
        rows = list(_rows(n, usable, answers.figures, number, at, width))
        sizes = np.array([len(row) for row in rows], dtype=np.int64)
        np.save(work / f"{side}.indptr.npy", np.concatenate([[0], sizes.cumsum()]), allow_pickle=False)
        np.save(work / f"{side}.values.npy", np.concatenate(rows).astype(np.float16), allow_pickle=False)


def _rows(
    n: int, usable: Sequence[int], figures: dict[int, list[np.ndarray]], side: int, at: int, width: int
) -> Iterator[np.ndarray]:
    place = {row: i for i, row in enumerate(usable)}
    nothing = np.zeros((0, width), dtype=np.float32)
    for row in range(n):
        read = figures.get(2 * place[row] + side) if row in place else None
        yield nothing if read is None else read[at]


def reading(tool: Tool, sae: Sae, folder: Path) -> Read:
    """What a tool reads off residuals; attention probes lie in the evidence `folder`."""
    if isinstance(tool, AttentionTool):
        probe = read_probe(folder, tool.recipe)
        assert probe is not None, "probes are fitted before they are read"
        assert probe.sha256 == tool.sha256, "the tool is the probe that lies there"
        tensor = probe.tensor
    elif tool.features:
        features = torch.tensor(tool.features, device=sae.threshold.device)
        return Read(lambda x: sae.activations_of(x, features), 0.0)
    else:
        tensor = np.array(tool.vector)
    reads = token_reads(tensor)
    return Read(lambda x: reads(x)[:, None], float("-inf"))


class TokenFigures:
    """Collects the figures (T, k) of every span, for each of several tools."""

    def __init__(self, reads: Sequence[Read]) -> None:
        self.reads = reads
        self.figures: dict[int, list[np.ndarray]] = {}

    def begin(self, residuals: Tensor, *, skip: int = 0) -> None:
        """Responses begin with nothing that they share."""

    @torch.inference_mode()
    def add(self, residuals: Tensor, spans: Sequence[tuple[int, int, int]], *, skip: int = 0) -> None:
        """Take in residuals (rows, T, d); the first `skip` tokens of a span are sinks and show nothing."""
        for row, (index, start, stop) in enumerate(spans):
            self.figures[index] = [_figures(read, residuals[row, start:stop], skip) for read in self.reads]


def _figures(read: Read, residuals: Tensor, skip: int) -> np.ndarray:
    """(T, k) figures, of which the first `skip` are those of sinks."""
    values = read.figures(residuals[skip:]).cpu().numpy()
    return np.pad(values, ((min(skip, len(residuals)), 0), (0, 0)), constant_values=read.sink)
