"""One preference pair with its identity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from tiltc.canonical import sha256_text
from tiltc.data.messages import Message

#: plain text, or messages {role, content}
Text = str | tuple[Message, ...]


@dataclass(frozen=True)
class Pair:
    """One preference pair. Either all three are text or all three are messages.

    A single response, of data for supervised training, is a pair whose rejected side is empty. One that its label calls
    unwanted, of data for KTO, is a pair whose chosen side is empty.
    """

    row_id: str
    group: str
    prompt: Text
    chosen: Text
    rejected: Text
    #: `tools` and `chat_template_kwargs` of the row, handed to the chat template
    template: dict[str, Any] = field(default_factory=dict)
    single: bool = False
    #: what the data's own `margin` says: by how much the chosen response should win, for a reward model
    margin: float | None = None

    @property
    def conversational(self) -> bool:
        return not isinstance(self.chosen, str)

    @property
    def sides(self) -> tuple[Literal[0, 1], ...]:
        """Which responses there are: 0 the chosen, 1 the rejected."""
        return (0, 1) if not self.single else (1,) if self.status == "unwanted" else (0,)

    @property
    def status(self) -> Literal["ok", "empty", "identical", "single", "unwanted"]:
        """What can be said without a tokenizer; `tokens.py` adds too_long."""
        if self.single and _says(self.chosen):
            return "single"
        if self.single and _says(self.rejected):
            return "unwanted"
        if not _says(self.chosen) or not _says(self.rejected):
            return "empty"
        return "identical" if self.chosen == self.rejected else "ok"


def plain_text(text: Text) -> str:
    """What a person reads: the content of a single message, else `role: content` blocks."""
    if isinstance(text, str):
        return text
    if len(text) == 1:
        return str(text[0]["content"])
    return "\n\n".join(f"{m['role']}: {m['content']}" for m in text)


def ids_digest(row_ids: Iterable[str]) -> str:
    """`DataPin.digest`: sha256 over the row ids, one a line, in the data's order."""
    return sha256_text("\n".join(row_ids))


def _says(text: Text) -> bool:
    """Is there anything to train on: text, or a call of a tool?"""
    calls = not isinstance(text, str) and any(message.get("tool_calls") for message in text)
    return calls or bool(plain_text(text).strip())
