"""Where the tokens of a pair stand in its texts, so that evidence can be marked by a reader without a tokenizer.

A place is given only where it is certain: the tokens of the rendered conversation are those that were read, the
tokenizer's offsets run through it without holes, and every message stands in it as written, but for white space at its
ends. Otherwise a span has no marks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiltc_runtime.pairs import Message, Pair, Text, plain_text
from tiltc_runtime.tokens import Encoded, Ids, whole_text

#: stands for a message's content in a rendered template: private-use characters, which no text has
PLACEHOLDER = "\ue0f0\ue0f1\ue0f0"
STRIPPED = (str, str.strip, str.lstrip, str.rstrip)


@dataclass(frozen=True)
class Marked:
    """Both responses as far as they were read, and for every span where its tokens start in its text; [] is unknown."""

    responses: tuple[str, str]
    prompt_starts: Sequence[int]
    starts: tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class _Body:
    """A message's characters: `start` to `stop` in the rendered text are those from `at` on in the plain text."""

    start: int
    stop: int
    at: int


@dataclass(frozen=True)
class _Side:
    """Prompt and one response: the first and last+1 characters of every token, as places in the two plain texts."""

    prompt: np.ndarray
    begin: np.ndarray
    end: np.ndarray


class Marker:
    """Marks pairs. Remembers what a template puts around messages."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.frames: dict[str, list[str]] = {}

    def mark(self, pair: Pair, encoded: Encoded) -> Marked:
        """The marks of a pair that was read as `encoded`."""
        sides = [self._side(pair, r, encoded.prompt + ids) for r, ids in _responses(pair, encoded)]
        count = len(encoded.prompt)
        texts, starts = [], []
        for side, (response, ids), cut in zip(sides, _responses(pair, encoded), encoded.cut, strict=True):
            texts.append(self._read(response, ids, side, count) if cut else plain_text(response))
            # a token whose characters were not read in full starts at the end of what was read
            starts.append([] if side is None else side.begin[count:][: len(ids)].clip(max=len(texts[-1])).tolist())
        prompt = next((side.prompt[:count].tolist() for side in sides if side is not None), [])
        return Marked((texts[0], texts[1]), prompt, (starts[0], starts[1]))

    def _read(self, response: Text, ids: Ids, side: _Side | None, count: int) -> str:
        """The whole characters of a cut response that were read."""
        if side is None:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True)).rstrip("\ufffd")
        last = count + len(ids) - 1
        return plain_text(response)[: min(side.end[last], side.begin[last + 1])]

    def _side(self, pair: Pair, response: Text, ids: Ids) -> _Side | None:
        """The places of all tokens of a sequence that begins with `ids`, or None where they are not certain."""
        whole, bodies = self._laid_out(pair, response)
        if bodies is None or not getattr(self.tokenizer, "is_fast", False):
            return None
        more = {"add_special_tokens": False} if pair.conversational else {}
        made = self.tokenizer(text=whole, return_offsets_mapping=True, **more)
        ends = _ends(whole, made["offset_mapping"]) if tuple(made["input_ids"][: len(ids)]) == ids else None
        if ends is None:
            return None
        turns = _turns(pair.prompt)
        before, after = _table(whole, bodies[:turns], pair.prompt), _table(whole, bodies[turns:], response)
        return _Side(before[ends[0]], after[ends[0]], after[ends[1]])

    def _laid_out(self, pair: Pair, response: Text) -> tuple[str, list[_Body] | None]:
        """The text that is tokenised, and where in it the messages stand."""
        if isinstance(pair.prompt, str) or isinstance(response, str):
            start = len(str(pair.prompt))
            whole = whole_text(self.tokenizer, str(pair.prompt), str(response))
            return whole, [_Body(0, start, 0), _Body(start, start + len(str(response)), 0)]
        turns = (*pair.prompt, *response)
        whole = self._rendered(turns, pair)
        places = [*_places(pair.prompt), *_places(response)]
        return whole, _bodies(whole, self._frame(turns, pair), [str(m["content"]) for m in turns], places)

    def _frame(self, turns: Sequence[Any], pair: Pair) -> list[str]:
        """What the template puts before, between and after the contents of turns like these."""
        empty = [{**turn, "content": PLACEHOLDER} for turn in turns]
        key = json.dumps([empty, pair.template], sort_keys=True, default=str)
        if key not in self.frames:
            try:
                self.frames[key] = self._rendered(empty, pair).split(PLACEHOLDER)
            except Exception:
                # templates raise what they like, and some look into contents
                self.frames[key] = []
        return self.frames[key]

    def _rendered(self, turns: Sequence[Any], pair: Pair) -> str:
        return str(self.tokenizer.apply_chat_template(list(turns), tokenize=False, **pair.template))


def unmarked(pair: Pair) -> Marked:
    """A pair that was not read."""
    return Marked((plain_text(pair.chosen), plain_text(pair.rejected)), [], ([], []))


def _responses(pair: Pair, encoded: Encoded) -> list[tuple[Text, Ids]]:
    return list(zip((pair.chosen, pair.rejected), encoded.responses, strict=True))


def _turns(text: Text) -> int:
    return 1 if isinstance(text, str) else len(text)


def _places(turns: Sequence[Message]) -> list[int]:
    """Where the messages' contents start in the conversation's `plain_text`."""
    if len(turns) == 1:
        return [0]
    places, at = [], 0
    for turn in turns:
        places.append(at + len(f"{turn['role']}: "))
        at = places[-1] + len(f"{turn['content']}\n\n")
    return places


def _bodies(whole: str, frame: list[str], contents: list[str], places: list[int]) -> list[_Body] | None:
    """The contents in a rendered text, which must be the frame with the contents put in and nothing else."""
    if len(frame) != len(contents) + 1 or not whole.startswith(frame[0]):
        return None
    bodies, at = [], len(frame[0])
    for content, place, after in zip(contents, places, frame[1:], strict=True):
        body = next((b for b in (f(content) for f in STRIPPED) if whole.startswith(b + after, at)), None)
        if body is None:
            return None
        bodies.append(_Body(at, at + len(body), place + content.find(body)))
        at += len(body) + len(after)
    return bodies if at == len(whole) else None


def _ends(whole: str, offsets: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray] | None:
    """First and last+1 character of every token, or None where offsets run back or leave out more than white space."""
    begin, end = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
    # tokens that stand for no character, such as those a post-processor adds, come with no place of their own
    empty = begin == end
    end = np.maximum.accumulate(np.where(empty, 0, end))
    before = np.concatenate([[0], end[:-1]]).astype(np.int64)
    begin = np.where(empty, before, begin)
    gaps = [(before[i], begin[i]) for i in np.flatnonzero(begin > before)]
    gaps.append((end[-1] if len(end) else 0, len(whole)))
    holes = any(whole[a:b].strip() for a, b in gaps)
    return None if holes or (np.diff(begin) < 0).any() else (begin, end)


def _table(whole: str, bodies: Sequence[_Body], text: Text) -> np.ndarray:
    """(len(whole) + 1,) int32: every character of the tokenised text as a place in a plain text.

    Before the first message that is 0, after the last the text's end, and between two the end of the first.
    """
    table = np.zeros(len(whole) + 1, dtype=np.int32)
    for body in bodies:
        table[body.start : body.stop] = np.arange(body.stop - body.start) + body.at
        table[body.stop :] = body.at + body.stop - body.start
    if bodies:
        table[bodies[-1].stop :] = len(plain_text(text))
    return table
