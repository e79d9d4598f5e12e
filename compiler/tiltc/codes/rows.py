"""T550-T559: how the rows of a data set are read, where that is not plain."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

ROWS: tuple[Code, ...] = (
    Code(
        "T550",
        "prompt in a column that is not read",
        Severity.ERROR,
        """\
Rows have no prompt, or an empty one, and a column that could be the prompt is not read. Responses without their question
would be trained as if nobody had asked.

Example:

    error[T550]: prompt in a column that is not read: the prompts of 24 of 24 rows of pairs.jsonl are empty or nearly so,
    and `task` not read
      = help: say which column asks: `data: {file: pairs.jsonl, columns: {prompt: task}}`

What to do: name the column; `columns: {prompt: prompt}` says that an empty `prompt` is meant.
`tiltc lint pairs.jsonl` says how the rows are read, without a model.""",
    ),
    Code(
        "T551",
        "guessed prompts",
        Severity.WARNING,
        """\
Rows have `chosen` and `rejected` and no prompt, and no sign of a turn, such as `Assistant:` or `<|im_start|>assistant`, is in
what both begin with. The shared beginning is then taken for the prompt, up to the last whole word. Where both responses begin
with the same words, these words go to the prompt, and no concept is found in them. A line such as `Answer:`, `A:` or `TL;DR:`,
which a text may have for other reasons, is taken for the end of the prompt where most rows have it, and said here.

Example:

    warning[T551]: guessed prompts: 24 of 24 prompts of pairs.jsonl are what both responses begin with
      = note: the first ends with 'The sky is', and its chosen response begins with ' blue'

What to do: give the prompts in a column of their own.""",
    ),
    Code(
        "T552",
        "responses that repeat the prompt",
        Severity.ERROR,
        """\
Many responses begin with the whole prompt of their row, and others don't. Where all do, the prompt is taken off; where only
some do, nobody can tell which of them are meant so. Trained as they are, a model would learn to repeat the question.

Example:

    error[T552]: responses that repeat the prompt: the responses of 180 of 200 rows of pairs.jsonl begin with their prompt

What to do: take the prompt off the responses, or leave the column `prompt` out.""",
    ),
    Code(
        "T553",
        "rows left out",
        Severity.WARNING,
        """\
Some rows can't be used, and the spec allows that many to be left out: `skip:` of `data:` is a count or a share. The plan is
about the others, in their order.

Example:

    warning[T553]: rows left out: 2 of 15000 rows of pairs.jsonl are left out
      = note: row 412: `chosen` is neither text nor a list of messages with text content

What to do: nothing, if the rows named are no loss. Repair them otherwise.""",
    ),
    Code(
        "T554",
        "column that is not read",
        Severity.WARNING,
        """\
The data has a column that other trainers know and that is not read here. `system` beside `prompt` is read by some trainers and
not by others. A `label` of single responses says which are wanted as true and false, or 1 and 0, and in no other words. A prompt
may be empty, and nothing is read in its place. A `margin` has a meaning for `method: reward` alone, and is missing from some
rows or is no number in them.

Example:

    warning[T554]: column that is not read: `system` of pairs.jsonl is not read: rows with a `prompt` are taken as they are
      = help: to have it read, `data: {file: pairs.jsonl, columns: {system: system}}`

What to do: see the help; or leave it, if the column is not meant to be read.""",
    ),
)
