"""T571, T572: an SAE whose config asks for more than is carried out. Part of the T5xx family, see `stale.py`."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

READING: tuple[Code, ...] = (
    Code(
        "T571",
        "SAE setting that can't be carried out",
        Severity.ERROR,
        """An SAE's config or its weights ask for a step of the encoder that is not carried out here, so its features would be read
wrongly: activations that are multiplied by a factor which is neither folded into the weights nor given
(`normalize_activations: expected_average_only_in`) or whitened, another activation function than a relu, a tensor such as
`scaling_factor` that is in no formula known here.

Example:

    error[T571]: SAE setting that can't be carried out: my-sae: normalize_activations: expected_average_only_in
      = note: it was trained on activations times a factor that is neither in its weights nor beside them

What to do: save the SAE for inference with sae-lens, which folds such steps into the weights, or give the factor as
`norm_scaling_factor` in its `cfg.json`. A `scaling_factor` of ones is left out without a word.""",
    ),
    Code(
        "T572",
        "SAE setting that is not carried out",
        Severity.WARNING,
        """An SAE's config says on what it was trained, and what is read here differs: texts that don't begin with the model's
BOS token (`prepend_bos`), special tokens that it never saw (`exclude_special_tokens`), positions (`seqpos_slice`), another
checkpoint or form of the model (`model_from_pretrained_kwargs`). Its features may mean something else there.
`center_writing_weights` is carried out for models whose norms are all LayerNorm, which compute the same with a residual stream
of mean zero; others are read as they are. `fold_ln`, `center_unembed` and `fold_value_biases` leave the residual stream as it is.

Example:

    warning[T572]: SAE setting that is not carried out: `prepend_bos` of my-sae

What to do: look at how well the SAE reconstructs (T313) and detects (`tiltc show`), and allow the warning if both are good.""",
    ),
)
