"""T1xx: source and syntax."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.codes.files import FILES
from tiltc.diagnostics import Severity

ERROR, WARNING = Severity.ERROR, Severity.WARNING

_SOURCE = (
    Code(
        "T101",
        "unreadable file",
        ERROR,
        """\
A spec, or a library that it extends, can't be opened: it is not there, is a folder, or may not be read.
Paths are relative to the file that names them.

Example:

    extends: [./team-concept.yaml]      # the file is called team-concepts.yaml

What to do: correct the path.""",
    ),
    Code(
        "T102",
        "oversized file",
        ERROR,
        """\
A spec or library may have a million bytes. It is written and reviewed by people, so a larger file was most likely
named by mistake. It is refused before it is read. Beyond 200,000 values in all, a spec and its libraries are not read on.

Example:

    tiltc lint preferences.jsonl

What to do: name the spec. Long lists of examples belong in a file that `examples:` points at.""",
    ),
    Code(
        "T103",
        "text that is not UTF-8",
        ERROR,
        """\
The file has bytes that are not UTF-8, so its text would depend on who reads it.

Example:

    about: a caf\\xe9                    # saved as Latin-1

What to do: save the file as UTF-8. A byte order mark is accepted.""",
    ),
    Code(
        "T104",
        "invisible character",
        ERROR,
        """\
The file has a control character, an unusual line break or a mark that changes the direction of text. A reviewer
can't see it, and what is read would differ from what is seen.

Example:

    pattern: "sorry\\u202e"             # as the character itself, not as this escape

What to do: delete it, or write it as an escape in double quotes.""",
    ),
    Code(
        "T105",
        "malformed YAML",
        ERROR,
        """\
The text is no YAML. The place is where the reader gave up, which may be a line after the fault.

Example:

    about: Note: this needs quotes       # a value with a colon and a space

What to do: look for a missing quote or bracket, a tab, or a value that has `: ` or starts with `@`, `%` or a
backtick.""",
    ),
    Code(
        "T106",
        "duplicate key",
        ERROR,
        """\
A mapping gives a key twice. Most YAML readers silently keep the last one.

Example:

    train:
      beta: 0.1
      beta: 0.2

What to do: keep one of them.""",
    ),
    Code(
        "T107",
        "anchor or alias",
        ERROR,
        """\
Anchors (`&name`) and aliases (`*name`) are not read: they hide what a line says from its reader, and a few lines of
them can stand for more text than a machine holds.

Example:

    train: &settings {beta: 0.1}
    verify: *settings

What to do: write the value out, or move shared concepts to a library and use `extends:`. A text that starts
with `*` or `&` goes in quotes.""",
    ),
    Code(
        "T108",
        "YAML tag",
        ERROR,
        """\
Tags (`!!str`, `!include`) are not read: the schema says what type each value has.

Example:

    name: !!str plain

What to do: leave the tag out. A text that starts with `!` goes in quotes.""",
    ),
    Code(
        "T109",
        "more than one document",
        ERROR,
        """\
A `---` line starts a second document. A spec is one document.

Example:

    tiltc: 1
    ---
    tiltc: 1

What to do: make two files.""",
    ),
    Code(
        "T110",
        "deep nesting",
        ERROR,
        """\
Collections within collections, more than 32 deep. A spec needs six.

Example:

    meta: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]

What to do: flatten it.""",
    ),
    Code(
        "T111",
        "empty file",
        ERROR,
        """\
The file has nothing but white space and comments.

Example:

    # TODO

What to do: `tiltc init policy.yaml` writes a spec to start from.""",
    ),
    Code(
        "T112",
        "file that is no mapping",
        ERROR,
        """\
A spec or library is a mapping from keys to values. This file holds a list or a single value.

Example:

    - suppress: std.style.bold           # belongs under `signals:`

What to do: start the file with `tiltc: 1`.""",
    ),
    Code(
        "T113",
        "key that is no word",
        ERROR,
        """\
A key of a mapping is a list or a mapping itself, most often because braces were left without quotes.

Example:

    about: {{name}}                      # reads as a mapping with a mapping for its key

What to do: put the text in quotes.""",
    ),
)

_SCHEMA = (
    Code(
        "T114",
        "unusable concept name",
        ERROR,
        """\
