"""Held-out loss: how likely a policy finds what the starting policy says, which training never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tiltc.canonical import canonical_json, sha256_text
from tiltc.files import write_text
from tiltc.seal import sealed_line, unsealed_line
from tiltc_runtime.asked import Prompt, encode_asked
from tiltc_runtime.likelihood import Item, Scorer
from tiltc_runtime.loading import LoadedModel
from tiltc_runtime.rollouts import Rollout

#: rollouts of the starting policy that are read; more cost time, and the losses are compared on the same texts
MOST = 96
#: name under which a kept loss is sealed
SEALED = "held-out loss"


def held_out_loss(
    policy: str, load: Callable[[], LoadedModel], prompts: Sequence[Prompt], rollouts: Sequence[Rollout], file: Path
) -> float:
    """Mean negative log-likelihood, in nats a token, of the starting policy's rollouts under a policy.

    It is lowest for the starting policy itself; what a policy adds to that estimates the divergence KL(start || policy) a
    token. Kept in `file` by policy and texts.

    Args:
        policy: identity of the weights and of what reads texts into tokens.
        load: gives the model; called only where the loss is not kept.

    Raises:
        ValueError: no rollout has a token.
    """
    texts = [(prompts[r.prompt], r.text) for r in rollouts if r.text.strip()][:MOST]
    key = sha256_text(canonical_json([policy, [[prompt.identity, text] for prompt, text in texts]]))
    kept = _kept(file)
    if key not in kept:
        kept[key] = _loss(load(), texts)
        write_text(file, "".join(sealed_line(SEALED, [key, loss]) for key, loss in kept.items()))
    return kept[key]


def _kept(file: Path) -> dict[str, float]:
    """Losses by key; lines that are not as they were written are left out."""
    lines = file.read_bytes().split(b"\n") if file.is_file() else []
    read = [unsealed_line(SEALED, line) for line in lines if line]
    return {str(pair[0]): float(pair[1]) for pair in read if isinstance(pair, list)}


def _loss(model: LoadedModel, texts: Sequence[tuple[Prompt, str]]) -> float:
    longest: int = model.model.config.get_text_config().max_position_embeddings
    encoded = [encode_asked(model.tokenizer, prompt, text, longest) for prompt, text in texts]
    items = [Item(e.prompt, e.responses) for e in encoded if e.responses]
    count = sum(len(ids) for item in items for ids in item.responses)
    if not count:
        raise ValueError("no rollout of the starting policy has a token")
    return -float(Scorer(model).score(items).sum()) / count
