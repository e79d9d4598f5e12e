"""T6xx: effect. What `tiltc verify` finds when rollouts are held against the plan."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

EFFECT: tuple[Code, ...] = (
    Code(
        "T601",
        "no effect",
        Severity.WARNING,
        """\
A signal asked for a change, and the tilted policy can't be told from the plain one: the 95% interval of the
difference contains zero. Either the intervention did nothing, or there are too few rollouts to see it.

Example: `suppress: flattery` where plain training shows flattery in 15.1% of rollouts and the tilted run in 14.0%,
difference -1.1 points (-5.2 to +3.1).

What to do: look at the width of the interval first. If it is wider than the change that was asked for, verify with
more rollouts (`--rollouts 512`). If it is narrow, the plan was too weak: lower `to:`, choose another `with:`, or
train for longer.
""",
    ),
    Code(
        "T602",
        "wrong direction",
        Severity.ERROR,
        """\
The tilted policy differs measurably from the plain one, in the direction opposite to the one that the signal asked
for. A forecast that fails like this must not be shipped.

Example: `suppress: std.style.bold` where plain training shows bold in 12% of rollouts and the tilted run in 24%.

What to do: see in the report whether the detector and the SAE readout disagree (the group may read something else
than the concept), and whether another signal of the spec pulls on a related concept. `readout: detector` takes the SAE
out of it.
""",
    ),
    Code(
        "T603",
        "target missed",
        Severity.WARNING,
        """\
The change went in the direction asked for, but its 95% interval does not reach the target, or it lies beyond it.

Example: `suppress: flattery` where plain training adds 12 points, the tilted run still adds 5 (2 to 8) and the
target is 0.

The strength of a plan is solved for the first step of training. Margins grow while training goes on and can outrun a
fixed offset, so a part of the shift may remain.

What to do: set `strength:` higher, use `with: filter` for concepts that few rows carry, or accept the rest.
""",
    ),
    Code(
        "T604",
        "kept concept moved",
        Severity.ERROR,
        """\
A `keep` signal asked that a concept shift as under plain training. The whole 95% interval of the difference
between the tilted and the plain policy lies outside the tolerance.

Example: `keep: std.style.list` where plain training shows lists in 13.0% of rollouts and the tilted run in 4.1%,
difference -8.9 points (-13.1 to -4.8), tolerance 0.7.

What to do: widen `within:`, or gate the signal that drags the kept concept along with `when:`.
""",
    ),
    Code(
        "T605",
        "effect not measurable",
        Severity.NOTE,
        """\
The rollouts can't say whether the signal was met: plain training does not measurably move the concept on these
prompts, what is to be kept occurs in no rollout of any policy, no prompt expresses the gate, nothing reads the concept, or
there is no baseline run to compare with.

Example: `suppress: flattery` when neither the plain nor the tilted run flatters more than the starting policy.

What to do: give a baseline (`tiltc run PLAN --plain -o BASE`, then `tiltc verify RUN --baseline BASE`), sample more
rollouts, or choose prompts on which the concept can show (`verify: {prompts: my-prompts.jsonl}`).
""",
    ),
    Code(
        "T606",
        "collateral shift",
        Severity.WARNING,
        """\
A concept that no signal names differs between the tilted and the plain policy (q < 0.05 after
Benjamini-Hochberg over everything that was not named). Without a baseline the comparison is with the starting policy.

Example: `suppress: std.style.bold` also lowered std.style.heading by 0.4 sd (q = 0.003).

A group of features that no concept names is told by its title and id; `audit: ID` defines a concept by it.

What to do: if the concept matters, name it with `keep:` and compile again: the finding has the lines.
""",
    ),
    Code(
        "T607",
        "forecast no better than chance",
        Severity.NOTE,
        """\
Across all concepts, the shifts that were forecast do not line up with the shifts that were measured: shuffling the
forecast over the concepts does as well (permutation p > 0.05). Compare with the noise ceiling that is printed beside
it: when that is low too, the rollouts are too few to test any forecast.

Example: over 31 concepts the best R² is 0.04 (permutation p = 0.31) at a noise ceiling of 0.09.

What to do: sample more rollouts; check that training took enough steps to shift anything.
""",
    ),
    Code(
        "T608",
        "degenerate rollouts",
        Severity.WARNING,
        """\
Many rollouts of a policy are no language: empty, hardly a letter in them, or a few words over and over. Rates and
readouts of them mean little, and a concept that is "suppressed" in them is only gone with everything else.

Example: 41% of the tilted policy's rollouts are no language; for the starting policy it is 2%.

