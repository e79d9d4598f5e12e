"""The text of a row against the tokens that are trained: what is read of each side, and whether the row can be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tiltc.evidence.trained import UNREAD, Difference, Differences, Example, Kind, merged
from tiltc.pairs import Pair, plain_text
from tiltc_runtime.wording import Wording, wording

if TYPE_CHECKING:
    from tiltc_runtime.tokens import Encoded

Status = Literal["ok", "empty", "identical", "header", "too_long", "single", "unwanted"]
Side = Literal["prompt", "chosen", "rejected"]
SIDES: tuple[Side, Side] = ("chosen", "rejected")
#: rows of this status are read through the model
READ = ("ok", "single", "unwanted")
#: what a row is that shows a kind, the first that it shows
VERDICTS: tuple[tuple[Kind, Status], ...] = (("no_tokens", "empty"), ("same_tokens", "identical"), ("header", "header"))
#: characters that an example shows, and those of them before the first difference
SHOWN, BEGINNING = 60, 12
#: what the header of a turn names, beside the role that the message gives
ROLES = ("assistant", "model", "chatbot", "gpt", "bot")


@dataclass(frozen=True)
class RowReading:
    """What is read of a row.

    Attributes:
        prompt, responses: how the texts stand in their tokens; rows that are not read for another reason have none.
        kinds: what there is to say of the row, each with the side that shows it.
    """

    status: Status
    prompt: Wording = field(default_factory=Wording)
    responses: tuple[Wording, ...] = ()
    kinds: dict[Kind, Side] = field(default_factory=dict["Kind", "Side"])


def read_row(pair: Pair, encoded: Encoded) -> RowReading:
    """Compare a row's text with its tokens, as far as they were read."""
    if pair.status not in READ:
        return RowReading(pair.status)
    if encoded.too_long:
        return RowReading("too_long")
    prompt, *said = encoded.said
    there = {at: (pair.chosen, pair.rejected)[at] for at in pair.sides}
    each = [
        wording(there[at], said[at], before=prompt.whole, cut=encoded.cut[at]) if at in there else Wording()
        for at in (0, 1)
    ]
    # what the prompt ends in may be the beginning of the response's first token
    spoken = prompt._replace(whole=prompt.whole + said[pair.sides[0]].whole)
    asked = wording(pair.prompt, spoken, ordered=False) if pair.prompt else Wording()
    kinds = _kinds(pair, encoded, each)
    if asked.kind:
        kinds["prompt"] = "prompt"
    return RowReading(_status(pair, kinds), asked, tuple(each), kinds)


def _status(pair: Pair, kinds: dict[Kind, Side]) -> Status:
    shown: list[Status] = [status for kind, status in VERDICTS if kind in kinds]
    return shown[0] if shown else pair.status


def _kinds(pair: Pair, encoded: Encoded, each: Sequence[Wording]) -> dict[Kind, Side]:
    kinds: dict[Kind, Side] = {}
    for at in pair.sides:
        side, read, ids = SIDES[at], each[at], encoded.responses[at]
        if read.kind:
            kinds.setdefault(read.kind, side)
        if not ids:
            kinds.setdefault("no_tokens", side)
        if pair.conversational and _heads(read.lead, pair, side) and read.lead.strip() != encoded.rest.strip():
            kinds.setdefault("header" if encoded.rest else "no_generation_prompt", side)
    if not pair.single and encoded.responses[0] == encoded.responses[1] and "no_tokens" not in kinds:
        kinds.setdefault("same_tokens", "chosen")
    if encoded.rest and "header" not in kinds and "no_tokens" not in kinds:
        kinds["no_prefix"] = "prompt"
    return kinds


def _heads(lead: str, pair: Pair, side: Side) -> bool:
    """Does a response begin with the header of its turn?"""
    turns: Any = getattr(pair, side)
    return any(role in lead.lower() for role in (str(turns[0]["role"]).lower(), *ROLES))


def compared(pairs: Sequence[Pair], encoded: Sequence[Encoded], first: int) -> Differences:
    """What there is to say of rows, of which the first is number `first` of the data."""
    return merged(_differences(n, pair, e) for n, (pair, e) in enumerate(zip(pairs, encoded, strict=True), first))


def _differences(number: int, pair: Pair, encoded: Encoded) -> Differences:
    reading = read_row(pair, encoded)
    kinds: dict[Kind, Difference] = {}
    for kind, side in reading.kinds.items():
        text, tokens = _shown(pair, encoded, reading, kind, side)
        example = Example(row=number, side=side, text=text[:SHOWN], tokens=tokens[:SHOWN])
        kinds[kind] = Difference(rows=1, examples=(example,))
    return Differences(unread=int(not UNREAD.isdisjoint(kinds)), kinds=kinds)


def _shown(pair: Pair, encoded: Encoded, reading: RowReading, kind: Kind, side: Side) -> tuple[str, str]:
    """What the data says and what the tokens say, from shortly before they part."""
    if kind == "no_prefix":
        return encoded.rest, encoded.said[1].whole[:BEGINNING]
    if kind in ("header", "no_generation_prompt"):
        return "", reading.responses[SIDES.index(side)].lead
    whole, text = encoded.said[("prompt", *SIDES).index(side)]
    if kind == "same_tokens":
        return "", whole
    data, tokens = plain_text(getattr(pair, side)), text.strip()
    differ = (i for i, (a, b) in enumerate(zip(data, tokens, strict=False)) if a != b)
    at = max(next(differ, min(len(data), len(tokens))) - BEGINNING, 0)
    return data[at:], tokens[at:]


def harmless(pairs: Sequence[Pair], encoded: Sequence[Encoded]) -> list[str]:
    """What templates do that changes nothing, in words: white space at the ends of texts, and what stands before them."""
    read = [w for p, e in zip(pairs, encoded, strict=True) for w in read_row(p, e).responses if not w.kind]
    trimmed = sum(w.trimmed for w in read)
    leads = Counter(w.lead for w in read if w.lead.strip())
    said = [f"white space of {trimmed} responses is trimmed"] if trimmed else []
    return said + [f"{n} responses follow {lead[:SHOWN]!r}" for lead, n in leads.most_common(2)]
