"""T7xx: what `tiltc audit` can't do, or can't do as asked."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

AUDITING: tuple[Code, ...] = (
    Code(
        "T701",
        "label file without labels",
        Severity.ERROR,
        """`--labels` names a file that can't be read, or in which no record has a feature of the SAE and a label. Read are
exports of Neuronpedia (JSON or JSON lines, also gzipped) and plain JSON lines or CSV.

Example:

    {"feature": 1184, "label": "numbered steps of a recipe"}      # one object a line

What to do: check that the file is the one meant and that it is for this SAE: feature numbers count from 0, and those
that the SAE doesn't have are left out. Without `--labels`, clusters are named by the words of the data.""",
    ),
    Code(
        "T702",
        "labeller out of reach",
        Severity.WARNING,
        """The language model that was to name the clusters gave no whole answer in a minute, one larger than a megabyte,
answers without a title, pointed elsewhere, or would not take a question. A name is for reading and enters no test, so the
audit goes on with the names made from the data.

Example:

    warning[T702]: labeller out of reach: http://127.0.0.1:8000/v1: Connection refused

What to do: check the endpoint, the model's name and the key in TILTC_LABELLER_KEY, and audit again. Answers that came
are kept, so only the rest is asked. The key goes over https or to this machine only, and stands in no address.""",
    ),
    Code(
        "T703",
        "labels of features that the SAE lacks",
        Severity.NOTE,
        """Some labels of the label file are for feature numbers that this SAE does not have. They are left out. Where they
are many, the file was probably made for another SAE, and its other labels name the wrong features.

Example:

    note[T703]: labels of features that the SAE lacks: labels.jsonl: 49,152 of 65,536 labels

What to do: check that the file is for this SAE: the same model, layer and width.""",
    ),
    Code(
        "T710",
        "too few pairs to audit",
        Severity.ERROR,
        """An audit compares rows inside of a context with those outside, and resamples prompts for its intervals. That
needs 50 usable pairs of two prompts or more.

Example:

    error[T710]: too few pairs to audit: 12 usable pairs of 1 prompt

What to do: harvest more rows: a larger `rows:`, or a larger data set. Rows that are cut off or whose
texts are the same are not usable; the evidence counts them.""",
    ),
    Code(
        "T711",
        "plan for other data",
        Severity.ERROR,
        """`--against` shows what remains under a plan: its rows, weights and margins. The plan was compiled for another
data set, so it says nothing of these rows.

Example:

    tiltc audit evidence/ --against plan/      # compiled for last month's data

What to do: compile the spec for this data set, and audit against that plan.""",
    ),
    Code(
        "T712",
        "harvests that can't be matched",
        Severity.ERROR,
        """`--reference` compares responses of one harvest with those of another. They were read through different models
or SAEs, or with another template or length, so a difference between them says nothing about the texts.

Example:

    tiltc audit sft-evidence/ --reference other-models-evidence/

What to do: harvest both with the same `model`, `sae` and `train.max_length`.""",
    ),
)
