"""T575-T584: files that are not what was written, or that no digest covers. Part of the T5xx family, see `stale.py`."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

SEALING: tuple[Code, ...] = (
    Code(
        "T575",
        "weights that no digest covers",
        Severity.ERROR,
        """\
A model is pinned by the tensors that its loader opens: those of `model.safetensors`, or of the files that
`model.safetensors.index.json` names, all in the model's own folder. Here the loader would open something else: pickled
weights, a file that another file leads to, the base of an adapter that lies beside the model. What is trained and verified would
not be what the digest says.

Example:

    error[T575]: weights that no digest covers: `./model`
      = note: a loader opens model.safetensors or model.safetensors.index.json, and there is only decoy.safetensors

What to do: take the files of other models out of the folder. Pickled weights are never loaded; save the model again with
`save_pretrained`, which writes safetensors.""",
    ),
    Code(
        "T576",
        "run folder that is not as written",
        Severity.ERROR,
        """\
A run folder says in `run.json` whose it is, and in `record.json`, once finished, what came out. Both carry a digest of
themselves, and the record one of every file in `model/`. One of them is missing, was cut or changed, or belongs to another run.
Taken at its word it could pass off another training as this one.

Example:

    error[T576]: run folder that is not as written: run
      = note: run.json is missing, and the folder holds a record, checkpoints or a model

What to do: give the file back as it was written, choose another folder with `-o`, or start again with `--fresh`.""",
    ),
    Code(
        "T577",
        "checkpoint that is not as written",
        Severity.WARNING,
        """\
A checkpoint is sealed with the sha256 of each of its files. One of them is missing or another than the one that was
sealed, or the seal itself can't be read: the run was killed while writing it, or the disk lost something. It is left out and
removed; the run goes on from the checkpoint before it, or from the start.

Example:

    warning[T577]: checkpoint that is not as written: checkpoint-40
      = note: optimizer.pt is not the file that was sealed

What to do: nothing, if the run was killed. Otherwise look at the disk: what was lost is computed again.""",
    ),
    Code(
        "T578",
        "kept results that are not as written",
        Severity.WARNING,
        """\
Rollouts, held-out losses and reference log-probabilities are kept, each under a key made of all that it follows from
and with a digest of itself. Some of those read are not what was written under this key: a line was changed, or came from
another file. They count as missing and were computed again.

Example:

    warning[T578]: kept results that are not as written: 3 of 128 rollouts of `start`

What to do: nothing, the results are right. If it happens again, look at the disk and at what else writes into the store.""",
    ),
    Code(
        "T579",
        "other prompts than the plan's",
        Severity.ERROR,
        """\
A plan pins the file that `verify.prompts` names, for its prompts decide every rate that is measured. The file found has other
contents.

Example:

    error[T579]: other prompts than the plan's: `verify.prompts: prompts.jsonl`

What to do: give the pinned file back, or compile the spec again: the plan then pins the file as it is now.""",
    ),
    Code(
        "T580",
        "record without a digest",
        Severity.WARNING,
        """\
Records that this version writes carry a digest of themselves, so that a change is seen. This one was written by an
earlier version and has none: what it says of the run is taken as it stands.

Example:

    warning[T580]: record without a digest: run/record.json

What to do: nothing, if you know where the run comes from; otherwise train again.""",
    ),
)
