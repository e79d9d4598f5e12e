"""The forms of rows that trainers and hub sets have, told apart by their columns and brought into one.

Every form becomes rows of {prompt, chosen, rejected}, with a prompt of None where it is to be found in the responses. A row of a
single response has an empty rejected side; one that its `label` calls bad has an empty chosen side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tiltc.data.kinds import Row
from tiltc.data.messages import Message, messages_of
from tiltc.data.turns import has_marker

#: columns that hold the question where there is no `prompt`, the first that is there goes
QUESTIONS = ("question", "instruction", "query", "input", "user_prompt")
SYSTEMS = ("system", "system_prompt")
#: names of the better and the worse response
SIDES = (("chosen", "rejected"), ("chosen_response", "rejected_response"), ("response_j", "response_k"))
ANSWERS = ("completion", "response", "output", "answer")
CONVERSATIONS = ("messages", "conversations", "conversation")
LABELS = ("label", "kto_tag")
#: columns that go with every form
BESIDE = frozenset(("tools", "chat_template_kwargs", "margin"))
#: rows that are looked at to tell two forms of the same columns apart
LOOKED_AT = 200

Make = Callable[[Row], "Row | str"]


@dataclass(frozen=True)
class Form:
    """How rows are read. `make` gives {prompt, chosen, rejected} of a row, or what is wrong with it.

    `prompt` says in words where the prompt is from; `reads` are the columns that are read.
    """

    words: str
    prompt: str
    reads: frozenset[str]
    make: Make
    single: bool = False


def form_of(rows: Sequence[Row], columns: frozenset[str], told: bool = False) -> Form | None:
    """The form of a data set by its columns; None where it has no responses.

    Args:
        told: `system` is to be read beside `prompt` too.
    """
    for better, worse in SIDES:
        if {better, worse} <= columns:
            return _pairs(rows, columns, better, worse, told)
    swift = _swift(columns)
    if swift is not None:
        return swift
    if columns & {"chosen", "rejected"}:
        return None
    return _single(columns, next((name for name in LABELS if name in columns and _are_labels(rows, name)), None))


def _pairs(rows: Sequence[Row], columns: frozenset[str], better: str, worse: str, told: bool) -> Form:
    sides = frozenset((better, worse))
    whole = _are_whole(rows, better, worse)
    if whole and (told if "prompt" in columns else _question(columns)):
        reads = sides | (columns & {*SYSTEMS})
        return Form("pairs", "", reads, _whole_sides(better, worse, columns))
    if told and "prompt" in columns:
        make = _sides(better, worse, _asked_by(frozenset(("prompt",)), columns), turns=True)
        return Form("pairs with `system`", "`prompt` and `system`", sides | {"prompt", "system"}, make)
    if "prompt" in columns:
        return Form("pairs", "`prompt`", sides | {"prompt"}, _sides(better, worse, lambda row: row.get("prompt")))
    talk = next((name for name in CONVERSATIONS if name in columns), None)
    asked = _question(columns)
    if (
        talk is not None
        and not whole
        and (_answers_alone(rows, better, worse) or not (asked or _again(rows, talk, better)))
    ):
        reads = sides | {talk} | (columns & {*SYSTEMS})
        make = _unanswered(talk, _sides(better, worse, _asked_in(talk, columns), turns=True))
        return Form(f"pairs that answer `{talk}`", f"`{talk}`", reads, make)
    if asked and not _in_responses(rows, better, worse):
        reads = sides | asked | (columns & {*SYSTEMS, "history"})
        words = " and ".join(f"`{name}`" for name in (*QUESTIONS, *SYSTEMS, "history") if name in reads)
        make = _sides(better, worse, _asked_by(asked, columns), turns=True)
        return Form("pairs that answer a question", words, reads, _unanswered(_first(asked), make))
    return Form("pairs", "", sides, _sides(better, worse, lambda _: None))


def _swift(columns: frozenset[str]) -> Form | None:
    """ms-swift: the better response is where that of supervised training is, the worse in a column of its own."""
    talk = next((name for name in CONVERSATIONS if name in columns), None)
    if talk is not None and columns & {"rejected_response", "rejected_messages"}:
        worse = "rejected_response" if "rejected_response" in columns else "rejected_messages"
        return Form("pairs with `" + worse + "`", f"`{talk}`", frozenset((talk, worse)), _swift_rows(talk, worse))
    asked = _question(columns | {"prompt"} if "prompt" in columns else columns)
    if "rejected_response" in columns and "response" in columns and asked:
        reads = frozenset(("response", "rejected_response")) | asked | (columns & {*SYSTEMS, "history"})
        make = _sides("response", "rejected_response", _asked_by(asked, columns), turns=True)
        return Form("pairs with `rejected_response`", _named(asked), reads, _unanswered(_first(asked), make))
    return None


def _single(columns: frozenset[str], label: str | None) -> Form | None:
    beside = frozenset((label,) if label else ())
    words = f"single responses with `{label}`" if label else "single responses"
    talk = next((name for name in CONVERSATIONS if name in columns), None)
    if talk is not None:
        reads = frozenset((talk,)) | beside | (columns & {*SYSTEMS} if talk != "messages" else frozenset())
        return Form(words, f"`{talk}`", reads, _labelled(_last_turn(talk, columns), label), True)
    answers = [name for name in ANSWERS if name in columns]
    if "prompt" in columns and {*answers} & {"completion", "response"}:
        reads = frozenset(("prompt", *answers[:1])) | beside
        return Form(words, "`prompt`", reads, _labelled(_plain_single(answers), label), True)
    asked = _question(columns)
    if asked and answers:
        reads = asked | beside | (columns & {*SYSTEMS, "history"}) | {answers[0]}
        make = _unanswered(_first(asked), _single_turn(_asked_by(asked, columns), answers[0]))
        return Form(words, _named(asked), reads, _labelled(make, label), True)
    if {*answers} & {"completion", "response"}:
        return Form(words, "", frozenset(answers[:1]), _labelled(_plain_single(answers), label), True)
    return None


def _are_labels(rows: Sequence[Row], column: str) -> bool:
    """Whether a column says true or false of most responses: a `label` may name a topic as well."""
    said = [row[column] for row in rows[:LOOKED_AT] if row.get(column) is not None]
    return 2 * sum(truth(value) is not None for value in said) > len(said)


def _named(names: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in sorted(names))


def _question(columns: frozenset[str]) -> frozenset[str]:
    """The columns of the question: one, or the instruction and what it is about."""
    first = next((name for name in QUESTIONS if name in columns), None)
    if first is None:
        return frozenset()
    return frozenset((first, "input")) & columns if first == "instruction" else frozenset((first,))


def _first(names: Iterable[str]) -> str:
    """The column that asks."""
    return next(name for name in QUESTIONS if name in names)


def _in_responses(rows: Sequence[Row], better: str, worse: str) -> bool:
    """Whether most responses begin with the whole conversation, whatever other columns say."""
    sides = [(row.get(better), row.get(worse)) for row in rows[:LOOKED_AT]]
    texts = [(a, b) for a, b in sides if isinstance(a, str) and isinstance(b, str)]
    return bool(texts) and 2 * sum(has_marker(a, b) for a, b in texts) > len(texts)


def _answers_alone(rows: Sequence[Row], better: str, worse: str) -> bool:
    """Whether responses are a text or one message: a question in a column of its own goes before other conversations."""
    values = [row.get(side) for row in rows[:LOOKED_AT] for side in (better, worse)]
    return not any(isinstance(value, list) and len(cast("list[Any]", value)) > 1 for value in values)


def _are_whole(rows: Sequence[Row], better: str, worse: str) -> bool:
    """Whether most responses are messages that hold the conversation as well."""
    values = [value for row in rows[:LOOKED_AT] for side in (better, worse) if (value := row.get(side)) is not None]
    return 2 * sum(_is_whole(_answer(value)) for value in values) > len(values)


def _again(rows: Sequence[Row], talk: str, better: str) -> bool:
    """Whether most responses begin as the conversation of their row does, whoever speaks first there."""
    begins = [(messages_of(row.get(talk)), _answer(row.get(better))) for row in rows[:LOOKED_AT]]
    return 2 * sum(_same(a[:1], b[:1]) for a, b in begins if a and b) > len(begins)


def _is_whole(turns: Sequence[Message] | None) -> bool:
    """Whether a response begins with what was asked: a turn of the user's, or a system prompt."""
    return turns is not None and len(turns) > 1 and turns[0]["role"] in ("user", "system")


