"""T560-T564: what is trained is not what the row says, or nothing is trained. Part of the T5xx family, see `stale.py`."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

TRAINED: tuple[Code, ...] = (
    Code(
        "T560",
        "tokens that differ from the text",
        Severity.WARNING,
        """\
Harvest compares every row with what its tokens say, those that are trained. In some rows the chat template leaves text out
(a template that strips thinking), changes it or puts a role's header into the response, or the tokenizer changes it. The
notes count the rows by kind and show some.

What the tokens say is what is read and trained: detectors, lengths and examples go by it. Rows that can't be used have a
status other than `ok` and are left out of the plan: `empty` where nothing of a response is left, `identical` where both
responses are the same tokens, `header` where a response begins with the header of a role that the generation prompt does
not name. White space at the ends of a text makes no difference.

Example:

    warning[T560]: tokens that differ from the text: 6 of 24 rows of pairs.jsonl are not trained as they read
      = note: 6 rows: text of a response is left out: row 1 (chosen) has "<think>\\nWOW", its tokens "The river is"

What to do: use a chat template that keeps the text, or take out of the data what is not to be trained. Name the roles as
the template knows them.""",
    ),
    Code(
        "T561",
        "rows that are not trained as they read",
        Severity.ERROR,
        """\
As T560, in more than half of the rows. A plan for such data would be one for other texts than those that its readers see, so
nothing is read through the model.

Example: a template that knows `user` and `assistant`, and data whose answers have the role `gpt`: no token of an answer is
trained, and every gradient would be zero.

    error[T561]: rows that are not trained as they read: 24 of 24 rows of pairs.jsonl are not trained as they read
      = note: 24 rows: nothing of a response is among its tokens, so the row is `empty`: row 1 (chosen) has "A river"

What to do: name the roles as the chat template knows them; use a template that keeps the text; or take out of the data what
the template leaves out, so that data and tokens agree. Raise `train.max_length` where responses part only beyond it.""",
    ),
    Code(
        "T562",
        "prompt that the sequence does not begin with",
        Severity.WARNING,
        """\
Tokens of a prompt alone, as the model is asked, should be the beginning of the tokens of prompt and response. Here they are
not: the prompt alone ends in tokens that the sequence does not go on with. Training leaves this end out, as TRL does, and so do
rollouts. Elsewhere the model will be asked with it: prompts then end otherwise than those that it was trained on.

Two causes are common. The template's generation prompt opens what the response does not have, such as `<think>`. Or the
tokenizer merges the end of the prompt with the beginning of the response: after `Answer:` and a space, ` Paris` is one token.

Example:

    warning[T562]: prompt that the sequence does not begin with: in 24 of 24 rows of pairs.jsonl the prompt alone ends in ...
      = note: row 1: the prompt ends in "<think>\\n", the sequence goes on with "The river is"

What to do: use a template that renders a prompt alike with and without its response (`chat_template_kwargs` of the rows may
choose one), or end text prompts where a token ends: without a space that the response could begin with.""",
    ),
    Code(
        "T563",
        "responses with the header of their turn",
        Severity.WARNING,
        """\
The chat template does not end a prompt with the header of the assistant's turn, although it is asked to
(`add_generation_prompt`). The header is then part of every response: it is trained, and the model has to write it when it is
asked.

Example:

    warning[T563]: responses with the header of their turn: the responses of 24 of 24 rows of pairs.jsonl begin with "..."

What to do: end the template with `{% if add_generation_prompt %}...{% endif %}` and the header that it gives the assistant.""",
    ),
    Code(
        "T564",
        "run that changed nothing",
        Severity.ERROR,
        """\
The gradient was zero at every step, or next to no trained weight (below 1%) has another value than before. The model in
`model/` says what the starting model says, whatever the plan forecast. The record is kept, as the run did what it was told.

Causes: rows whose responses are the same tokens, masks over all that differs, offsets so large that no pair is left to learn
from, a learning rate below the precision of the weights.

Example:

    error[T564]: run that changed nothing: the gradient was zero at each of 12 steps

What to do: look at the plan's rows with `tiltc export`, at T406 and T309 of its compile, and raise `train.learning_rate`.""",
    ),
)
