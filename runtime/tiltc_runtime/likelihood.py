"""What an instruction, a steering vector or an adapter adds to the frozen model's log-likelihood of the responses (paper
2.1, 2.3).

One pass of the whole model per request, and one without any, over the tokens that training sees. Shards are computed in
order, each from its own rows only, and kept as parts until all are there; then the folder of the request appears whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from tiltc.canonical import canonical_json, digest, sha256_file
from tiltc.evidence import CLEAN, LIKELIHOOD_SCHEMA, Adapted, Instructed, LikelihoodManifest, Manifest, Request, Steered
from tiltc.evidence.likelihood import SCORES, read_scores
from tiltc.files import write_whole
from tiltc_runtime.disk import hashes, mark_whole, save_table, whole_shard
from tiltc_runtime.instructed import instructed_ids, last_turn_start
from tiltc_runtime.loading import LoadedModel, decoder_layers
from tiltc_runtime.meter import Meter
from tiltc_runtime.pairs import Pair
from tiltc_runtime.passes import BEGINNING, LOOSE, NOTHING, TOLERANCE, Beginning, Ids, Trunk, batches
from tiltc_runtime.reft import at_ends, change, moved_at
from tiltc_runtime.refused import refuse
from tiltc_runtime.sae import Hook
from tiltc_runtime.tokens import Encoded, encode_pair, row_status

Tensor = torch.Tensor

#: logits in one forward pass
CPU_LOGITS, CUDA_LOGITS = 1 << 27, 1 << 30
#: file of a part: (n, 2) log p of a shard's responses
PART = "logps.npy"


@dataclass(frozen=True)
class Item:
    """A prompt, its two responses, and the token of the prompt from which on the model is steered."""

    prompt: Ids
    responses: tuple[Ids, ...]
    start: int = 0

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(map(len, self.responses))


def score_likelihoods(
    folder: Path,
    shards: Mapping[str, Sequence[Pair]],
    requests: Mapping[str, Request],
    load: Callable[[], LoadedModel],
    *,
    err: TextIO | None = None,
) -> list[str]:
    """Write `likelihood/` of an evidence folder: what it lacks of the requests (`tiltc.evidence.likelihood`).

    Args:
        folder: an evidence folder with its manifest.
        shards: all pairs of the data set in its order, by part. Batches never reach across parts.
        requests: by key.
        load: gives the whole model; called only when something is missing.
        err: where progress goes; None is silent.

    Returns:
        The keys that were missing.

    Raises:
        Refused: T513, a log-likelihood is not finite.
        OSError: as the file system says; finished parts are kept.
    """
    if not requests:
        return []
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    wanted: dict[str, Request | None] = {CLEAN: None, **dict(sorted(requests.items()))}
    missing = {key: request for key, request in wanted.items() if not _is_whole(folder, key, request, manifest)}
    parts = {key: folder / "likelihood" / "parts" / key for key in wanted}
    for key in wanted:
        if key not in missing:
            # of a pass that was killed when it was done
            _remove(parts[key])
    todo = [(key, name) for key in missing for name in shards if whole_shard(parts[key] / name) is None]
    pairs = [pair for shard in shards.values() for pair in shard]
    total, rows = len(missing) * len(pairs), sum(len(shards[name]) for _, name in todo)
    if missing and err is not None:
        err.write(f"likelihoods, a pass over {len(pairs)} pairs each: {', '.join(missing)}\n")
    meter = Meter(total, total - rows, err, "likelihoods")
    reading: _Pass | None = None
    try:
        for key, request in missing.items():
            for name in (name for of, name in todo if of == key):
                reading = reading or _Pass(load(), manifest.max_length, pairs)
                before = reading.scorer.tokens
                logps = reading.logps(shards[name], request)
                write_whole(parts[key] / name, partial(_save_part, name=name, logps=logps))
                meter.advance(len(shards[name]), reading.scorer.tokens - before)
            logps = np.concatenate([np.load(parts[key] / name / PART) for name in shards])
            _write(folder, key, request, manifest, [pair.row_id for pair in pairs], logps)
            _remove(parts[key])
    finally:
        meter.close()
    return list(missing)


class _Pass:
    """The model and what it reads of pairs under a request."""

    def __init__(self, model: LoadedModel, max_length: int, pairs: Sequence[Pair]) -> None:
        self.model, self.max_length = model, max_length
        self.context: int | None = getattr(model.model.config.get_text_config(), "max_position_embeddings", None)
        self.scorer = Scorer(model)
        # decided from the data set's first rows, whichever shard comes first
        for at in range(0, len(pairs), 64):
            items = [item for item in self._items(pairs[at : at + 64], None) if item]
            if items:
                self.scorer.prepare(items)
                break

    def logps(self, pairs: Sequence[Pair], request: Request | None) -> np.ndarray:
        """(n, 2) float64: log p of both responses; NaN where there is none. Raises Refused (T513)."""
        items = self._items(pairs, request)
        some = [i for i, item in enumerate(items) if item is not None]
        out = np.full((len(pairs), 2), np.nan)
        with steering(self.scorer, None if isinstance(request, Instructed) else request):
            out[some] = self.scorer.score([item for item in items if item is not None])
        bad = [i for i in some if not np.isfinite(out[i]).all()]
        if bad:
            names = ", ".join(pairs[i].row_id for i in bad[:5])
            helps = ("harvest with `--dtype float32`",) if self.model.dtype != "float32" else ()
            refuse("T513", f"log-likelihoods of row {names} are not finite", helps=helps)
        return out

    def _items(self, pairs: Sequence[Pair], request: Request | None) -> list[Item | None]:
        encoded = [encode_pair(self.model.tokenizer, pair, self.max_length) for pair in pairs]
        return [self._item(pair, e, request) for pair, e in zip(pairs, encoded, strict=True)]

    def _item(self, pair: Pair, encoded: Encoded, request: Request | None) -> Item | None:
        if row_status(pair, encoded) != "ok":
            return None
        tokenizer, prompt = self.model.tokenizer, encoded.prompt
        # every request is read in the same batches, so that an empty one adds exactly nothing
        start = min(last_turn_start(tokenizer, pair), len(prompt))
        if isinstance(request, Instructed) and request.text.strip():
            prompt = instructed_ids(tokenizer, pair, request.text)
        item = Item(prompt, encoded.responses, start)
        return None if self.context is not None and item.longest > self.context else item


class Scorer(Trunk):
    """A whole model as a function from items to log-likelihoods; logits are computed for response tokens only."""

    def __init__(self, model: LoadedModel, budget: int | None = None) -> None:
        layers = len(decoder_layers(model.model))
        super().__init__(model, Hook("logits", layers - 1), budget)
        vocabulary = int(self.model.config.get_text_config().vocab_size)
        most = CUDA_LOGITS if self.device.type == "cuda" else CPU_LOGITS
        self.budget = max(min(self.budget, most // vocabulary), 1)
        self.shared: bool | None = None
        #: tokens read so far, padding not counted
        self.tokens = 0
        #: of the next forward pass: the position of each row from which on it is steered, those where its response starts
        #: and ends (rows, 2), and the positions from the end that need logits (0: all)
        self.starts, self.responses, self.keep = torch.zeros(0), torch.zeros(0, 2), 0
        #: (rows, T) of the current forward pass: its positions, and where it is steered
        self.places, self.steered = torch.zeros(0), torch.zeros(0)

    def prepare(self, items: Sequence[Item]) -> None:
        """Decide from the longest and the shortest of these items whether prompts can be shared."""
        usable = sorted((i for i in items if i.prompt), key=lambda i: (i.longest, i.prompt))
        ends = usable[:1] + usable[-1:]
        self.shared = bool(ends) and self._agrees(ends)
        if ends and not self.shared and self.begins:
            self.begins = False
            self.shared = self._agrees(ends)

    def score(self, items: Sequence[Item]) -> np.ndarray:
        """(n, 2) float64: log p of both responses of items, in nats.

        A response's first token has no probability where nothing stands before it.
        """
        out = np.zeros((len(items), 2))
        if self.shared is None:
            self.prepare(items)
        shared = [i for i, item in enumerate(items) if item.prompt and self.shared]
        whole = sorted({*range(len(items))} - {*shared})
        for rows, way in ((shared, self._shared), (whole, self._whole)):
            if rows:
                out[rows] = way([items[i] for i in rows])
        self.tokens += sum(len(i.prompt) + sum(map(len, i.responses)) for i in items)
        return out

    def _agrees(self, items: Sequence[Item]) -> bool:
        """Do shared prompts give the log-likelihoods of whole sequences? What the architecture raises counts as no."""
        whole = self._whole(items)
        try:
            shared = self._shared(items)
        except Exception:
            return False
        return bool(np.abs(shared - whole).max() <= TOLERANCE.get(self.dtype, LOOSE) * max(np.abs(whole).max(), 1.0))

    @torch.inference_mode()
    def _shared(self, items: Sequence[Item]) -> np.ndarray:
        """What prompts begin with is computed once, each prompt's rest once, and its responses as continuations."""
        out = np.zeros((len(items), 2))
        begin = self._begun(items)
        for rows in batches([len(item.prompt) - len(begin.ids) for item in items], self.budget):
            batch = [items[row] for row in rows]
            prompts = [item.prompt for item in batch]
            self._expect([item.start for item in batch], keep=1)
            logits, cache = self.prompts(prompts, begin)
            first = logits[:, -1].float().log_softmax(-1)
            here = [(place, side, ids) for place, item in enumerate(batch) for side, ids in enumerate(item.responses)]
            for chunk in batches([len(ids) for *_, ids in here], self.budget):
                picked = [here[i] for i in chunk]
                places, responses = [place for place, *_ in picked], [ids for *_, ids in picked]
                before = [len(prompts[place]) for place in places]
                spans = [(at, at + len(ids)) for at, ids in zip(before, responses, strict=True)]
                self._expect([0] * len(picked), keep=0, spans=spans)
                made = self.continuations(cache, places, prompts, responses, len(begin.ids))
                for row, (place, side, ids) in enumerate(picked):
                    out[rows[place], side] = float(first[place, ids[0]]) + _summed(made[row], ids[1:])
        return out

    @torch.inference_mode()
    def _whole(self, items: Sequence[Item]) -> np.ndarray:
        """The same from whole sequences: for architectures whose cache can't be shared, and for empty prompts."""
        out = np.zeros((len(items), 2))
        flat = [(i, side, ids) for i, item in enumerate(items) for side, ids in enumerate(item.responses)]
        for chunk in batches([len(items[i].prompt) + len(ids) for i, _, ids in flat], self.budget):
            picked = [flat[k] for k in chunk]
            sequences = [items[i].prompt + ids for i, _, ids in picked]
            width = max(map(len, sequences))
            first = min(max(len(items[i].prompt) - 1, 0) for i, *_ in picked)
            spans = [(len(items[i].prompt), len(items[i].prompt) + len(ids)) for i, _, ids in picked]
            self._expect([items[i].start for i, *_ in picked], keep=width - first, spans=spans)
            made = self.sequences(sequences)
            for row, (i, side, ids) in enumerate(picked):
                at = len(items[i].prompt) - 1
                out[i, side] = _summed(made[row, max(at, 0) - first :], ids if at >= 0 else ids[1:])
        return out

    def _begun(self, items: Sequence[Item]) -> Beginning:
        """What prompts begin with, as far as none of them is steered there."""
        begin = self.beginning([item.prompt for item in items])
        ids = begin.ids[: min(item.start for item in items)]
        if len(ids) < BEGINNING:
            return NOTHING
        self._expect([len(ids)], keep=1)
        return Beginning(ids, self.prompts([ids])[1])

    def _expect(self, starts: Sequence[int], keep: int, spans: Sequence[tuple[int, int]] = ()) -> None:
        """What the next forward pass reads; without spans there is no response in it."""
        self.starts, self.keep = torch.tensor(starts, device=self.device), keep
        self.responses = torch.tensor(spans or [(0, 0)] * len(starts), device=self.device)

    @torch.inference_mode()
    def _run(self, **inputs: Any) -> Tensor:
        """Logits (rows, kept positions, vocabulary)."""
        ids: Tensor = inputs["input_ids"]
        places: Tensor = inputs.get("position_ids", torch.arange(ids.shape[1], device=self.device)[None])
        self.places, self.steered = places, places >= self.starts[:, None]
        return self.model(**inputs, logits_to_keep=self.keep).logits


