"""Held-out loss: how likely a policy finds what the starting policy says, which training never saw."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tiltc.canonical import canonical_json, sha256_text
from tiltc.files import write_text
from tiltc_runtime.likelihood import Item, Scorer
from tiltc_runtime.loading import LoadedModel
from tiltc_runtime.prompts import Prompt
from tiltc_runtime.rollouts import Rollout
from tiltc_runtime.tokens import encode_response

#: rollouts of the starting policy that are read; more cost time, and the losses are compared on the same texts
MOST = 96


def held_out_loss(
    policy: str, load: Callable[[], LoadedModel], prompts: Sequence[Prompt], rollouts: Sequence[Rollout], file: Path
) -> float:
    """Mean negative log-likelihood, in nats a token, of the starting policy's rollouts under a policy.

    It is lowest for the starting policy itself; what a policy adds to that estimates the divergence KL(start || policy) a
    token. Kept in `file` by policy and texts.

    Args:
        policy: identity of the weights.
        load: gives the model; called only where the loss is not kept.

    Raises:
        ValueError: no rollout has a token.
    """
    texts = [(prompts[r.prompt].messages, r.text) for r in rollouts if r.text.strip()][:MOST]
    key = sha256_text(canonical_json([policy, [[list(messages), text] for messages, text in texts]]))
    kept: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if key not in kept:
        kept[key] = _loss(load(), texts)
        write_text(file, canonical_json(kept))
    return kept[key]


def _loss(model: LoadedModel, texts: Sequence[tuple[tuple[dict[str, str], ...], str]]) -> float:
    longest: int = model.model.config.get_text_config().max_position_embeddings
    encoded = [encode_response(model.tokenizer, messages, text, longest) for messages, text in texts]
    items = [Item(e.prompt, e.responses) for e in encoded if e.responses]
    count = sum(len(ids) for item in items for ids in item.responses)
    if not count:
        raise ValueError("no rollout of the starting policy has a token")
    return -float(Scorer(model).score(items).sum()) / count