def _whole_sides(better: str, worse: str, columns: frozenset[str]) -> Make:
    """Responses that are whole conversations: the turns that they share are the prompt, behind the system prompt."""
    plain = _sides(better, worse, lambda _: None)

    def make(row: Row) -> Row | str:
        made, system = plain(row), _system(row, columns)
        if isinstance(made, str) or not system:
            return made
        turns = {side: _answer(made[side]) for side in ("chosen", "rejected")}
        if not all(_is_whole(side) for side in turns.values()):
            return made
        return made | {
            side: said if said[0]["role"] == "system" else [*system, *said] for side, said in turns.items() if said
        }

    return make


def _unanswered(column: str, make: Make) -> Make:
    """A conversation that is asked ends before the response, which some data sets have as its last turns too."""

    def asked_only(row: Row) -> Row | str:
        made = make(row)
        if isinstance(made, str) or made["prompt"][-1]["role"] != "assistant":
            return made
        for side in ("chosen", "rejected"):
            said: list[Message] = made.get(side) or []
            rest = made["prompt"][: -len(said)] if said and _same(made["prompt"][-len(said) :], said) else []
            if rest and rest[-1]["role"] != "assistant":
                return made | {"prompt": rest}
        return f"`{column}` ends with a turn of the assistant's that is no response of the row"

    return asked_only


