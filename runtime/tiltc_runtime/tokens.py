"""Token ids of pairs, exactly as TRL's DPOTrainer will make them: evidence must be read on what training sees.

`encode_pair` is the one way from a row to tokens, and `row_status` the one answer to whether it is read: harvest, single
tokens, likelihoods, masks and training ask them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from tiltc_runtime.pairs import Message, Pair, Text, plain_text
from tiltc_runtime.refused import refuse
from tiltc_runtime.trained import READ, Status, read_row
from tiltc_runtime.wording import Said

__all__ = [
    "READ",
    "Encoded",
    "Ids",
    "bare_text",
    "common",
    "encode_pair",
    "encode_response",
    "prompt_ids",
    "row_status",
    "said",
    "whole_text",
]

Ids = tuple[int, ...]
#: responses that show where a prompt ends: they begin with no token that a template writes by itself
ANY = ("-", "0")
NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Encoded:
    """A prompt and the responses that continue it, truncated. `cut` says which responses lost tokens."""

    prompt: Ids
    responses: tuple[Ids, ...]
    cut: tuple[bool, ...]
    #: what the prompt alone ends in, and its sequences do not go on with: it is no beginning of theirs
    rest: str = ""
    #: what the tokens of the prompt and of the responses say
    said: tuple[Said, ...] = ()

    @property
    def too_long(self) -> bool:
        """The prompt alone fills `max_length`; trainers drop such rows."""
        return not self.responses


def encode_pair(tokenizer: Any, pair: Pair, max_length: int) -> Encoded:
    """Token ids of a pair.

    Messages go through the chat template, with the generation prompt for the prompt alone; texts get an end-of-sequence
    token. A response starts where its sequence leaves the tokenised prompt. `max_length` cuts sequences at the end.

    Raises:
        Refused: T507 no chat template for conversations, T516 the template refuses the row.
    """
    if pair.conversational:
        sides: Sequence[Any] = (pair.chosen, pair.rejected)
        prompt, sequences = _conversation(tokenizer, pair.prompt, sides, pair.template, f"row {pair.row_id}")
    else:
        prompt, sequences = _plain(tokenizer, str(pair.prompt), (str(pair.chosen), str(pair.rejected)))
    made = _truncated(prompt, sequences, max_length, [sequences[at] for at in pair.sides])
    rest = said(tokenizer, prompt[len(made.prompt) :]).whole
    return replace(made, rest=rest, said=tuple(said(tokenizer, ids) for ids in (made.prompt, *made.responses)))


def said(tokenizer: Any, ids: Ids) -> Said:
    """What tokens say, with nothing tidied up."""
    whole, text = (
        str(tokenizer.decode(list(ids), skip_special_tokens=skip, clean_up_tokenization_spaces=False))
        for skip in (False, True)
    )
    return Said(whole, text)


def encode_response(
    tokenizer: Any,
    prompt: Text,
    response: str,
    max_length: int,
    template: Mapping[str, Any] = NOTHING,
    *,
    bare: bool = False,
) -> Encoded:
    """Token ids of one response. A text prompt is one user turn where the tokenizer has a chat template.

    Args:
        template: arguments of the chat template.
        bare: plain text, though there be a template.

    Raises:
        Refused: T516 the template refuses the conversation.
    """
    if bare or not tokenizer.chat_template:
        ids, sequences = _plain(tokenizer, bare_text(prompt), (response,))
        return _truncated(ids, sequences, max_length)
    turns: tuple[Message, ...] = ({"role": "user", "content": prompt},) if isinstance(prompt, str) else tuple(prompt)
    answer: tuple[Message, ...] = ({"role": "assistant", "content": response},)
    ids, sequences = _conversation(tokenizer, turns, (answer,), template, f"{plain_text(turns)[:60]!r}")
    return _truncated(ids, sequences, max_length)


def prompt_ids(tokenizer: Any, prompt: Text, template: Mapping[str, Any] = NOTHING, *, bare: bool = False) -> Ids:
    """Token ids that a response is sampled after: those that stand ahead of a response in training.

    Left out is what a template opens an answer with for generation alone, such as a thought that no row has.

    Raises:
        Refused: T516 the template refuses the conversation.
    """
    if tokenizer.chat_template and not bare:
        return max((encode_response(tokenizer, prompt, r, sys.maxsize, template).prompt for r in ANY), key=len)
    ids = _text_ids(tokenizer, bare_text(prompt))
    ends = tuple(tokenizer(text="")["input_ids"])[-1:] == (tokenizer.eos_token_id,)
    return ids[:-1] if ends else ids


def bare_text(prompt: Text) -> str:
    """A prompt without a template: messages are their contents."""
    return prompt if isinstance(prompt, str) else "\n\n".join(str(m["content"]) for m in prompt)


def whole_text(tokenizer: Any, prompt: str, response: str) -> str:
    """What is tokenised for a prompt and a response that are plain text."""
    end = tokenizer.eos_token or ""
    return prompt + (response if response.endswith(end) else response + end)


def row_status(pair: Pair, encoded: Encoded) -> Status:
    """Whether a row is read through the model, and why not."""
    return read_row(pair, encoded).status


def _conversation(
    tokenizer: Any, prompt: Any, sides: Sequence[Any], template: Mapping[str, Any], name: str
) -> tuple[Ids, list[Ids]]:
    if not tokenizer.chat_template:
        helps = ("use an instruction-tuned model, or give rows of plain text",)
        refuse("T507", "the data are conversations, and the model has no chat template", helps=helps)
    try:
        alone = _applied(tokenizer, prompt, template, add_generation_prompt=True)
        return alone, [_applied(tokenizer, (*prompt, *side), template) for side in sides]
    except Exception as error:
        # templates raise what they like, for example on a system turn they do not know
        refuse("T516", f"the chat template refuses {name}", notes=(f"{type(error).__name__}: {error}",))


def _applied(tokenizer: Any, turns: Sequence[Any], template: Mapping[str, Any], **more: Any) -> Ids:
    made = tokenizer.apply_chat_template(list(turns), tokenize=True, return_dict=True, **template, **more)
    return tuple(made["input_ids"])


def _plain(tokenizer: Any, prompt: str, responses: tuple[str, ...]) -> tuple[Ids, list[Ids]]:
    whole = [whole_text(tokenizer, prompt, response) for response in responses]
    return _text_ids(tokenizer, prompt), [_text_ids(tokenizer, text) for text in whole]


def _text_ids(tokenizer: Any, text: str) -> Ids:
    """Token ids of plain text; one that is written with its beginning-of-sequence token gets no second one."""
    ids, begin = tuple(tokenizer(text=text)["input_ids"]), tokenizer.bos_token_id
    return ids[1:] if begin is not None and ids[:2] == (begin, begin) else ids


def _truncated(prompt: Ids, sequences: list[Ids], max_length: int, given: Sequence[Ids] = ()) -> Encoded:
    """`given` are the sequences that the data has a response for, by default all."""
    shared = min(common(prompt, sequence) for sequence in given or sequences)
    if shared >= max_length:
        return Encoded(prompt[:shared], (), ())
    responses = tuple(sequence[shared:max_length] for sequence in sequences)
    return Encoded(prompt[:shared], responses, tuple(len(sequence) > max_length for sequence in sequences))


def common(one: Ids, other: Ids) -> int:
    """How many tokens two sequences begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
