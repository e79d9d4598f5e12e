"""A row of a file of prompts: what is asked, and what its chat template is told."""

from __future__ import annotations

import json
from typing import Any


def asked_of(row: dict[str, Any], number: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The messages of a row that has `prompt` or `messages`, up to the one to answer, and its template arguments.

    Args:
        number: of the row, from 1, for messages.

    Raises:
        ValueError: it has no prompt, or arguments that are none.
    """
    value, template = row.get("prompt") or row.get("messages"), _arguments(row, number)
    if isinstance(value, str) and value.strip():
        return [{"role": "user", "content": value}], template
    if not isinstance(value, list) or not value or not all(_is_message(message) for message in value):
        raise ValueError(f"row {number} has neither `prompt` (text or messages) nor `messages`")
    # Parquet fills absent keys of a message with None
    messages = [{"content": "", **{k: v for k, v in message.items() if v is not None}} for message in value]
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages:
        raise ValueError(f"row {number} has no message to answer")
    return messages, template


def _arguments(row: dict[str, Any], number: int) -> dict[str, Any]:
    """What a row tells its chat template; both columns may be JSON in a text, as tables have them."""
    tools, keywords = (_parsed(row.get(key), key, number) for key in ("tools", "chat_template_kwargs"))
    if not isinstance(tools or [], list) or not isinstance(keywords or {}, dict):
        raise ValueError(f"row {number}: `tools` must be a list, `chat_template_kwargs` a mapping")
    return {**({"tools": tools} if tools else {}), **{k: v for k, v in (keywords or {}).items() if v is not None}}


def _parsed(value: Any, key: str, number: int) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) and value.strip() else value or None
    except (ValueError, RecursionError):
        raise ValueError(f"row {number}: `{key}` is no JSON") from None


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        return False
    content = value.get("content")
    return isinstance(content, str) or (content is None and bool(value.get("tool_calls")))