What to do: lower the learning rate, train for fewer steps, or ask for less. A forecast holds for a policy that still
writes text.
""",
    ),
    Code(
        "T609",
        "no more than any sentence does",
        Severity.WARNING,
        """\
A signal inoculates, and the tilted policy differs from the plain one; but it can't be told from the control run, in which
sentences that have nothing to do with the concept stood in for the instructions. A fixed sentence makes what is learned
beside it conditional on that sentence, whatever it says, so the effect is not known to be the instruction's.

Example: flattery in 40% of rollouts under plain training, in 20% under the control and in 17% under the tilted run, tilted
minus control -3.0 points (-9.1 to +3.2).

What to do: look at the interval first; more rollouts (`--rollouts 512`) may tell the two apart. If they agree, the model was
taught to show the concept only beside a sentence that it does not see in use, and may show it beside others. Other
mechanisms (`with: reward`, `tokens`) put nothing into the prompt.
""",
    ),
    Code(
        "T610",
        "felt outside of the gate",
        Severity.WARNING,
        """\
A signal has a gate (`when:`), and the tilted policy differs measurably from the plain one where that gate is shut, and those of
all other signals that change the concept. The signal touches none of these pairs, but a policy need not learn the condition
with the rest: what it is taught in some contexts it says in others. Or a signal on a related concept moves this one along.

Example: `amplify: cheer` when `nature`: cheers in 63% of the rollouts under plain training and in 69% under the tilted run where
a prompt is about nature, in 72% and 77% where it is not, tilted minus plain +5.6 points (+1.9 to +9.3).

What to do: see how much more there is inside (`open less shut`). A policy that tells contexts apart can be held where it is by
pairs outside of the gate whose rejected response has the concept, and by a second signal that suppresses it there; one that
doesn't will give up inside what is taken outside. Then decide about the change everywhere: drop the gate, or the signal.
""",
    ),
    Code(
        "T651",
        "prompts can't be read",
        Severity.ERROR,
        """\
`verify: {prompts: ...}` names something that is not a set of prompts. Known are `builtin:general`, `builtin:safety`,
and data files (JSON lines, JSON, Parquet, CSV and so on) whose rows have `prompt` (a string, or a list of messages) or
`messages`. A relative path starts at the spec's folder, or, where there is no such file, at the working directory.

Example: `verify: {prompts: questions.txt}`, or a row that has only `question`. A row that can be read:

    {"prompt": "How do tides work?"}

What to do: correct the name, or bring the file into one of these forms. The note says what was wrong.
""",
    ),
    Code(
        "T652",
        "baseline does not match",
        Severity.ERROR,
        """\
A baseline is the same training on untouched rows: same starting model, data and training settings. The run given to
`--baseline` differs in one of them, so a difference between the two runs would not be the plan's effect.

Example: RUN was trained with `learning_rate: 5.0e-6`, the run given to `--baseline` with `1.0e-5`.

What to do: `tiltc run PLAN --plain -o BASE` with the plan of the run that is verified.
""",
    ),
    Code(
        "T653",
        "run can't be verified",
        Severity.ERROR,
        """\
The folder is not a finished run: `record.json`, `plan/` or `model/` is missing or damaged, or the plan inside is not
the one in the record. Or the run trained a reward model, which scores responses and gives none: there is nothing to sample.

Example:

    error[T653]: run can't be verified: run
      = note: there is no record.json: the run is not finished

What to do: `tiltc run PLAN -o RUN` finishes an interrupted run. `--baseline` takes a run made with `--plain`,
`--control` one made with `--control`, RUN one made with neither.
""",
    ),
    Code(
        "T655",
        "control does not match",
        Severity.ERROR,
        """\
A control is the same training by the same plan, with unrelated sentences in place of the instructions that inoculate. The
run given to `--control` differs in more than that: in its starting model, data, training settings, rows, instructions or
steering, or in the number of processes. A difference between the two runs would not be that of the instructions' content.

Example: the control was trained by a plan of `fraction: 50%`, RUN by one that inoculates all rows that lean to the concept.

What to do: `tiltc run PLAN --control -o CONTROL` with the plan of the run that is verified. Only the sentences themselves
may be others (`control:` on the signal).
""",
    ),
    Code(
        "T654",
        "run is no point of this sweep",
        Severity.ERROR,
        """\
`--sweep` puts verified runs of one signal at several strengths side by side. A run that was not verified, or with other
prompts, settings, starting policy or baseline, or whose plan changes other signals, can't be compared with the rest.

Example: RUN suppresses `flattery` and was verified with 192 rollouts, the run given to `--sweep` with 128.

What to do: `tiltc verify` every run of the sweep with the same `--baseline` and the same settings, then once more the
one whose report shall show the frontier.
""",
    ),
)
