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
)
