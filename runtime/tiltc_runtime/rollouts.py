"""Rollouts: what a policy answers to the prompts, sampled once and kept.

Every rollout has random numbers of its own, derived from (seed, prompt, sample): batch composition does not change
them, and two policies answer with the same luck. Tokens are drawn by an exponential race, argmax p / E with E ~ Exp(1)
(the Gumbel trick), so policies with nearly equal distributions pick the same token until they really differ. That takes
most of the noise out of differences between policies. What batching can still change is the last bits of the logits
(padding), so batches are fixed by the prompts alone.

Kept in `<store>/<key>.jsonl`, one line per rollout, appended batch by batch: a killed `verify` goes on where it was,
and the start policy is sampled once for all runs. The key is made of what is used, not of what was pinned, and a line is sealed
under its key: what was sampled from something else, or changed afterwards, is no rollout of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tiltc.canonical import canonical_json, sha256_text
from tiltc.files import write_text
from tiltc.seal import sealed_line, unsealed_line
from tiltc.spec import Verify
from tiltc_runtime.asked import Prompt, asked_ids
from tiltc_runtime.pairs import Message
from tiltc_runtime.prompts import schedule
from tiltc_runtime.tokens import Ids
from tiltc_runtime.vocabulary import check_range

#: raised when the meaning of kept rollouts changes
FORMAT = 2
#: rollouts in a batch: beyond this two cores gain nothing, and short prompts wait for long ones
BATCH = 48
#: ended rows leave the batch once no more than this share is still going
SHRINK_AT = 0.75

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Rollout:
    """One answer. `prompt` is the position in the prompt list; `finished` means it ended before the limit."""

    prompt: int
    sample: int
    text: str
    tokens: int
    finished: bool


@dataclass(frozen=True)
class Policy:
    """Something that answers: weights that are loaded only when there is something left to sample.

    Attributes:
        digest: identity of the weights.
        settings: sha256 of what else decides answers: config, tokenizer, template, where they end.
        load: returns (model in eval mode, tokenizer), or raises Refused where they are not these any more.
    """

    name: str
    digest: str
    settings: str
    load: Callable[[], tuple[Any, Any]]


def rollouts_key(policy: Policy, prompts: Sequence[Prompt], verify: Verify, dtype: str) -> str:
    """What kept rollouts are found by: everything that they follow from."""
    asked = sha256_text(canonical_json([prompt.key for prompt in prompts]))
    used = {"policy": policy.digest, "settings": policy.settings, "prompts": asked, "dtype": dtype}
    identity = {"format": FORMAT, **used, **verify.model_dump(exclude={"prompts"})}
    return sha256_text(canonical_json(identity))


@dataclass(frozen=True)
class Sampled:
    """The rollouts asked for, in the order of `schedule`, and how many kept ones were not as written."""

    rollouts: list[Rollout]
    broken: int


def sample(
    policy: Policy, prompts: Sequence[Prompt], verify: Verify, file: Path, progress: Progress | None = None
) -> Sampled:
    """All rollouts of a policy: those in `file`, the missing ones sampled and appended."""
    wanted = schedule(len(prompts), verify.rollouts)
    kept, broken = read_rollouts(file)
    batches = [batch for batch in _batches(prompts, wanted) if any(at not in kept for at in batch)]
    if batches:
        model, tokenizer = policy.load()
        _rewrite(file, kept)
        for batch in batches:
            answers = _answer(model, tokenizer, prompts, batch, verify)
            _append(file, answers)
            kept |= {(r.prompt, r.sample): r for r in answers}
            if progress is not None:
                progress(len(kept), len(wanted))
    return Sampled([kept[at] for at in wanted], broken)


def read_rollouts(file: Path) -> tuple[dict[tuple[int, int], Rollout], int]:
    """What a file holds by (prompt, sample), and how many of its lines were not written as its own.

    A torn last line, left by a killed process, is ignored.
    """
    if not file.exists():
        return {}, 0
    *lines, _ = file.read_bytes().split(b"\n")
    read = [_read_line(file.stem, line) for line in lines]
    return {(r.prompt, r.sample): r for r in read if r is not None}, read.count(None)


def _read_line(key: str, line: bytes) -> Rollout | None:
    value = unsealed_line(key, line)
    try:
        return None if value is None else Rollout(**value)
    except TypeError:
        return None


def _batches(prompts: Sequence[Prompt], wanted: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Rollouts by length of the prompt, so that little is padded; ties in the order asked."""
    by_length = sorted(range(len(wanted)), key=lambda k: (len(prompts[wanted[k][0]].text), k))
    return [[wanted[k] for k in by_length[i : i + BATCH]] for i in range(0, len(by_length), BATCH)]