@contextmanager
def steering(scorer: Scorer, request: Steered | Adapted | None) -> Generator[None]:
    """Within the block, the scorer's passes are steered."""
    if request is None:
        yield
        return
    with moved_at(scorer.model, request.layer, _moved(scorer, request)):
        yield


def _moved(scorer: Scorer, request: Steered | Adapted) -> Callable[[Tensor], Tensor]:
    if isinstance(request, Adapted):
        adapter, ends = torch.from_numpy(np.asarray(request.adapter, np.float32)).to(scorer.device), request.ends

        def adapted(hidden: Tensor) -> Tensor:
            on = at_ends(scorer.places, scorer.responses[:, :1], scorer.responses[:, 1:], ends)
            return hidden + (change(hidden, adapter) * (request.size * on.float()[:, :, None])).to(hidden.dtype)

        return adapted
    vector = torch.from_numpy(np.asarray(request.vector, np.float32)).to(scorer.device) * request.size
    return lambda hidden: hidden + scorer.steered[:, :, None].to(hidden.dtype) * vector.to(hidden.dtype)


def _summed(logits: Tensor, ids: Ids) -> float:
    """log p of tokens, of which the first is predicted by the first of the logits (T, V)."""
    if not ids:
        return 0.0
    rows = logits[: len(ids)].float()
    picked = rows.gather(1, torch.tensor(ids, device=rows.device)[:, None])[:, 0] - rows.logsumexp(-1)
    return float(picked.double().sum())


