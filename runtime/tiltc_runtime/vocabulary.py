"""Tokens that a tokenizer has and the model's embedding has no row for: known before anything looks them up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tiltc_runtime.refused import refuse

#: tokens that a finding names
NAMED = 5


def beyond(tokenizer: Any, rows: int) -> dict[int, str]:
    """Tokens by id that an embedding of so many rows does not have.

    A few are no fault by themselves: models that also read images have their marks there.
    """
    return {number: token for token, number in tokenizer.get_vocab().items() if number >= rows}


def check_vocabulary(tokenizer: Any, rows: int, name: str) -> None:
    """Raises Refused (T565) where any text may meet a token that the model has no row for: one that is no added token, or
    that begins, ends or pads sequences."""
    missing = beyond(tokenizer, rows)
    added = {*tokenizer.get_added_vocab().values()} - {
        tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id,
    }  # fmt: skip
    if not missing.keys() <= added:
        _refuse(f"`{name}` has {rows} rows in its embedding and {len(missing)} tokens beyond them", missing)


def check_ids(tokenizer: Any, sequences: Iterable[tuple[str, Sequence[int]]], rows: int, name: str) -> None:
    """Raises Refused (T565) where one of some named sequences has a token that the model has no row for."""
    missing = beyond(tokenizer, rows)
    if not missing:
        return
    bad = {where: {i: missing[i] for i in ids if i in missing} for where, ids in sequences}
    bad = {where: tokens for where, tokens in bad.items() if tokens}
    if bad:
        met = {number: token for tokens in bad.values() for number, token in tokens.items()}
        first = next(iter(bad))
        _refuse(f"{len(bad)} texts, the first {first}, have tokens that `{name}` has no row for", met)


def check_range(highest: int, rows: int) -> None:
    """Raises Refused (T565) for a token id that an embedding of so many rows does not have."""
    if highest >= rows:
        refuse("T565", f"a text has token {highest}, and the embedding has {rows} rows")


def _refuse(text: str, tokens: dict[int, str]) -> None:
    notes = tuple(f"token {number}: {tokens[number]!r}" for number in sorted(tokens)[:NAMED])
    helps = ("give the model the tokenizer that it was trained with, or enlarge its embedding and train it",)
    refuse("T565", text, notes=notes, helps=helps)
