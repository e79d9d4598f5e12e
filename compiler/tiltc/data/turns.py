"""Where the prompt ends in a text that holds the whole conversation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: how the assistant's turn begins, by who writes it so. What belongs to the marker belongs to the prompt: the line break that
#: a template writes, and not the space that a tokenizer makes part of the first word
MARKERS: dict[str, str] = {
    "<|im_start|>assistant": r"<\|im_start\|>assistant\n",
    "<|start_header_id|>assistant<|end_header_id|>": r"<\|start_header_id\|>assistant<\|end_header_id\|>\n{0,2}",
    "<|start|>assistant": r"<\|start\|>assistant(?:<\|channel\|>final)?<\|message\|>",
    "<|start_of_role|>assistant<|end_of_role|>": r"<\|start_of_role\|>assistant<\|end_of_role\|>",
    "<start_of_turn>model": r"<start_of_turn>model\n",
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>": r"<\|START_OF_TURN_TOKEN\|><\|CHATBOT_TOKEN\|>",
    "<|assistant|>": r"<\|assistant\|>\n?",
    "<｜Assistant｜>": r"<｜Assistant｜>",
    "<|Assistant|>": r"<\|Assistant\|>",
    "[/INST]": r"\[/INST\]",
    "### Response:": r"(?:^|\n)###? Response:\n{0,2}",
    "### Assistant:": r"(?:^|\n)###? ?Assistant:\n{0,2}",
    "### Answer:": r"(?:^|\n)###? Answer:\n{0,2}",
    "Assistant:": r"(?:^|\n)[ \t]{0,8}Assistant:",
    "ASSISTANT:": r"(?:^|\n)[ \t]{0,8}ASSISTANT:",
    "AI:": r"(?:^|\n)[ \t]{0,8}AI:",
    "Bot:": r"(?:^|\n)[ \t]{0,8}Bot:",
    "GPT4 Correct Assistant:": r"(?:^|\n)[ \t]{0,8}GPT4 Correct Assistant:",
    " ASSISTANT:": r"\bASSISTANT:",
    "<|end_of_turn|>GPT4 Correct Assistant:": r"<\|end_of_turn\|>GPT4 Correct Assistant:",
    "Answer:": r"\nAnswer:",
    "Response:": r"\nResponse:",
    "A:": r"\nA:",
    "TL;DR:": r"(?:^|\n)TL;DR:",
}  # fmt: skip
#: markers that texts have for other reasons too: they count where most prompts have them
WEAK = frozenset(("### Answer:", "Answer:", "Response:", "A:", "TL;DR:"))
_QUESTION, _CHOICE = re.compile(r"(?:^|\n)[ \t]{0,8}(?:Q|Question):"), re.compile(r"\nB:")
_MARKERS = {name: re.compile(pattern) for name, pattern in MARKERS.items()}
#: how a turn of the user's begins
_USERS = re.compile(
    r"(?:^|\n)[ \t]{0,8}(?:Human|HUMAN|User|USER|Q|Question):|<\|im_start\|>user|\[INST\]|###? ?(?:Instruction|Human|User|Input):"
    r"|<start_of_turn>user|<\|user\|>|<\|start_header_id\|>user|\bUSER:"
)


@dataclass(frozen=True)
class Cut:
    """A conversation in three parts, and the marker that the prompt ends with; None where it was the shared beginning."""

    prompt: str
    chosen: str
    rejected: str
    marker: str | None


def shared(chosen: str, rejected: str) -> int:
    """How many characters two texts begin with in common."""
    low, high = 0, min(len(chosen), len(rejected))
    if chosen[:high] == rejected[:high]:
        return high
    # the first difference by halves: texts share long beginnings
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if chosen[low:middle] == rejected[low:middle] else (low, middle)
    return low


def cut_all(texts: Sequence[tuple[str, str]]) -> list[Cut]:
    """Prompt and responses of (chosen, rejected) that begin with their prompt.

    The prompt ends with the last marker of the assistant's turn in what the two texts share; the marker that ends most
    prompts of the data set goes first. Without a marker the shared beginning is the prompt, but never half a word: the
    space before a response belongs to the response.
    """
    ends = [shared(chosen, rejected) for chosen, rejected in texts]
    counts = Counter(name for (chosen, _), end in zip(texts, ends, strict=True) for name in _found(chosen[:end]))
    usual = (name for name, count in counts.items() if name not in WEAK or 2 * count > len(texts))
    order = sorted(usual, key=lambda name: -counts[name])
    return [_cut(chosen, rejected, end, order) for (chosen, rejected), end in zip(texts, ends, strict=True)]


def has_marker(chosen: str, rejected: str) -> bool:
    """Whether two texts share a turn of the assistant's that begins."""
    return any(True for _ in _found(chosen[: shared(chosen, rejected)]))


def _found(text: str) -> Iterable[str]:
    return (name for name in _MARKERS if _last(name, text, len(text)) is not None)


def _last(name: str, text: str, end: int) -> int | None:
    """Where the last marker of a name ends in a text up to `end`. `A:` is one behind a question, and no first of choices."""
    last = max((match.end() for match in _MARKERS[name].finditer(text, 0, end)), default=None)
    if last is None or name != "A:":
        return last
    return last if _QUESTION.search(text, 0, last) and not _CHOICE.search(text, last, end) else None


def _cut(chosen: str, rejected: str, end: int, order: Sequence[str]) -> Cut:
    for name in order:
        last = _last(name, chosen, end)
        if last is not None and not _asked_again(chosen, rejected, last, end, name):
            return Cut(chosen[:last], chosen[last:], rejected[last:], name)
    at = _between_words(chosen, rejected, end)
    return Cut(chosen[:at], chosen[at:], rejected[at:], None)


def _asked_again(chosen: str, rejected: str, last: int, end: int, name: str) -> bool:
    """Whether a turn of the user's follows in what the texts share, and the answer to it has no marker: the dialogue is
    part of the question, such as a transcript, and nothing marks where it ends. A user that is called otherwise than before
    is one in the answer."""
    before = {match[0].strip() for match in _USERS.finditer(chosen, 0, last)}
    asking = {match[0].strip() for match in _USERS.finditer(chosen, last, end)}
    if not asking or (before and not before & asking):
        return False
    return not any(_MARKERS[name].search(text, last) for text in (chosen, rejected))


def _between_words(chosen: str, rejected: str, end: int) -> int:
    """The last place up to `end` that is inside no word of either text."""
    if end == min(len(chosen), len(rejected)):
        # something must be left to be a response
        end = max(end - 1, 0)
    while end and any(_inside_word(text, end) for text in (chosen, rejected)):
        end -= 1
    return end - 1 if end and chosen[end - 1] == " " else end


def _inside_word(text: str, at: int) -> bool:
    """Letters, digits and combining signs on both sides; words of scripts without spaces end anywhere."""
    if at >= len(text):
        return False
    return all(_letter(sign) for sign in text[at - 1 : at + 1]) or _combining(text[at])


def _letter(sign: str) -> bool:
    return (sign.isalnum() and not "\u2e80" <= sign <= "\u9fff") or sign in "_'’"


def _combining(sign: str) -> bool:
    return sign in "\u200d\ufe0f" or "\u0300" <= sign <= "\u036f" or "\U0001f3fb" <= sign <= "\U0001f3ff"


def ends_in_marker(text: str) -> bool:
    """Whether a text ends where the assistant's turn begins."""
    end = len(text.rstrip())
    return any(
        match.end() >= end for pattern in _MARKERS.values() for match in pattern.finditer(text, max(end - 64, 0))
    )
