"""T565 to T569: what the model is read on, sampled from and trained on."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

INPUTS: tuple[Code, ...] = (
    Code(
        "T565",
        "tokens beyond the embedding",
        Severity.ERROR,
        """\
The tokenizer has tokens that the model's embedding has no row for, and texts have them, or may. The model can't read
them: somebody added tokens and did not enlarge the model, or the tokenizer is that of another one. Tokens beyond the
embedding that no text has are no fault (models that also read images have such).

Example: `<|tool|>` was added to the tokenizer as token 49152, and the embedding has 49152 rows, 0 to 49151.

What to do: give the model the tokenizer that it was trained with, or enlarge the embedding
(`model.resize_token_embeddings(len(tokenizer))`), train it, and save both together.""",
    ),
    Code(
        "T566",
        "prompts unlike those trained on",
        Severity.WARNING,
        """\
Rows reach the model in one form: through the chat template with certain arguments, or as plain text. Rollouts are asked in
that form too, as far as the prompts allow; here they don't, so what is measured is not what was trained. Arguments that a
prompt of the file has itself (`chat_template_kwargs`, `tools`) go before those that all rows share.

Example: all rows were trained with `{"enable_thinking": false}`, and the prompts of the file say `true`.

What to do: give prompts and rows the same arguments, or none to the prompts; write prompts of one message where rows are
plain text. If the difference is what you want to measure, read the figures as such.""",
    ),
)
