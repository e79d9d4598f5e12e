"""Prompts with an instruction at the end of the last user turn, and where that turn starts.

A conversation without a user turn counts its last turn as one; text is one user turn as a whole.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from tiltc_runtime.pairs import Message, Pair, Text
from tiltc_runtime.tokens import Ids, common, encode_pair

#: turns that share no beginning, so that one of them differs from any turn at its first character
OTHERS = ("0", "?")


def instructed(prompt: Text, instruction: str) -> Text:
    """The prompt with a blank line and the instruction after its last user turn.

    White space that ends the turn stays at its end: of a text, it may be what sets the response apart.
    """
    text = _last_turn(prompt)
    body = text.rstrip()
    return _with_last_turn(prompt, f"{body}\n\n{instruction}{text[len(body) :]}" if body else instruction + text)


def instructed_ids(tokenizer: Any, pair: Pair, instruction: str) -> Ids:
    """Tokens that the policy reads ahead of the tokens of the chosen response, which stay those of the pair itself.

    Where the response's first token merges with the end of the prompt, as in text without a template, it can be another
    one after the instruction. What is trained must not depend on that, so it is left as it is after the pair's prompt.
    """
    response = encode_pair(tokenizer, pair, sys.maxsize).responses[0]
    made = encode_pair(tokenizer, replace(pair, prompt=instructed(pair.prompt, instruction)), sys.maxsize)
    whole = made.prompt + made.responses[0]
    before = len(whole) - len(response)
    return whole[:before] if whole[before:] == response else made.prompt


def last_turn_start(tokenizer: Any, pair: Pair) -> int:
    """Position of the first token that depends on the text of the last user turn, so after the turn's header.

    Found by putting other texts in its place: templates say nowhere where a turn starts.
    """
    own, *others = (
        encode_pair(tokenizer, replace(pair, prompt=prompt), sys.maxsize).prompt
        for prompt in (pair.prompt, *(_with_last_turn(pair.prompt, text) for text in OTHERS))
    )
    return min(common(own, other) for other in others)


def _last_turn(prompt: Text) -> str:
    if isinstance(prompt, str):
        return prompt
    return str(prompt[_place(prompt)]["content"]) if prompt else ""


def _with_last_turn(prompt: Text, text: str) -> Text:
    if isinstance(prompt, str):
        return text
    if not prompt:
        return ({"role": "user", "content": text},)
    place = _place(prompt)
    return (*prompt[:place], {**prompt[place], "content": text}, *prompt[place + 1 :])


def _place(turns: tuple[Message, ...]) -> int:
    return max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=len(turns) - 1)
