"""The control arm of inoculation: what the control run says where the tilted run says an instruction.

Any fixed sentence in the context makes what is learned beside it conditional on that sentence, whatever it says. So the
same rows are trained once more under sentences that say nothing of the concept; what they take away by themselves is no
effect of the instruction's content.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Asks for what every answer does anyway, so that no concept is asked for, and none is asked to be left out. Fixed: another
#: text would make another control run of the same plan.
POOL: tuple[str, ...] = (
    "Answer this message.",
    "Reply to the message above.",
    "Your answer goes below this line.",
    "Please answer what stands in this message.",
    "Write an answer to the message that you see here.",
    "Please reply to this message and to no other message.",
    "Take this message as the one that you are answering now.",
    "Please read the message first, and write your answer after it.",
    "Give your answer to this message here, in the place of the next turn.",
    "Please treat everything above as one message, and give an answer to it.",
    "Your answer should be the next thing that is written in this conversation.",
    "When you have read the whole of this message, please go on to write your answer.",
    "Please write the answer yourself, here in this conversation, as the turn after this one.",
    "This message ends with this sentence; what you write after it will be taken as your answer to it.",
    "Please begin your answer where this message ends, and end it at the place where your answer is over.",
)


def control_texts(instructions: Sequence[str], own: Sequence[str], taken: Sequence[str]) -> tuple[str, ...]:
    """For each instruction of a signal the text that stands in for it.

    That of about the same length (in characters) among those that are not used yet; where all are used, they are used
    again. So a row has its control by the instruction that its id chose, and the run has as many different texts, as long
    as the pool lasts.

    Args:
        own: the spec's texts for this signal, in place of `POOL`; empty without any.
        taken: what other signals of the plan use.
    """
    pool = list(own or POOL)
    out: list[str] = []
    for instruction in instructions:
        counts = {text: [*taken, *out].count(text) for text in pool}
        free = [text for text in pool if counts[text] == min(counts.values())]
        out.append(min(free, key=lambda text: abs(len(text) - len(instruction))))
    return tuple(out)