Concept names are typed in specs, on command lines and in tables, so they have letters, digits, `.`, `_` and `-`
only.

Example:

    concepts:
      polite refusal: {about: Declines., words: [sorry]}

What to do: write `polite-refusal`.""",
    ),
    Code(
        "T120",
        "unknown key",
        ERROR,
        """\
The schema is closed: a key that it does not know is an error, because a misspelt setting that is silently ignored
trains the wrong model.

Example:

    train: {learning_rat: 1.0e-5}

What to do: correct the key. `tiltc schema spec` prints all of them. Notes of your own go under `meta:`.""",
    ),
    Code(
        "T121",
        "missing key",
        ERROR,
        """\
A key that has no default is not given.

Example:

    allow:
      - code: T150                       # `because:` is missing

What to do: add the key.""",
    ),
    Code(
        "T122",
        "unfit value",
        ERROR,
        """\
A value has the wrong type, is out of range, or is none of the choices. Unquoted `yes`, `no`, `on` and `off` are
booleans to many YAML readers, so they never count as text.

Example:

    train: {epochs: twice}
    concepts:
      denial: {about: Says no., words: [no]}

What to do: write a value of the kind that the message asks for; put a text that looks like something else in
quotes.""",
    ),
    Code(
        "T123",
        "unknown version",
        ERROR,
        """\
`tiltc:` gives the version of the spec language. This tiltc reads version 1.

Example:

    tiltc: 2

What to do: write `tiltc: 1`, or use the tiltc that the spec was written for.""",
    ),
    Code(
        "T124",
        "signal without one verb",
        ERROR,
        """\
A signal says one thing about one concept: `suppress`, `keep` or `amplify`.

Example:

    signals:
      - suppress: std.style.bold
        keep: std.style.list             # the hyphen is missing

What to do: give each signal exactly one verb.""",
    ),
    Code(
        "T125",
        "concept without one definition",
        ERROR,
        """\
A concept is defined by exactly one kind of evidence: `pattern`, `words`, `surface`, `examples`, `contrast`,
`label` or `features`. With two, it would not be known which of them the name means.

Example:

    concepts:
      playful: {about: Light and teasing.}

What to do: keep one. For two kinds of evidence of one idea, define two concepts and name a common parent.""",
    ),
    Code(
        "T126",
        "empty definition",
        ERROR,
        """\
A definition that nothing can match: an empty list or pattern, a blank word, a feature id below zero.

Example:

    concepts:
      thanks: {about: Thanks the user., words: []}

What to do: fill it in.""",
    ),
    Code(
        "T127",
        "unfit override",
        ERROR,
        """\
`--set` takes `path.to.key=value`. The path must lead to a key of the spec language; the value is read as YAML
and checked as if it stood in the file. List items go by number, from 0.

Example:

    tiltc lint policy.yaml --set train.bta=0.2

What to do: correct the path. `tiltc schema spec` prints the keys.""",
    ),
    Code(
        "T128",
        "variable outside a path",
        ERROR,
        """\
`${VAR}` is read from the environment in paths only: `data: {file: ...}`, `extends`, `examples` and `questions`.
Anywhere else the same spec would mean different things on different machines.

Example:

    train: {beta: '${BETA}'}

What to do: write the value, and change it for one run with `--set train.beta=0.2`, which the plan records.""",
    ),
    Code(
        "T129",
        "unset variable",
        ERROR,
        """\
A path has a `${VAR}` that the environment does not have, in a file that must be read now.

Example:

    extends: ['${TEAM}/concepts.yaml']   # TEAM is not set

What to do: set it, or write the path relative to the spec.""",
    ),
)

_NAMES = (
    Code(
        "T130",
        "circular extends",
        ERROR,
        """\
A library extends itself, directly or through others, so there is no order in which to read them.

Example:

    # a.yaml                             # b.yaml
    extends: [b.yaml]                    extends: [a.yaml]

What to do: move what both need to a third library.""",
    ),
    Code(
        "T131",
        "shadowed concept",
        WARNING,
        """\
A concept is defined under a name that a library has already. The definition nearer to the spec wins, and
readers who know the library are misled.

Example:

    concepts:
      std.style.bold: {about: Our own idea of bold., pattern: '<b>'}