def _rewrite(file: Path, kept: dict[tuple[int, int], Rollout]) -> None:
    """Start the file, or clear it of a torn line, so that appending begins on a new one."""
    write_text(file, "".join(_line(file, rollout) for rollout in kept.values()))


def _append(file: Path, rollouts: Sequence[Rollout]) -> None:
    with open(file, "a", encoding="utf-8") as out:
        out.write("".join(_line(file, rollout) for rollout in rollouts))


def _line(file: Path, rollout: Rollout) -> str:
    return sealed_line(file.stem, asdict(rollout))


def row_seed(seed: int, prompt: Prompt, sample: int) -> int:
    """The seed of one rollout's random numbers, the same under every policy."""
    return int(sha256_text(f"{seed}:{prompt.key}:{sample}")[:15], 16)


def _answer(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], batch: Sequence[tuple[int, int]], verify: Verify
) -> list[Rollout]:
    conversations = [prompts[prompt] for prompt, _ in batch]
    seeds = [row_seed(verify.seed, prompts[prompt], number) for prompt, number in batch]
    answers = generate(model, tokenizer, conversations, seeds, verify.max_new_tokens, verify.temperature)
    return [
        Rollout(prompt, number, tokenizer.decode(tokens, skip_special_tokens=True), len(tokens), finished)
        for (prompt, number), (tokens, finished) in zip(batch, answers, strict=True)
    ]


def generate(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Prompt | Sequence[Message]],
    seeds: Sequence[int],
    max_new_tokens: int,
    temperature: float,
) -> list[tuple[list[int], bool]]:
    """Sample one answer to each conversation; returns (token ids without the end token, ended by itself).

    Prompts are padded on the left, keys and values are kept, and rows that have ended leave the batch in groups.
    """
    import torch

    asked = [asked_ids(tokenizer, c if isinstance(c, Prompt) else tuple(c)) for c in conversations]
    check_range(max(map(max, asked)), model.get_input_embeddings().num_embeddings)
    ids, mask = left_padded(asked, tokenizer.pad_token_id or 0, model.device)
    ends = _end_tokens(model, tokenizer)
    rows = [_Row(np.random.Generator(np.random.SFC64(seed))) for seed in seeds]
    batch, cache = rows, None
    with torch.inference_mode():
        for _ in range(max_new_tokens):
            out = _step(model, ids, mask, cache)
            chosen, cache = _choose(out.logits[:, -1], temperature, batch), out.past_key_values
            for row, token in zip(batch, chosen.tolist(), strict=True):
                row.take(token, ends)
            batch, keep = _still_going(batch)
            if not batch:
                break
            if keep is not None:
                at = torch.tensor(keep, device=model.device)
                cache.batch_select_indices(at)
                mask, chosen = mask[at], chosen[at]
            ids, mask = chosen[:, None], torch.cat([mask, mask.new_ones(len(batch), 1)], dim=1)
    return [(row.tokens, row.finished) for row in rows]


@dataclass
class _Row:
    """One answer in the making, with its own random numbers."""

    luck: np.random.Generator
    tokens: list[int] = field(default_factory=list)
    finished: bool = False

    def take(self, token: int, ends: frozenset[int]) -> None:
        self.finished = self.finished or token in ends
        if not self.finished:
            self.tokens.append(token)


def _still_going(batch: list[_Row]) -> tuple[list[_Row], list[int] | None]:
    """The rows to go on with and their places; None when all stay, for copying the cache costs as much as a step."""
    going = [place for place, row in enumerate(batch) if not row.finished]
    if len(going) > SHRINK_AT * len(batch):
        return batch, None
    return [batch[place] for place in going], going


def _step(model: Any, ids: Any, mask: Any, cache: Any) -> Any:
    position = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=position,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )


def _choose(logits: Any, temperature: float, batch: Sequence[_Row]) -> Any:
    """One token per row (n,): the most likely at temperature 0, else argmax of logits - temperature * log E."""
    import torch

    if temperature == 0:
        return logits.argmax(-1)
    race = np.empty(tuple(logits.shape), dtype=np.float32)
    for row, out in zip(batch, race, strict=True):
        row.luck.standard_exponential(dtype=np.float32, out=out)
    noise = torch.from_numpy(race).to(logits.device).log_().mul_(-temperature)
    return noise.add_(logits).argmax(-1)


def left_padded(rows: Sequence[Ids], pad: int, device: Any) -> tuple[Any, Any]:
    """Token ids and mask (n, longest)."""
    import torch

    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    configured = model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(end for end in (*ends, tokenizer.eos_token_id) if end is not None)