def _same(turns: Sequence[Message], others: Sequence[Message]) -> bool:
    """Whether messages say the same, but for white space at their ends."""
    said = [[(m["role"], str(m["content"]).strip(), m.get("tool_calls")) for m in side] for side in (turns, others)]
    return said[0] == said[1]


def _sides(better: str, worse: str, prompt: Callable[[Row], Any], *, turns: bool = False) -> Make:
    """Rows with both responses; with `turns` they are conversations, and texts are their last message."""

    def make(row: Row) -> Row | str:
        asked = prompt(row)
        if turns and not isinstance(asked, list):
            return asked if isinstance(asked, str) else "has no question"
        sides = (row.get(better), row.get(worse))
        chosen, rejected = (_answer(side) if turns else side for side in sides)
        named = {better: chosen, worse: rejected}
        missing = next((name for name, side in named.items() if side is None), None)
        if missing is not None:
            return f"`{missing}` is neither text nor a list of messages with text content"
        return {"prompt": asked, "chosen": chosen, "rejected": rejected}

    return make


def _answer(side: Any) -> list[Message] | None:
    """A response as messages: a list of them, the JSON text of such a list, or the text of one."""
    if isinstance(side, str):
        listed = messages_of(side) if side[:1] == "[" else None
        return listed or [{"role": "assistant", "content": side}]
    return messages_of(side)


def _asked_by(names: frozenset[str], columns: frozenset[str]) -> Callable[[Row], Any]:
    """The conversation that a row's columns ask; a text says why there is none."""
    order = [name for name in ("prompt", *QUESTIONS) if name in names]

    def asked(row: Row) -> Any:
        if (turns := _turns_of(row.get(order[0]))) is not None:
            return turns if turns[0]["role"] == "system" else [*_system(row, columns), *turns]
        texts = [row.get(name) for name in order]
        if not isinstance(texts[0], str) or not all(text is None or isinstance(text, str) for text in texts):
            return f"`{order[0]}` is no text"
        said = "\n".join(text for text in cast("list[str]", texts) if text)
        past = _history(row.get("history")) if "history" in columns else []
        if past is None:
            return "`history` is no list of [question, answer]"
        return [*_system(row, columns), *past, {"role": "user", "content": said}]

    return asked


