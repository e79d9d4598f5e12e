"""T520-T549: a plan that the runtime refuses, or a run that can't go on. Part of the T5xx family, see `stale.py`."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

RUNNING: tuple[Code, ...] = (
    Code(
        "T520",
        "unreadable plan",
        Severity.ERROR,
        """A plan folder holds `plan.json` and `rows.parquet`, and `tools.safetensors` where the plan has vectors. One of them
is missing, is not what its name says, or was written by a newer tiltc.

Example:

    error[T520]: unreadable plan: cannot read plan/rows.parquet

What to do: restore the files from version control, or compile the spec again. Nothing was trained.""",
    ),
    Code(
        "T521",
        "edited plan",
        Severity.ERROR,
        """`plan.json` carries the sha256 of everything else it says, and the two no longer agree: somebody changed
the file after the compiler wrote it, or a merge did. What was reviewed is then not what would be run.

Example:

    error[T521]: edited plan: plan/plan.json is not what the compiler wrote

What to do: make the change in the spec and compile again. `tiltc diff` shows what the edit meant.""",
    ),
    Code(
        "T522",
        "file of another plan",
        Severity.ERROR,
        """`rows.parquet` says for every pair whether it is kept and how it is trained; `tools.safetensors` holds the
vectors that the plan steers with. The plan pins digests of their contents, and one differs from the file found. The file
was edited, or the files come from different compilations.

Example: one `weight` in `rows.parquet` was set to 0 by hand, or only `plan.json` was taken from another branch.

What to do: restore the file as `tiltc compile` wrote it, or compile again.""",
    ),
    Code(
        "T523",
        "model of another plan",
        Severity.ERROR,
        """The plan was solved for a model whose weights have the pinned digest; the model found at that name has
other weights, another depth or another width. The strengths in the plan were derived from the old model's readouts.

Example:

    error[T523]: model of another plan: policy is not the model that the plan was compiled for
      = note: digest pinned: 93af...
      = note: digest found:  0b71...

What to do: give the pinned model back, or harvest and compile for the new one.""",
    ),
    Code(
        "T524",
        "data of another plan",
        Severity.ERROR,
        """Every pair has an id made of its contents. The ids of the dataset found are not those in `rows.parquet`,
in that order, so weights would land on the wrong pairs. Rows were edited, added, removed or reordered, or it is
another dataset.

Example:

    error[T524]: data of another plan: pairs.jsonl has other rows than the plan's pairs.jsonl
      = note: first difference at row 17: planned 5e0c..., found 88d1...; 200 rows planned, 200 found

What to do: give the pinned data back, or harvest and compile again. Harvest reuses nothing that changed, and only
that.""",
    ),
    Code(
        "T525",
        "tokenizer of another plan",
        Severity.ERROR,
        """The tokenizer's chat template, or its vocabulary, differs from what harvest read the data through. Training would
then show the model other tokens than those that the plan was solved on, and a token mask would hide others.

Example: an update of the tokenizer added a default system prompt to its template.

What to do: restore the tokenizer, or harvest and compile again.""",
    ),
    Code(
        "T526",
        "SAE of another plan",
        Severity.ERROR,
        """The plan's groups are feature ids of one SAE, pinned by the digest of its weights. In another SAE the
same ids mean other things.

Example: the plan suppresses feature 1184 of the SAE of layer 15, and `sae:` now leads to the SAE of layer 20.

What to do: give the pinned SAE back, or harvest and compile for the new one.""",
    ),
    Code(
        "T530",
        "run of another plan",
        Severity.ERROR,
        """The run folder was started from another plan, in another mode (tilted, `--plain` or `--control`), or on another number
of processes. Continuing its checkpoints under this plan would give a model that neither plan describes.

Example:

    error[T530]: run of another plan: run was started by another run
      = note: plan: started with 41d0..., now 9c2e...

What to do: choose a new folder with `-o`, or pass `--fresh` to delete what is there and start again.""",
    ),
    Code(
        "T531",
        "method that can't be carried out",
        Severity.ERROR,
        """The training method lacks something on this machine or in this plan: KTO and GRPO need batches that hold a
comparison; GRPO needs something to reward, which without a reward model is the plan's reward terms, each pushing the
way that its signal says, and prompts that are all rendered alike.

Example: `tiltc run --plain` with `train: {method: grpo}` and no `grpo.reward`: nothing is rewarded.

What to do: what the finding says. A reward model is trained by `method: reward`, and lies in `model/` of its run.""",
    ),
    Code(
        "T532",
        "loss without a margin",
        Severity.ERROR,
        """A margin offset is added inside the sigmoid of the DPO loss. The offset is exact for `sigmoid`, `hinge`,
`robust` and `sigmoid_norm`. `ipo` is a squared distance to a fixed target and has no such place, so the plan's
offsets would mean something else than was solved for.

Example:

    train: {loss: ipo}        # with `suppress: flattery, with: reward`

