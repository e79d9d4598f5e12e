"""How a prompt reaches the model: through the chat template or as plain text, and with which arguments.

Training decides it: rows are rendered as they are, and whatever else is asked of the model (questions of a contrast, prompts of
verify, prompts of GRPO) is asked in the same `Form`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict

from tiltc.canonical import canonical_json, sha256_text
from tiltc.diagnostics import Diagnostics, Span
from tiltc_runtime.pairs import Message, Pair, Text
from tiltc_runtime.tokens import Encoded, Ids, bare_text, common, encode_response, prompt_ids

#: characters of a template's arguments that a finding shows
WIDEST = 120
#: where what all prompts begin with stops being a frame and may be chance
FRAME_END = re.compile(r".*(?:: ?|\n)", re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """The conversation up to the response, oldest message first, and how it is rendered."""

    messages: tuple[Message, ...]
    #: `tools` and `chat_template_kwargs`, as rows have them
    template: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: as plain text, though the tokenizer have a chat template
    bare: bool = False

    @classmethod
    def of(cls, prompt: Text) -> Prompt:
        """A text is one user turn."""
        return cls(({"role": "user", "content": prompt},) if isinstance(prompt, str) else tuple(prompt))

    @property
    def identity(self) -> list[Any]:
        """What two prompts differ in if they are not the same."""
        plain: list[Any] = list(self.messages)
        return [plain, dict(self.template), self.bare] if self.template or self.bare else plain

    @property
    def key(self) -> str:
        """sha256[:16] of the identity: seeds and caches go by it."""
        return sha256_text(canonical_json(self.identity))[:16]

    @property
    def text(self) -> str:
        """What a reader, or a gate's detector, sees: the messages' contents."""
        return bare_text(self.messages)


class Form(BaseModel):
    """What the prompts of the rows that are trained have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: rows are plain text, no conversations
    text: bool = False
    #: what plain prompts begin and end with, such as `\n\nHuman: ` and `\n\nAssistant:`
    begins: str = ""
    ends: str = ""
    #: arguments that all rows give to the chat template
    arguments: dict[str, Any] = {}
    rows: int = 0
    #: rows that give it other arguments beside these
    varied: int = 0

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Form:
        if not pairs:
            return cls()
        if not pairs[0].conversational:
            begins, ends = _frame([str(pair.prompt) for pair in pairs])
            return cls(text=True, begins=begins, ends=ends, rows=len(pairs))
        first = pairs[0].template
        shared = {k: v for k, v in first.items() if all(k in p.template and p.template[k] == v for p in pairs)}
        varied = sum(p.template != shared for p in pairs)
        return cls(arguments=shared, rows=len(pairs), varied=varied)

    def asked(self, prompt: Prompt | Text) -> Prompt:
        """A prompt as the rows' prompts are: arguments of its own go before those that the rows share."""
        given = prompt if isinstance(prompt, Prompt) else Prompt.of(prompt)
        if not self.text:
            return replace(given, template={**self.arguments, **given.template})
        return Prompt(({"role": "user", "content": self._framed(given.text)},), {}, bare=True)

    def _framed(self, text: str) -> str:
        return text if text.endswith(self.ends) and text.startswith(self.begins) else self.begins + text + self.ends

    @property
    def line(self) -> str:
        """How everything is asked, for a line of progress; empty for plain conversations."""
        if self.text:
            framed = f" between {self.begins!r} and {self.ends!r}" if self.ends else ""
            return f"rows are plain text: prompts are asked without a chat template{framed}"
        return f"prompts are asked with the rows' {_written(self.arguments)}" if self.arguments else ""

    def matters(self, tokenizer: Any) -> bool:
        """Would anything be read otherwise than as a plain conversation?"""
        return bool(self.arguments or self.ends or (self.text and tokenizer.chat_template))


#: rows of which nothing is known: conversations without arguments
CONVERSATIONS = Form()


def _frame(prompts: Sequence[str]) -> tuple[str, str]:
    """What all prompts of two or more begin and end with, where they end in a line of their own."""
    different = sorted(set(prompts))
    ends = _shared([prompt[::-1] for prompt in different])[::-1]
    if len(different) < 2 or "\n" not in ends:
        return "", ""
    begins = FRAME_END.match(_shared(different))
    return begins[0] if begins else "", ends[ends.index("\n") :]


def _shared(texts: Sequence[str]) -> str:
    """The longest beginning of all."""
    first, last = min(texts), max(texts)
    return first[: common(tuple(map(ord, first)), tuple(map(ord, last)))]


def differing(form: Form, prompts: Sequence[Prompt]) -> list[str]:
    """In what prompts differ from the rows, with numbers; empty where they are asked as the rows were."""
    notes: list[str] = []
    if form.varied:
        notes.append(f"{form.varied} of {form.rows} rows have template arguments of their own, which no prompt gets")
    if form.text:
        more = sum(len(prompt.messages) > 1 for prompt in prompts)
        notes += [f"rows are plain text, and {more} of {len(prompts)} prompts have several messages"] if more else []
        told = sum(bool(prompt.template) for prompt in prompts)
        return notes + ([f"rows are plain text, and {told} prompts have template arguments"] if told else [])
    trained = _written(form.arguments)
    for asked, count in Counter(_written(form.asked(p).template) for p in prompts).items():
        if asked != trained:
            notes.append(f"{count} of {len(prompts)} prompts have {asked}, {form.rows - form.varied} rows {trained}")
    return notes


def _written(arguments: Mapping[str, Any]) -> str:
    """Arguments on one line; schemas of tools are long."""
    text = json.dumps(dict(arguments), sort_keys=True, ensure_ascii=False, default=str)
    return text if len(text) <= WIDEST else f"{text[:WIDEST]}..., sha256 {sha256_text(text)[:8]}"


def check_form(form: Form, prompts: Sequence[Prompt], at: Span | None = None) -> Diagnostics:
    """T566 when prompts can't be asked as the rows were trained, or are asked otherwise on purpose."""
    found, notes = Diagnostics(), differing(form, prompts)
    if notes:
        helps = ["give the prompts the rows' `chat_template_kwargs` and `tools`, or rows and prompts one form"]
        found.add("T566", at, "verify asks otherwise than rows are trained", notes=notes, helps=helps)
    return found


def asked_ids(tokenizer: Any, prompt: Prompt | Text) -> Ids:
    """Token ids that a response is sampled after. Raises Refused (T516)."""
    given = prompt if isinstance(prompt, Prompt) else Prompt.of(prompt)
    return prompt_ids(tokenizer, given.messages, given.template, bare=given.bare)


def encode_asked(tokenizer: Any, prompt: Prompt | Text, response: str, max_length: int) -> Encoded:
    """Token ids of a response to a prompt. Raises Refused (T516)."""
    given = prompt if isinstance(prompt, Prompt) else Prompt.of(prompt)
    return encode_response(tokenizer, given.messages, response, max_length, given.template, bare=given.bare)
