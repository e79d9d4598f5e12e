"""Rows whose answers call tools: a call is a response."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.tiny import tiny_tokenizer
from tiltc.pairs import Pair, normalise
from tiltc_runtime.tokens import encode_pair

USER = {"role": "user", "content": "How warm is it in Ulm?"}
PLAIN = {"role": "assistant", "content": "I can't know."}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}


def one(row: dict[str, Any]) -> Pair:
    pairs, found = normalise([row], "rows")
    assert pairs is not None, list(found)
    return pairs[0]


@pytest.mark.parametrize("content", [{"content": ""}, {"content": None}, {}], ids=["empty", "null", "absent"])
def test_a_call_of_a_tool_is_a_response(content: dict[str, Any]) -> None:
    """An answer that only calls a tool is no empty one, whichever way its content is left out, and the call is among
    the tokens that are trained."""
    row = {"prompt": [USER], "chosen": [{"role": "assistant", **content, "tool_calls": [CALL]}], "rejected": [PLAIN]}
    pair, tokenizer = one(row), tiny_tokenizer()
    assert pair.status == "ok"
    assert pair == one({**row, "chosen": [{"role": "assistant", "content": "", "tool_calls": [CALL]}]})
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ m.tool_calls }}\n{% endfor %}"
    assert "Ulm" in tokenizer.decode(encode_pair(tokenizer, pair, 200).responses[0])


def test_a_message_without_content_or_call_is_a_bad_row() -> None:
    """Only a call makes up for content that is not there."""
    row = {"prompt": [USER], "chosen": [{"role": "assistant", "tool_calls": []}], "rejected": [PLAIN]}
    assert [d.code for d in normalise([row], "rows")[1]] == ["T516"]
