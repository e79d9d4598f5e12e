"""Single rows of {prompt, chosen, rejected}: checked, and each part as text or as messages."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any, cast

from tiltc.data.kinds import Row, first_line
from tiltc.data.messages import Message, messages_of
from tiltc.data.pair import Text

#: keywords of `apply_chat_template` that a row has no say in
RESERVED = frozenset(
    (
        "conversation", "tools", "documents", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize",
        "padding", "truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask",
        "tokenizer_kwargs", "messages",
    )
)  # fmt: skip


#: levels of lists and mappings in a row; tools have about ten
DEEPEST = 100


@dataclass(frozen=True)
class Parts:
    """A row as text or messages. `prompt` is None where the responses begin with it."""

    prompt: Text | None
    chosen: Text
    rejected: Text
    template: dict[str, Any]
    margin: float | None = None

    @property
    def form(self) -> str:
        kind = "text" if isinstance(self.chosen, str) else "messages"
        if self.prompt is None:
            return f"no prompt, and {kind} as responses"
        return f"{'text' if isinstance(self.prompt, str) else 'messages'} as prompt, and {kind} as responses"


def parts_of(row: Row, beside: Row) -> Parts | str:
    """A row's parts, or what is wrong with it.

    Args:
        row: prompt, chosen and rejected.
        beside: the row as it was found, for `tools`, `chat_template_kwargs` and `margin`.
    """
    values = {key: _value(row.get(key)) for key in ("chosen", "rejected", "prompt")}
    for key, value in values.items():
        if value is None and (key != "prompt" or row.get("prompt") is not None):
            return f"`{key}` is neither text nor a list of messages with text content"
        if (fault := _no_json(value)) is not None:
            return f"`{key}` {fault}"
    prompt, chosen, rejected = values["prompt"], cast("Text", values["chosen"]), cast("Text", values["rejected"])
    if isinstance(chosen, str) != isinstance(rejected, str):
        return "one response is text, the other a list of messages"
    template = _template(beside)
    if isinstance(template, str):
        return template
    return _unfolded(Parts(prompt, chosen, rejected, template, _margin(beside.get("margin"))))


def _value(value: Any) -> Text | None:
    if isinstance(value, str):
        return value
    turns = messages_of(value) if value is not None else None
    return tuple(turns) if turns is not None else None


def _unfolded(parts: Parts) -> Parts:
    """Responses that are the JSON text of messages, as CSV holds them, read as the messages."""
    if (
        isinstance(parts.chosen, str)
        and isinstance(parts.rejected, str)
        and parts.chosen[:1] == parts.rejected[:1] == "["
    ):
        both = messages_of(parts.chosen), messages_of(parts.rejected)
        if both[0] is not None and both[1] is not None:
            asked = messages_of(parts.prompt) if isinstance(parts.prompt, str) else None
            prompt = tuple(asked) if asked is not None else parts.prompt
            return replace(parts, prompt=prompt, chosen=tuple(both[0]), rejected=tuple(both[1]))
    return parts


def _no_json(value: Any) -> str | None:
    """Why a value has no canonical JSON, from which its identity is made."""
    if isinstance(value, str) and value.isascii():
        return None
    if _deeper(value, DEEPEST):
        return "is nested too deeply"
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return "has a lone surrogate, which is no Unicode text"
    except (TypeError, ValueError) as error:
        return f"has no form in JSON: {first_line(error)}"
    return None


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list | tuple):
        return False
    parts: Any = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(part, levels - 1) for part in parts)


def _template(row: Row) -> dict[str, Any] | str:
    """`tools` and `chat_template_kwargs` as values, or what is wrong with them. Empty ones are as good as none."""
    tools, keywords = (_parsed(row.get(key)) for key in ("tools", "chat_template_kwargs"))
    if isinstance(tools, str) or isinstance(keywords, str):
        key, fault = ("tools", tools) if isinstance(tools, str) else ("chat_template_kwargs", keywords)
        return f"`{key}` {fault}"
    tools = [tools] if isinstance(tools, dict) else tools
    if tools and (not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in cast("list[Any]", tools))):
        return "`tools` is no list of tools"
    if keywords and not isinstance(keywords, dict):
        return "`chat_template_kwargs` is no mapping"
    named = cast("dict[Any, Any]", keywords or {})
    if wrong := [name for name in named if not isinstance(name, str) or name in RESERVED]:
        return f"`chat_template_kwargs` can't set {wrong[0]!r}"
    template = {**({"tools": tools} if tools else {}), **named}
    fault = _no_json(template) if template else None
    return f"`{'tools' if tools else 'chat_template_kwargs'}` {fault}" if fault else template


def _parsed(value: Any) -> Any:
    """A value, from JSON if it is text; a text says what is wrong. None for what is empty."""
    if not isinstance(value, str):
        return value or None
    if not value.strip():
        return None
    try:
        return json.loads(value) or None
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return f"is text and no JSON: {first_line(error)}"


def _margin(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and abs(value) < 1e30 else None


def split(parts: Parts) -> tuple[Text, Text, Text]:
    """Prompt, chosen and rejected of a row that is no text without a prompt."""
    prompt, chosen, rejected = parts.prompt, parts.chosen, parts.rejected
    if isinstance(chosen, str) or isinstance(rejected, str):
        assert prompt is not None
        if isinstance(prompt, str):
            return prompt, chosen, rejected
        answers: list[tuple[Message, ...]] = [({"role": "assistant", "content": c},) for c in (chosen, rejected)]
        return prompt, answers[0], answers[1]
    if isinstance(prompt, tuple):
        return prompt, chosen, rejected
    shared = _shared_turns(chosen, rejected)
    if isinstance(prompt, str) and (shared == 0 or chosen[0]["role"] == "assistant"):
        return ({"role": "user", "content": prompt}, *chosen[:shared]), chosen[shared:], rejected[shared:]
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _shared_turns(chosen: tuple[Message, ...], rejected: tuple[Message, ...]) -> int:
    """Turns before the first difference; of identical lists, all but the last turn."""
    most = min(len(chosen), len(rejected)) - 1
    return next((i for i in range(most) if chosen[i] != rejected[i]), most)
