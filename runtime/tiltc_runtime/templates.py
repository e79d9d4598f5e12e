"""Chat templates as plans pin them: everything that decides which tokens a conversation becomes."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from tiltc.canonical import canonical_json, sha256_text

#: what a template calls to ask for the date
CLOCK = "strftime_now"
#: what it is told: evidence, training and verification on different days must see the same tokens
TODAY = datetime(2024, 7, 26)


def template_digest(tokenizer: Any) -> str:
    """sha256 of the chat template's text; the empty text's without a template.

    Of several templates by name all count: `default`, and those that rows with `tools` are rendered by. With a template
    that asks for the date, the date that it is told counts too.
    """
    given = tokenizer.chat_template
    if isinstance(given, Mapping) and set(given) == {"default"}:
        given = given["default"]
    text = given if isinstance(given, str) else canonical_json(given) if given else ""
    return sha256_text(canonical_json({"template": text, "today": TODAY.isoformat()}) if CLOCK in text else text)


def asks_for_the_date(tokenizer: Any) -> bool:
    return CLOCK in str(tokenizer.chat_template)


def with_fixed_date(tokenizer: Any) -> Any:
    """The tokenizer, whose template is told `TODAY` when it asks for the date. What it saves is unchanged."""
    if not asks_for_the_date(tokenizer):
        return tokenizer
    apply = tokenizer.apply_chat_template

    def on_the_day(*args: Any, **keywords: Any) -> Any:
        with _the_day():
            return apply(*args, **keywords)

    told = copy.copy(tokenizer)
    told.apply_chat_template = on_the_day
    return told


class _Then(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return TODAY


@contextmanager
def _the_day() -> Generator[None]:
    """Stop the clock that transformers gives to templates: it takes none as an argument, data alone."""
    from transformers.utils import chat_template_utils as clock

    running = clock.datetime
    clock.datetime = _Then
    try:
        yield
    finally:
        clock.datetime = running
