"""Preference rows in the forms that trainers accept, brought into one: (prompt, chosen, rejected) with an identity."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from tiltc.canonical import canonical_json, sha256_text
from tiltc.diagnostics import Diagnostics

#: a row as it was found, before anything is known about it
Row = dict[str, Any]
Message = dict[str, Any]
#: plain text, or messages {role, content}
Text = str | tuple[Message, ...]

#: columns of data for supervised training
SINGLE = frozenset(("messages", "completion", "response"))
#: at most this many rows are named in a finding
NAMED = 5


@dataclass(frozen=True)
class Pair:
    """One preference pair. Either all three are text or all three are messages.

    A single response, of data for supervised training, is a pair whose rejected side is empty.
    """

    row_id: str
    group: str
    prompt: Text
    chosen: Text
    rejected: Text
    #: `tools` and `chat_template_kwargs` of the row, handed to the chat template
    template: dict[str, Any] = field(default_factory=dict)
    single: bool = False

    @property
    def conversational(self) -> bool:
        return not isinstance(self.chosen, str)

    @property
    def status(self) -> Literal["ok", "empty", "identical", "single"]:
        """What can be said without a tokenizer; `tokens.py` adds too_long."""
        if self.single and _says(self.chosen):
            return "single"
        if not _says(self.chosen) or not _says(self.rejected):
            return "empty"
        return "identical" if self.chosen == self.rejected else "ok"


def normalise(rows: Sequence[Row], name: str) -> tuple[list[Pair] | None, Diagnostics]:
    """Rows in any one of the accepted forms -> pairs.

    Forms: {prompt, chosen, rejected} as text, as message lists, or with a text prompt and message lists;
    {chosen, rejected} whose common beginning is the prompt. Rows without either are single responses: {prompt,
    completion}, {prompt, response}, or {messages} that end with the assistant's. Findings: T515, T516, T517.
    """
    found = Diagnostics()
    columns = sorted({key for row in rows for key in row})
    if SINGLE.intersection(columns) and not {"chosen", "rejected"}.intersection(columns):
        return _singles(rows, name, found)
    missing = [c for c in ("chosen", "rejected") if c not in columns]
    if missing:
        notes = [f"columns found: {', '.join(columns)}"]
        found.add("T515", None, f"{name} has no {' and no '.join(f'`{m}`' for m in missing)}", notes=notes)
        return None, found
    _check_rows(rows, name, found)
    if not found.failed:
        _check_forms(rows, name, found)
    return (None if found.failed else _identified(rows)), found


def _singles(rows: Sequence[Row], name: str, found: Diagnostics) -> tuple[list[Pair] | None, Diagnostics]:
    """Single responses as pairs with an empty rejected side."""
    made = [_as_pair(row) for row in rows]
    bad = [number for number, row in enumerate(made, 1) if row is None]
    if bad:
        notes = [f"row {number}: no prompt with a response of the assistant" for number in bad[:NAMED]]
        found.add("T516", None, f"{len(bad)} of {len(rows)} rows of {name} are no responses", notes=notes)
        return None, found
    pairs, more = normalise([row for row in made if row is not None], name)
    found.extend(more)
    return [replace(pair, single=True) for pair in pairs] if pairs is not None else None, found


def _as_pair(row: Row) -> Row | None:
    """A row with prompt, chosen and an empty rejected of the same form; None where there is no response."""
    if _are_messages(row.get("messages")):
        messages = cast("list[Message]", row["messages"])
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            return None
        prompt, response = cast("Any", messages[:-1]), cast("Any", messages[-1:])
    else:
        given = [row[key] for key in ("completion", "response") if row.get(key) is not None]
        prompt, response = row.get("prompt"), given[0] if given else None
    if prompt is None or response is None or not (isinstance(response, str) or _are_messages(response)):
        return None
    empty = "" if isinstance(response, str) else [{"role": "assistant", "content": ""}]
    kept = {key: row[key] for key in ("tools", "chat_template_kwargs") if key in row}
    return {**kept, "prompt": prompt, "chosen": response, "rejected": empty}


def plain_text(text: Text) -> str:
    """What a person reads: the content of a single message, else `role: content` blocks."""
    if isinstance(text, str):
        return text
    if len(text) == 1:
        return str(text[0]["content"])
    return "\n\n".join(f"{m['role']}: {m['content']}" for m in text)


def _says(text: Text) -> bool:
    """Is there anything to train on: text, or a call of a tool?"""
    calls = not isinstance(text, str) and any(message.get("tool_calls") for message in text)
    return calls or bool(plain_text(text).strip())


def _check_rows(rows: Sequence[Row], name: str, found: Diagnostics) -> None:
    bad = [(number, reason) for number, row in enumerate(rows, 1) if (reason := _fault(row))]
    if bad:
        notes = [f"row {number}: {reason}" for number, reason in bad[:NAMED]]
        found.add("T516", None, f"{len(bad)} of {len(rows)} rows of {name} are no preference pairs", notes=notes)


def _fault(row: Row) -> str | None:
    for key in ("chosen", "rejected", "prompt"):
        value = row.get(key)
        if value is None and key == "prompt":
            continue
        if not isinstance(value, str) and not _are_messages(value):
            return f"`{key}` is neither text nor a list of messages with text content"
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return f"`{key}` has a lone surrogate, which is no Unicode text"
    if isinstance(row["chosen"], str) != isinstance(row["rejected"], str):
        return "one response is text, the other a list of messages"
    return None


def _are_messages(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    messages = cast("list[Any]", value)
    return all(isinstance(m, dict) and isinstance(m.get("role"), str) and _has_content(m) for m in messages)


def _has_content(message: Message) -> bool:
    """Text, or a call of a tool, which needs none."""
    content = message.get("content")
    return isinstance(content, str) or (content is None and bool(message.get("tool_calls")))


def _check_forms(rows: Sequence[Row], name: str, found: Diagnostics) -> None:
    first: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for number, row in enumerate(rows, 1):
        first.setdefault(form := _form(row), number)
        counts[form] += 1
    if len(counts) > 1:
        notes = [f"{counts[form]} rows have {form}, the first is row {first[form]}" for form in counts]
        found.add("T517", None, f"{name} has rows of {len(counts)} forms", notes=notes)


def _form(row: Row) -> str:
    kind = "text" if isinstance(row["chosen"], str) else "messages"
    prompt = row.get("prompt")
    if prompt is None:
        return f"no prompt, and {kind} as responses"
    return f"{'text' if isinstance(prompt, str) else 'messages'} as prompt, and {kind} as responses"


def _identified(rows: Sequence[Row]) -> list[Pair]:
    """Give every row its id; the k-th repeat of a row gets `-k`."""
    seen: Counter[str] = Counter()
    pairs: list[Pair] = []
    for row in rows:
        prompt, chosen, rejected = _split(row)
        template = _template(row)
        content: list[Any] = [prompt, chosen, rejected, *([template] if template else [])]
        row_id = sha256_text(canonical_json(content))[:16]
        repeat = seen[row_id]
        seen[row_id] += 1
        group = sha256_text(canonical_json(prompt))[:16]
        pairs.append(Pair(f"{row_id}-{repeat}" if repeat else row_id, group, prompt, chosen, rejected, template))
    return pairs


def _split(row: Row) -> tuple[Text, Text, Text]:
    prompt = row.get("prompt")
    chosen, rejected = _text(row["chosen"]), _text(row["rejected"])
    if isinstance(chosen, str) and isinstance(rejected, str):
        if prompt is None:
            return _common_start(chosen, rejected)
        if isinstance(prompt, str):
            return prompt, chosen, rejected
        answers = [({"role": "assistant", "content": c},) for c in (chosen, rejected)]
        return _text(prompt), answers[0], answers[1]
    if isinstance(prompt, list):
        return _text(cast("Any", prompt)), chosen, rejected
    assert isinstance(chosen, tuple)
    assert isinstance(rejected, tuple)
    shared = _shared_turns(chosen, rejected)
    if shared == 0 and isinstance(prompt, str):
        return ({"role": "user", "content": prompt},), chosen, rejected
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _text(value: Any) -> Text:
    """Parquet fills absent keys of a message with None. A message that only calls tools gets an empty content, which
    templates read as they read an absent one."""
    if isinstance(value, str):
        return value
    present = ({k: v for k, v in message.items() if v is not None} for message in value)
    return tuple(message if "content" in message else {**message, "content": ""} for message in present)


def _shared_turns(chosen: tuple[Message, ...], rejected: tuple[Message, ...]) -> int:
    """Turns before the first difference; of identical lists, all but the last turn."""
    most = min(len(chosen), len(rejected)) - 1
    return next((i for i in range(most) if chosen[i] != rejected[i]), most)


def _common_start(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Split off the common beginning as the prompt, leaving a space to the responses."""
    shorter = min(len(chosen), len(rejected))
    at = next((i for i in range(shorter) if chosen[i] != rejected[i]), None)
    if at is None:
        at = max(shorter - 1, 0)
    elif at and chosen[at - 1] == " ":
        at -= 1
    return chosen[:at], chosen[at:], rejected[at:]


def _template(row: Row) -> dict[str, Any]:
    tools = row.get("tools")
    tools = json.loads(tools) if isinstance(tools, str) else tools
    keywords = row.get("chat_template_kwargs") or {}
    return {**({"tools": tools} if tools else {}), **keywords}


def ids_digest(row_ids: Iterable[str]) -> str:
    """`DataPin.digest`: sha256 over the row ids, one a line, in the data's order."""
    return sha256_text("\n".join(row_ids))