def _save_part(folder: Path, name: str, logps: np.ndarray) -> None:
    np.save(folder / PART, logps, allow_pickle=False)
    mark_whole(folder, name, len(logps))


def _write(
    folder: Path, key: str, request: Request | None, of: Manifest, row_ids: Sequence[str], logps: np.ndarray
) -> None:
    scores = logps if request is None else logps - read_scores(folder / "likelihood" / CLEAN)

    def fill(work: Path) -> None:
        kept = [[None if np.isnan(score) else float(score) for score in row] for row in scores]
        rows = [{"row_id": row, "chosen": c, "rejected": r} for row, (c, r) in zip(row_ids, kept, strict=True)]
        save_table(work, rows, LIKELIHOOD_SCHEMA, SCORES)
        manifest = LikelihoodManifest(
            **_pins(request),
            model=of.model.digest,
            data=of.data.digest,
            rows=len(rows),
            available=int((~np.isnan(scores)).all(axis=1).sum()),
            files=hashes(work),
            digest="",
        )
        manifest = manifest.model_copy(update={"digest": digest(manifest)})
        (work / "manifest.json").write_text(canonical_json(manifest), encoding="utf-8")

    write_whole(folder / "likelihood" / key, fill)


def _is_whole(folder: Path, key: str, request: Request | None, of: Manifest) -> bool:
    """Is what was asked for there, as it was written?"""
    place = folder / "likelihood" / key
    try:
        manifest = LikelihoodManifest.model_validate_json((place / "manifest.json").read_bytes())
        same = all(sha256_file(place / name) == sha for name, sha in manifest.files.items())
    except (OSError, ValueError):
        return False
    wanted = manifest.model_copy(update={**_pins(request), "model": of.model.digest, "data": of.data.digest})
    return same and manifest == wanted and digest(manifest) == manifest.digest


def _pins(request: Request | None) -> dict[str, Any]:
    return request.pins if request else {"kind": "clean"}


def _remove(parts: Path) -> None:
    shutil.rmtree(parts, ignore_errors=True)
    if parts.parent.is_dir() and not any(parts.parent.iterdir()):
        parts.parent.rmdir()
