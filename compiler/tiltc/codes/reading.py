"""T571 to T574: SAEs and adapters that do less than they seem to, or are not there. Part of T5xx, see `stale.py`."""

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
    Code(
        "T573",
        "weights that no adapter reaches",
        Severity.WARNING,
        """LoRA adapters are put on every linear projection of the decoder layers from `lora.layers` on, and on the experts of
mixtures of experts. Measured on the model that is trained, they reach much less than all of these layers' weights: the
architecture keeps some in modules of its own. What stays as it is can't learn what the plan asks for.

Example:

    warning[T573]: weights that no adapter reaches: adapters reach 41.7% of the weights of decoder layers 0 to 23
      = note: not reached: `mixer.in_proj`, 58.3%

What to do: leave `train.lora` out to train every weight, or go on if the weights named are meant to stay.""",
    ),
    Code(
        "T574",
        "evidence without features",
        Severity.ERROR,
        """An audit looks for what the data will teach among the features of an SAE. This evidence was harvested for a spec that
says `sae: none`, or names no SAE and reads by detectors alone: it holds texts, and nothing of the model's inside.

Example:

    error[T574]: evidence without features: 2f6c0d8f1a7e55b0c1d2 was harvested with `sae: none`

What to do: name an SAE of the model (`sae:`) and harvest again.""",
    ),
)