What to do: choose one of the four losses, or carry the signals out with `filter` or `reweight`.""",
    ),
    Code(
        "T533",
        "fused kernel that ignores the plan",
        Severity.ERROR,
        """`liger: true` replaces the model's forward with kernels that compute the loss on their own. Weights and
margin offsets never reach it: the run would look fine and train on the untouched data.

Example: `train: {liger: true}` with a plan that gives some pairs the weight 0.5.

What to do: set `train: {liger: false}`.""",
    ),
    Code(
        "T534",
        "nothing to train on",
        Severity.ERROR,
        """After the plan's rows were dropped, and the pairs whose prompt alone fills `train.max_length`, no pair is
left, or none with a positive weight.

Example:

    error[T534]: nothing to train on: 0 pairs are left, none with a positive weight
      = note: 200 pairs, 120 kept by the plan, 120 of them too long

What to do: raise `train.max_length` or `budget.drop`, or check the data.""",
    ),
    Code(
        "T535",
        "loss is not a number",
        Severity.ERROR,
        """The training loss became NaN or infinite. Nothing after that step means anything, so the run stopped; the
last checkpoint is from before it.

Example:

    error[T535]: loss is not a number: loss is nan at step 40

What to do: lower `train.learning_rate`, raise `train.warmup`, or set `train: {precision: fp32}`.""",
    ),
    Code(
        "T536",
        "unusable row",
        Severity.ERROR,
        """A row of the plan has a negative weight, a weight or offset that is not a finite number, the number of a prompt
or of a vector that the plan does not have, masks tokens that its response does not have, or is kept although it can't be used:
a response without tokens, two that are the same tokens, or one that begins with a foreign role's header.

Example:

    error[T536]: unusable row: 2 rows can't be trained on
      = note: row 17: weight -0.2, margin offset 0.0
      = note: row 52: weight -0.1, margin offset 0.0

What to do: compile again with this version; if it happens again it is a fault of the compiler, please report it.""",
    ),
    Code(
        "T540",
        "plan out of date",
        Severity.ERROR,
        """`tiltc compile --check` compiled the spec again and got another plan than the one that is committed.

Example: the spec, a concept library or the evidence changed, and the plan beside it did not.

What to do: compile again, review what changes with `tiltc diff OLD NEW`, and commit the new plan with the spec.""",
    ),
    Code(
        "T537",
        "adapter above the last layer",
        Severity.ERROR,
        """`train.lora.layers` is the first decoder layer that gets adapters, counted from 0. The model ends below it,
so nothing would be trained.

Example:

    train: {lora: {layers: 30}}        # a model of 30 layers: 0 to 29

What to do: choose a smaller number.""",
    ),
    Code(
        "T538",
        "run folder in use",
        Severity.ERROR,
        """Another process is training into this folder. Two writers would spoil each other's checkpoints.

Example:

    error[T538]: run folder in use: run is in use by process 4711

What to do: wait for it, or choose another folder with `-o`.""",
    ),
    Code(
        "T539",
        "vector that does not fit the model",
        Severity.ERROR,
        """The plan adds a vector or what an adapter says to the residual stream of a layer, or reads a concept by a vector or an
attention probe. The model has no such layer or another width, or the tensor is not in `tools.safetensors`, or it is not finite.

Example:

    error[T539]: vector that does not fit the model: steering 0 (flattery): layer 30, the model's last layer is 29

What to do: compile again with this version; if it happens again it is a fault of the compiler, please report it.""",
    ),
    Code(
        "T543",
        "no room for an instruction",
        Severity.ERROR,
        """The policy reads some chosen responses with an instruction in their prompt. The instruction is not counted
against `train.max_length`, so that the same tokens are trained with it and without. Some pairs are then longer than the
model can read.

Example:

    error[T543]: no room for an instruction: 3 rows are longer than the model's 2048 tokens with their instruction

What to do: make `train.max_length` smaller by the number that the message names, or the instruction shorter.""",
    ),
    Code(
        "T548",
        "no control arm",
        Severity.ERROR,
        """`tiltc run --control` trains by the plan with unrelated sentences in place of the instructions that inoculate, and
leaves all else as it is. Here no row that is kept is read under an instruction, so there is nothing to replace: the run would
be the tilted one over again. The residual form of `inoculate` has no instruction in training either: its offsets come from
the frozen model.

Example: `--control` with a plan of `with: reward`, or of `with: inoculate` without `form: forward`.

What to do: leave `--control` out; against plain training (`--plain`) such a plan has nothing else to be held against.""",
    ),
    Code(
        "T544",
        "rows that the method can't obey",
        Severity.ERROR,
        """Some rows of the plan ask for what the training method has no place for. The training would leave it out, and
another signal would be taught than the one that was reviewed. `tiltc explain T317` has the table.

Example:

    error[T544]: rows that the method can't obey: 40 rows have a `margin_offset`, and train.method is `sft`

What to do: compile the spec with this method; the compiler chooses among the mechanisms that it has.""",
    ),
)
