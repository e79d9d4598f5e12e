"""Conversations in the forms that people keep them in, as lists of {role, content}."""

from __future__ import annotations

import json
from typing import Any, cast

Message = dict[str, Any]

#: names that other tools have for the roles of chat templates
ROLES = {
    "human": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant",
    "model": "assistant", "observation": "tool",
}  # fmt: skip
_STANDARD = frozenset(("user", "assistant", "system"))


def messages_of(value: Any) -> list[Message] | None:
    """A conversation, or None for what is none.

    Lists of {role, content} and of {from, value}, one such message, columns of them as `datasets` keeps a list of
    structures, and the JSON text of any of these. Content that is a list of parts of text is joined.
    """
    value = _from_json(value)
    if isinstance(value, dict):
        value = _transposed(cast("dict[str, Any]", value))
    if not isinstance(value, list) or not value:
        return None
    messages = [_message(item) for item in cast("list[Any]", value)]
    return [m for m in messages if m is not None] if all(m is not None for m in messages) else None


def role_of(name: str) -> str:
    """The role that chat templates know; names that nobody has another word for stay."""
    plain = name.strip().lower()
    return ROLES.get(plain, plain if plain in _STANDARD else name)


def _from_json(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value


def _transposed(value: dict[str, Any]) -> list[Any]:
    """{role: [...], content: [...]} as a list of messages; one message as a list of one."""
    lists = {key: cast("list[Any]", items) for key, items in value.items() if isinstance(items, list)}
    names = ("role", "content") if "role" in value else ("from", "value")
    if not all(name in lists for name in names) or len({len(items) for items in lists.values()}) != 1:
        return [value]
    return [dict(zip(lists, items, strict=True)) for items in zip(*lists.values(), strict=True)]


def _message(item: Any) -> Message | None:
    if not isinstance(item, dict):
        return None
    # Parquet fills absent keys of a message with None
    message = {key: part for key, part in cast("dict[str, Any]", item).items() if part is not None}
    if "role" not in message and "from" in message:
        message = {"role": message.pop("from"), "content": message.pop("value", None), **message}
    content = _content(message.get("content"), bool(message.get("tool_calls")))
    if not isinstance(message.get("role"), str) or content is None:
        return None
    return {**message, "role": role_of(message["role"]), "content": content}


def _content(value: Any, calls: bool) -> str | None:
    """The text of a message; a message that only calls tools has none."""
    if value is None and calls:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        return None
    parts = cast("list[Any]", value)
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type", "text") == "text"]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        return None
    return "".join(cast("list[str]", texts))