What to do: give it a name of its own, or allow T131 with the reason.""",
    ),
    Code(
        "T132",
        "unknown concept",
        ERROR,
        """\
A signal, a gate or a `parents:` entry names a concept that neither the spec, nor what it extends, nor `std`
defines. Names are never guessed.

Example:

    signals:
      - suppress: std.style.blod

What to do: correct the name. `tiltc concepts --spec policy.yaml` lists what is known.""",
    ),
    Code(
        "T133",
        "circular parents",
        ERROR,
        """\
A concept is its own ancestor. A parent is the wider concept, so the relation can't go round.

Example:

    concepts:
      praise: {about: Praises., words: [great], parents: [warmth]}
      warmth: {about: Is warm., words: [dear], parents: [praise]}

What to do: take out the parent that is not the wider concept.""",
    ),
    Code(
        "T134",
        "gate that reads the response",
        ERROR,
        """\
`when:` chooses pairs by their prompt, which both responses share. A concept about responses can't choose pairs.

Example:

    signals:
      - suppress: std.stance.hedging
        when: std.style.list

What to do: use a concept with `reads: prompt`, such as those under `std.topic`.""",
    ),
    Code(
        "T135",
        "signal that reads the prompt",
        ERROR,
        """\
A signal changes what the data teaches about responses. A concept with `reads: prompt` is the same for both
responses of a pair, so there is no gap between them to change.

Example:

    signals:
      - amplify: std.topic.creative-writing

What to do: use it as a gate (`when:`) of a signal about responses.""",
    ),
    Code(
        "T136",
        "repeated signal",
        ERROR,
        """\
The same verb, concept and gate are given twice. If their settings differ, it is not known which are meant.

Example:

    signals:
      - suppress: std.style.bold
      - suppress: std.style.bold
        with: filter

What to do: keep one of them.""",
    ),
    Code(
        "T137",
        "amplify that does not amplify",
        WARNING,
        """\
The target of an `amplify` is what the data teaches today, or less, so nothing is amplified.

Example:

    signals:
      - amplify: std.tone.playful
        to: 1x

What to do: ask for more than `1x`, or write `keep:`. To weaken a concept, `suppress` it with `to:` a share.""",
    ),
    Code(
        "T138",
        "two readouts of one concept",
        ERROR,
        """\
Two signals name the same concept and ask for different readouts. A concept has one readout in a plan: its gap
would otherwise mean two things under one name.

Example:

    signals:
      - suppress: std.style.bold
        readout: sae
        when: std.topic.code
      - keep: std.style.bold
        readout: detector
        when: std.topic.history

What to do: ask for one of them, or define the concept again under a second name.""",
    ),
    Code(
        "T139",
        "nobody to be apart from",
        ERROR,
        """\
`apart_from:` leaves of a signal what its concept has beyond others. Here there are no others: the concept has no
parents or siblings, the spec keeps nothing else, or the concept itself is in the list.

Example:

    signals:
      - suppress: std.stance.flattery
        apart_from: parents

What to do: name the concepts that are meant (`apart_from: [std.stance.agreement]`), or give the definition `parents:`.""",
    ),
)

_FILES = (
    Code(
        "T140",
        "invalid pattern",
        ERROR,
        """\
A `pattern:` is no regular expression, or matches the empty text and with it everything. Patterns are those of
Python's `regex` package.

Example:

    concepts:
      aside: {about: Text in brackets., pattern: '(\\([^)]*\\)'}

What to do: balance the brackets; escape `( ) [ ] { } . * + ? | ^ $ \\` where they are meant as text; use single
quotes, in which YAML leaves backslashes alone.""",
    ),
    Code(
        "T141",
        "pattern that runs away",
        ERROR,
        """\
A `pattern:` needs time that explodes with the length of a repetitive text: two repeats can share the same
characters in very many ways, and all are tried. Harvesting would stand still at the first such response.

Example:

    concepts:
      shouting: {about: All capitals., pattern: '([A-Z]+ ?)+!'}

What to do: make sure that what one repeat takes, the next can't: `[A-Z]+(?: [A-Z]+)*!`, or make it possessive:
`(?:[A-Z]+ ?)++!`.""",
    ),
    Code(
        "T143",
        "missing examples",
        ERROR,
        """\
