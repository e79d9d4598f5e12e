"""How a prompt reaches the model: through the chat template or as plain text, and with which arguments.

Training decides it: rows are rendered as they are, and whatever else is asked of the model (questions of a contrast, prompts of
verify, prompts of GRPO) is asked in the same `Form`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os.path import commonprefix
from typing import Any

from pydantic import BaseModel, ConfigDict

from tiltc.canonical import canonical_json, sha256_text
from tiltc.data.turns import ends_in_marker
from tiltc.diagnostics import Diagnostics, Span
from tiltc_runtime.pairs import Message, Pair, Text
from tiltc_runtime.tokens import Encoded, Ids, bare_text, encode_response, prompt_ids

#: characters of a template's arguments that a finding shows
WIDEST = 120
#: of so many in a hundred rows is said what is said of all
NEARLY_ALL = 95
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
    #: what nearly all plain prompts begin and end with, such as `\n\nHuman: ` and `\n\nAssistant:`
    begins: str = ""
    ends: str = ""
    #: arguments that nearly all rows give to the chat template
    arguments: dict[str, Any] = {}
    rows: int = 0
    #: rows that give it other arguments; of plain text those outside of the frame, or that would need one where there is none
    varied: int = 0

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Form:
        if not pairs:
            return cls()
        if not pairs[0].conversational:
            prompts = [str(pair.prompt) for pair in pairs]
            begins, ends = _frame(prompts)
            return cls(text=True, begins=begins, ends=ends, rows=len(pairs), varied=_outside(prompts, begins, ends))
        shared = _arguments([pair.template for pair in pairs])
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


def _arguments(templates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What nearly all rows tell their template: one odd row doesn't decide for the others."""
    shared: dict[str, Any] = {}
    for key in {key for template in templates for key in template}:
        told = [template[key] for template in templates if key in template]
        value = _majority(told)
        if _nearly_all(sum(one == value for one in told), len(templates)):
            shared[key] = value
    return shared


def _majority(values: Sequence[Any]) -> Any:
    """The value that more than half of them are, if there is one (Boyer and Moore's vote: values need no hash)."""
    best, votes = None, 0
    for value in values:
        best = best if votes else value
        votes += 1 if value == best else -1
    return best


def _nearly_all(count: int, of: int) -> bool:
    return count >= _most(of)


def _most(of: int) -> int:
    """How many are nearly all: of fewer than twenty, all."""
    return math.ceil(of * NEARLY_ALL / 100)


def _frame(prompts: Sequence[str]) -> tuple[str, str]:
    """What nearly all prompts of two or more begin and end with, where they end in a line of their own."""
    different = sorted(set(prompts))
    if len(different) < 2:
        return "", ""
    ends = _usual([prompt[::-1] for prompt in different], lambda end: end[: end.rfind("\n") + 1])[::-1]
    if not ends:
        return "", ""
    return _usual([prompt for prompt in different if prompt.endswith(ends)], _frame_begin), ends


def _frame_begin(shared: str) -> str:
    found = FRAME_END.match(shared)
    return found[0] if found else ""


def _usual(texts: Sequence[str], frame: Callable[[str], str]) -> str:
    """The frame in what all texts begin with; where there is none, in what nearly all begin with."""
    ordered = sorted(texts)
    return frame(_shared(ordered, len(texts))) or frame(_shared(ordered, _most(len(texts))))


def _shared(ordered: Sequence[str], count: int) -> str:
    """The longest beginning that so many of the texts have: in order, they are neighbours."""
    ends = zip(ordered, ordered[count - 1 :], strict=False)
    return max((commonprefix(pair) for pair in ends), key=len)  # noqa: RUF071 - signs, no paths


def _outside(prompts: Sequence[str], begins: str, ends: str) -> int:
    """Prompts outside of the frame; without one, those with an answer's beginning, where they are more than a few."""
    if ends:
        return sum(not (prompt.startswith(begins) and prompt.endswith(ends)) for prompt in prompts)
    marked = sum(map(ends_in_marker, prompts))
    return 0 if _nearly_all(len(prompts) - marked, len(prompts)) else marked


def differing(form: Form, prompts: Sequence[Prompt]) -> list[str]:
    """In what prompts differ from the rows, with numbers; empty where they are asked as the rows were."""
    notes: list[str] = []
    if form.varied:
        notes.append(f"{form.varied} of {form.rows} rows {_own(form)}")
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


def _own(form: Form) -> str:
    """What rows have for themselves."""
    if not form.text:
        return "have template arguments of their own, which no prompt gets"
    if form.ends:
        return f"don't lie between {form.begins!r} and {form.ends!r}, as all prompts will"
    return "end where an answer begins, such as `Assistant:`; rows have no frame in common that prompts could be given"


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