def _turns_of(value: Any) -> list[Message] | None:
    return messages_of(value) if isinstance(value, list | dict) else None


def _asked_in(talk: str, columns: frozenset[str]) -> Callable[[Row], Any]:
    def asked(row: Row) -> Any:
        turns = messages_of(row.get(talk))
        if turns is None:
            return f"`{talk}` is no list of messages"
        system = [] if turns[0]["role"] == "system" else _system(row, columns)
        return [*system, *turns]

    return asked


def _system(row: Row, columns: frozenset[str]) -> list[Message]:
    texts = [row.get(name) for name in SYSTEMS if name in columns]
    return [{"role": "system", "content": text} for text in texts[:1] if isinstance(text, str) and text.strip()]


def _history(value: Any) -> list[Message] | None:
    """[[question, answer], ...] as turns."""
    turns: list[Message] = []
    for item in cast("list[Any]", value) if isinstance(value, list) else []:
        texts = cast("list[Any]", item) if isinstance(item, list | tuple) else []
        if len(texts) != 2 or not all(isinstance(text, str) for text in texts):
            return None
        turns += [{"role": "user", "content": texts[0]}, {"role": "assistant", "content": texts[1]}]
    return turns if value is None or isinstance(value, list) else None


def _swift_rows(talk: str, worse: str) -> Make:
    def make(row: Row) -> Row | str:
        turns, other = messages_of(row.get(talk)), _answer(row.get(worse))
        if turns is None or len(turns) < 2 or turns[-1]["role"] != "assistant":
            return f"`{talk}` does not end with the assistant's turn"
        if other is None:
            return f"`{worse}` is neither text nor a list of messages"
        # the whole conversation again, or its last turn
        other = other[len(turns) - 1 :] if other[: len(turns) - 1] == turns[:-1] else other
        return {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": other}

    return make


def _last_turn(talk: str, columns: frozenset[str]) -> Make:
    """A conversation whose last turn is the response."""

    def make(row: Row) -> Row | str:
        turns = messages_of(row.get(talk))
        if turns is None:
            return f"`{talk}` is no list of messages"
        if len(turns) < 2 or turns[-1]["role"] != "assistant":
            return f"`{talk}` does not end with the assistant's turn"
        system = _system(row, columns) if talk != "messages" and turns[0]["role"] != "system" else []
        return {"prompt": [*system, *turns[:-1]], "chosen": turns[-1:]}

    return make


def _plain_single(answers: Sequence[str]) -> Make:
    def make(row: Row) -> Row | str:
        given = [row[name] for name in answers if row.get(name) is not None]
        if row.get("prompt") is None or not given:
            return "no prompt with a response of the assistant"
        return {"prompt": row["prompt"], "chosen": given[0]}

    return make


def _single_turn(asked: Callable[[Row], Any], answer: str) -> Make:
    def make(row: Row) -> Row | str:
        prompt, response = asked(row), _answer(row.get(answer))
        if not isinstance(prompt, list):
            return str(prompt)
        return f"`{answer}` is no text" if response is None else {"prompt": prompt, "chosen": response}

    return make


def _labelled(make: Make, label: str | None) -> Make:
    """A single response: the other side is empty, and its label says which side it is."""

    def single(row: Row) -> Row | str:
        made = make(row)
        if isinstance(made, str):
            return made
        value = made["chosen"]
        empty: Any = "" if isinstance(value, str) else [{"role": "assistant", "content": ""}]
        good = True if label is None else truth(row.get(label))
        if good is None:
            return f"`{label}` is {row.get(str(label))!r}, neither true nor false"[:120]
        sides = (value, empty) if good else (empty, value)
        return {"prompt": made["prompt"], "chosen": sides[0], "rejected": sides[1]}

    return single


def truth(value: Any) -> bool | None:
    """What a label says: true and false, 1 and 0, as values or as text."""
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None