The file of contrastive examples that defines a concept is not there. Its path is relative to the file with the
definition.

Example:

    concepts:
      playful: {about: Light and teasing., examples: playfull.jsonl}

What to do: correct the path, or add the file: one JSON object a line, with `prompt`, `response` and `label` (1
shows the concept, 0 does not).""",
    ),
    Code(
        "T144",
        "cluster of the other side",
        ERROR,
        """\
An audit finds clusters of prompt features (`p-`) and of response features (`g-` and `d-`). A definition must read the
side that its cluster belongs to.

Example:

    concepts:
      about-cooking: {about: Asks about cooking., audit: p-1f0c9a62b3d4}

What to do: write `reads: prompt` for a `p-` cluster, which makes it a gate, and leave `reads` out for the others.""",
    ),
    Code(
        "T145",
        "unusable contrast",
        ERROR,
        """\
A `contrast:` compares the starting model's answers under system prompts that ask for a concept with those under
prompts that ask for its absence. It can show nothing where the two sides say the same, or are not of the same number.
`kept_by:` must name a concept that reads responses and has a detector: `pattern`, `words` or `surface`.

Example:

    concepts:
      playful: {about: Light and teasing., contrast: {positive: Be playful., negative: Be playful.}}

What to do: write as many negative prompts as positive ones, each the opposite of its counterpart.""",
    ),
    Code(
        "T146",
        "missing questions",
        ERROR,
        """\
The file of questions that a `contrast:` asks under both system prompts is not there, or no set of questions that comes
with tiltc has this name. A path is relative to the file with the definition.

Example:

    concepts:
      playful: {about: Light., contrast: {positive: Be playful., negative: Be earnest., questions: builtin:genral}}

What to do: write `builtin:general`, `builtin:safety`, or the path of a JSON lines file with a `prompt` in each line.""",
    ),
    Code(
        "T150",
        "unpinned revision",
        WARNING,
        """\
A model or data set on the Hub is named without a commit, or by a branch or tag. What it holds can change under
the spec. The plan still pins what was found, and is refused once that changes.

Example:

    data: {hub: allenai/Dolci-Instruct-DPO, revision: main}

What to do: write the full commit hash, which the Hub shows under "Files and versions".""",
    ),
    Code(
        "T151",
        "allow of an unknown code",
        ERROR,
        """\
`allow:` names a code that this tiltc does not have, so it allows nothing.

Example:

    allow: [{code: T999, because: we know}]

What to do: copy the code from the finding. `tiltc explain` lists them.""",
    ),
    Code(
        "T152",
        "allow of an error",
        ERROR,
        """\
Only warnings can be allowed. An error means that no plan can be made, so there is nothing to go on with.

Example:

    allow: [{code: T132, because: will be defined later}]

What to do: take it out and mend the error.""",
    ),
    Code(
        "T153",
        "unused allow",
        WARNING,
        """\
`allow:` names a warning that does not occur. Left in, it would hide the warning when it comes back for another
reason.

Example:

    allow: [{code: T150, because: pinned by our mirror}]     # and everything is pinned

What to do: take it out.""",
    ),
    Code(
        "T168",
        "unknown SAE release",
        ERROR,
        """\
The installed sae-lens lists the releases that it can load and the ids of their SAEs, and this one is not among them.
A release written `owner/name` is taken for a repository on the Hub, which needs no entry. Without sae-lens nothing is
said here, and `tiltc harvest` finds out.

Example:

    sae: {release: gpt2-small-res-jbx, id: blocks.8.hook_resid_pre}

What to do: take the name from SAELens' table of pretrained SAEs, or install the version of sae-lens that lists it.""",
    ),
    Code(
        "T169",
        "features without an SAE",
        ERROR,
        """\
The spec says `sae: none`, so nothing of the model's inside is read, and something in it is: a concept by features (the
readout of a signal that names none), by a direction or probe, a gate that is a cluster of features, or steering, which
happens where an SAE reads.

Example:

    sae: none
    signals:
      - suppress: shout

What to do: write `readout: detector` where the concept has one (`pattern`, `words`, `surface`), or name an SAE.""",
    ),
)

SYNTAX: tuple[Code, ...] = (*_SOURCE, *_SCHEMA, *_NAMES, *_FILES, *FILES)
