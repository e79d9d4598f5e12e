"""Rows as they were found, taken for pairs: in which form, with the prompt from where, and what was left out."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tiltc.canonical import canonical_json, sha256_text
from tiltc.data.forms import BESIDE, LABELS, QUESTIONS, SYSTEMS, Form, form_of
from tiltc.data.kinds import Fault, Row, Scan
from tiltc.data.pair import Pair, Text, plain_text
from tiltc.data.printed import printed_columns, printed_fault
from tiltc.data.rows import Parts, parts_of, split
from tiltc.data.turns import WEAK, cut_all
from tiltc.diagnostics import Diagnostics
from tiltc.printing import one_line
from tiltc.spec import FileRef, HubRef

#: at most this many rows, or columns, are named in a finding
NAMED = 5
#: a guessed prompt of fewer characters is nearly empty
NEARLY_EMPTY = 4
#: a share of rows: a column that says nothing in as many is as good as none
NEARLY_ALL = 0.95


@dataclass(frozen=True)
class Wish:
    """What a spec says of its data: columns under other names, and how many rows may be left out, as a share or a count."""

    columns: Mapping[str, str] = field(default_factory=dict)
    skip: float | int = 0

    @classmethod
    def of(cls, ref: str | FileRef | HubRef) -> Wish:
        """What a reference of a spec says."""
        return cls() if isinstance(ref, str) else cls({str(k): v for k, v in ref.columns.items()}, ref.skip)

    def allowed(self, rows: int) -> int:
        return self.skip if isinstance(self.skip, int) else int(self.skip * rows)


@dataclass(frozen=True)
class Taken:
    """The pairs of a data set, the number of each one's row in it from 1, and in a line what was taken for what."""

    pairs: list[Pair]
    numbers: list[int]
    line: str


@dataclass(frozen=True)
class _Read:
    """A row that can be used: its number, and its parts."""

    number: int
    parts: Parts


def take(scan: Scan, name: str, wish: Wish | None = None) -> tuple[Taken | None, Diagnostics]:
    """The pairs of rows in any one of the forms that trainers and hub sets have (`forms.py`).

    Args:
        name: of the data set, for findings.

    Findings: T515 to T517 and T550 to T554; T514 for what the scan could not read.
    """
    found = Diagnostics()
    wish = wish or Wish()
    columns = frozenset(key for row in scan.rows for key in row)
    if missing := [column for column in wish.columns.values() if column not in columns]:
        _missing(missing, columns, name, found, mapped=True)
        return None, found
    rows = [_renamed(row, wish.columns) for row in scan.rows] if wish.columns else scan.rows
    form = form_of(rows, frozenset(key for row in rows for key in row), "system" in wish.columns)
    if not rows and scan.faults:
        _left_out(list(scan.faults), [], _NONE, Wish(), name, found)
        return None, found
    if form is None:
        wanted = [column for column in ("chosen", "rejected") if column not in columns]
        _missing(wanted, columns, name, found)
        return None, found
    read, faults = _read(rows, scan, form)
    read = _one_form(read, faults, wish, name, found)
    read = _asked_once(read, faults)
    _left_out(faults, read, form, wish, name, found)
    if found.failed:
        return None, found
    split_up, origins = _split_all(read, form)
    found_so = split_up
    split_up = _without_repeats(split_up, name, found)
    repeated = sum(now is not then for now, then in zip(split_up, found_so, strict=True))
    _check_prompts(split_up, origins, rows, form, name, found, sure="prompt" in wish.columns)
    _check_unread(rows, form, name, found)
    _check_labels(rows, form, name, found)
    _check_margins(read, name, found)
    if found.failed:
        return None, found
    pairs = _identified(split_up, read, form)
    return Taken(
        pairs, [r.number for r in read], _line(pairs, origins, repeated, rows, form, scan, len(faults), name)
    ), found


def normalise(rows: Sequence[Row], name: str) -> tuple[list[Pair] | None, Diagnostics]:
    """Rows in any one of the accepted forms -> pairs; every row must be one. See `take`."""
    taken, found = take(Scan.of(list(rows)), name)
    return (taken.pairs if taken else None), found


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """A row with columns under the names that they are mapped to; what had such a name gives way."""
    rest = {key: value for key, value in row.items() if key not in columns.values() and key not in columns}
    return {**rest, **{role: row.get(column) for role, column in columns.items()}}


def _missing(
    wanted: Sequence[str], columns: Iterable[str], name: str, found: Diagnostics, *, mapped: bool = False
) -> None:
    there = sorted(columns)
    plain = {column.lower(): column for column in there}
    near = {w: next(iter(difflib.get_close_matches(w, plain, 1, 0.8)), None) for w in (*wanted, "prompt")}
    pairs = {w: plain[n] for w, n in near.items() if n is not None and plain[n] != w}
    helps: list[str] = []
    if pairs and not mapped:
        spelt = ", ".join(f"{w}: {column}" for w, column in pairs.items())
        helps = [f"name the columns: `data: {{file: {name}, columns: {{{spelt}}}}}`"]
    if {"response_1", "response_2"} <= set(there) or {"response_0", "response_1"} <= set(there):
        helps = ["make `chosen` and `rejected` of the two responses by the column that says which is better"]
    notes = [f"columns found: {_listed(there, 20, quoted=False)}"]
    lacking = " and no ".join(f"`{column}`" for column in wanted)
    found.add("T515", None, f"{name} has no {lacking}", notes=notes, helps=helps)


def _read(rows: Sequence[Row], scan: Scan, form: Form) -> tuple[list[_Read], list[Fault]]:
    read: list[_Read] = []
    faults = list(scan.faults)
    printed = printed_columns(rows, form.reads)
    for row, number in zip(rows, scan.numbers, strict=True):
        made = printed_fault(row, printed) or form.make(row)
        parts = made if isinstance(made, str) else parts_of(made, row)
        if isinstance(parts, str):
            faults.append(Fault(number, f"row {number}:", parts))
        else:
            read.append(_Read(number, parts))
    return read, sorted(faults, key=lambda fault: fault.number)


def _one_form(
    read: list[_Read], faults: list[Fault], wish: Wish, name: str, found: Diagnostics
) -> list[_Read]:  # fmt: skip
    """The rows of the form that most have. T517 where the others are more than may be left out."""
    counts = Counter(r.parts.form for r in read)
    if len(counts) < 2:
        return read
    usual = counts.most_common(1)[0][0]
    others = [r for r in read if r.parts.form != usual]
    if len(others) + len(faults) > wish.allowed(len(read) + len(faults)):
        first = {form: next(r.number for r in read if r.parts.form == form) for form in counts}
        notes = [f"{counts[form]} rows have {form}, the first is row {first[form]}" for form in counts]
        found.add(
            "T517", None, f"{name} has rows of {len(counts)} forms", notes=notes, helps=[_skip_help(len(others), name)]
        )
    faults += [Fault(r.number, f"row {r.number}:", f"has {r.parts.form}") for r in others]
    return [r for r in read if r.parts.form == usual]


def _asked_once(read: list[_Read], faults: list[Fault]) -> list[_Read]:
    """Rows whose responses don't begin by asking behind a prompt that has asked; those that all do are `_without_repeats`."""
    made = {r.number: split(r.parts) for r in read if not isinstance(r.parts.chosen, str)}
    twice = {number for number, row in made.items() if _asks_again(*row)}
    again = {number for number in twice if _repeats(*made[number])}
    if 2 * len(again) >= sum(bool(prompt) for prompt, *_ in made.values()):
        twice -= again
    faults += [Fault(n, f"row {n}:", "the prompt has asked, and a response asks again") for n in sorted(twice)]
    return [r for r in read if r.number not in twice]


def _asks_again(prompt: Text, *sides: Text) -> bool:
    """Whether a turn of the user's is followed by one that is none of the assistant's, at which a response begins."""
    turns = [side[0] for side in sides if side and not isinstance(side, str)]
    asked = bool(prompt) and not isinstance(prompt, str) and prompt[-1]["role"] == "user"
    return asked and any(turn["role"] in ("user", "system") for turn in turns)


def _left_out(
    faults: list[Fault], read: list[_Read], form: Form, wish: Wish, name: str, found: Diagnostics
) -> None:  # fmt: skip
    """Rows that can't be used are named; more of them than the spec allows are an error."""
    if not faults or found.failed:
        return
    total = len(read) + len(faults)
    notes = [fault.text for fault in sorted(faults, key=lambda fault: fault.number)[:NAMED]]
    if len(faults) <= wish.allowed(total):
        found.add("T553", None, f"{len(faults)} of {total} rows of {name} are left out", notes=notes)
        return
    unreadable = all(not fault.where.endswith(":") for fault in faults)
    kind = "can't be read" if unreadable else "are no responses" if form.single else "are no preference pairs"
    code = "T514" if unreadable else "T516"
    found.add(
        code,
        None,
        f"{len(faults)} of {total} rows of {name} {kind}",
        notes=notes,
        helps=[_skip_help(len(faults), name)] if 2 * len(faults) < total else [],
    )


def _skip_help(count: int, name: str) -> str:
    return f"repair them, or leave them out: `data: {{file: {name}, skip: {count}}}`, or a share such as `skip: 1%`"


def _split_all(read: Sequence[_Read], form: Form) -> tuple[list[tuple[Text, Text, Text]], list[str]]:
    """Prompt, chosen and rejected of every row, and in words where its prompt is from."""
    texts = {i: r.parts for i, r in enumerate(read) if r.parts.prompt is None and isinstance(r.parts.chosen, str)}
    cuts = dict(zip(texts, cut_all([(str(p.chosen), str(p.rejected)) for p in texts.values()]), strict=True))
    made: list[tuple[Text, Text, Text]] = []
    origins: list[str] = []
    for i, r in enumerate(read):
        if (cut := cuts.get(i)) is not None:
            made.append((cut.prompt, cut.chosen, cut.rejected))
            origins.append(f"cut at `{cut.marker}`" if cut.marker else SHARED)
        else:
            made.append(split(r.parts))
            origins.append(form.prompt if r.parts.prompt is not None else "shared turns")
    return made, origins


#: the form of a data set of which no row can be read
_NONE = Form("", "", frozenset(), lambda _: "")
#: how a prompt is called that nothing marks
SHARED = "shared beginning"
_WEAKLY = frozenset(f"cut at `{marker}`" for marker in WEAK)


def _without_repeats(
    made: list[tuple[Text, Text, Text]], name: str, found: Diagnostics
) -> list[tuple[Text, Text, Text]]:
    """Prompts that the responses repeat are taken off where all do. T552 where many do and some don't."""
    asked = [i for i, (prompt, *_) in enumerate(made) if len(prompt)]
    again = [i for i in asked if _repeats(*made[i])]
    if not again or 2 * len(again) < len(asked):
        return made
    repeating = frozenset(again)
    if len(again) < len(asked):
        other = next(j for j in asked if j not in repeating)
        notes = [f"row {i + 1} begins with its prompt, row {other + 1} does not" for i in again[:1]]
        helps = ["take the prompt off the responses, or leave `prompt` out where the responses hold it"]
        text = f"the responses of {len(again)} of {len(asked)} rows of {name} begin with their prompt"
        found.add("T552", None, text, notes=notes, helps=helps)
        return made
    return [
        (p, c[len(p) :], r[len(p) :] if len(r) else r) if i in repeating else made[i]
        for i, (p, c, r) in enumerate(made)
    ]


def _repeats(prompt: Text, chosen: Text, rejected: Text) -> bool:
    """Whether both responses, or the only one, begin with the prompt and go on."""
    sides = [side for side in (chosen, rejected) if len(side) and plain_text(side).strip()]
    return bool(sides) and all(len(side) > len(prompt) and side[: len(prompt)] == prompt for side in sides)


def _check_prompts(
    made: Sequence[tuple[Text, Text, Text]], origins: Sequence[str], rows: Sequence[Row], form: Form, name: str,
    found: Diagnostics, *, sure: bool,
) -> None:  # fmt: skip
    """T550 where prompts are (nearly) empty beside texts that are not read; T551 where nothing marks where they end."""
    guessed = [i for i, origin in enumerate(origins) if origin == SHARED]
    unread = _asking(rows, form)
    asks = any(column.lower() in (*QUESTIONS, "prompt") for column in unread)
    # a short prompt that was found is one, such as `1+1`; a guess of as many letters is none
    short = [NEARLY_EMPTY if origin == SHARED or asks else 1 for origin in origins]
    said = [len(plain_text(prompt).strip() if prompt else "") for prompt, *_ in made]
    empty = sum(length < least for length, least in zip(said, short, strict=True))
    text = (
        f"the prompts of {empty} of {len(made)} rows of {name} are empty or nearly so, and {_listed(unread)} not read"
    )
    if (
        unread
        and 2 * empty > len(made)
        and form.prompt
        and (sure or not asks or said.count(0) < NEARLY_ALL * len(made))
    ):
        found.add("T554", None, text, notes=[f"the form has its prompts from {form.prompt}"])
    elif unread and 2 * empty > len(made):
        mapped = f"`data: {{file: {name}, columns: {{prompt: {unread[0]}}}}}`"
        found.add("T550", None, text, helps=[f"say which column asks: {mapped}"])
    elif guessed:
        prompt, chosen, _ = made[guessed[0]]
        notes = [f"the first ends with {str(prompt)[-40:]!r}, and its chosen response begins with {str(chosen)[:40]!r}"]
        helps = [
            "give the prompts in a column `prompt`: words that both responses begin with are taken for the prompt's"
        ]
        text = f"{len(guessed)} of {len(made)} prompts of {name} are what both responses begin with"
        found.add("T551", None, text, notes=notes, helps=helps)
    if not found.failed:
        _check_weak(made, origins, name, found)


def _check_weak(
    made: Sequence[tuple[Text, Text, Text]], origins: Sequence[str], name: str, found: Diagnostics
) -> None:  # fmt: skip
    """T551 where what marks the end of prompts may stand in any text."""
    weak = [i for i, origin in enumerate(origins) if origin in _WEAKLY]
    if not weak:
        return
    prompt, chosen, _ = made[weak[0]]
    notes = [
        f"the first ends with {str(prompt)[-40:]!r}, and its chosen response begins with {str(chosen)[:40]!r}",
        "texts have such a line for other reasons too",
    ]
    text = f"{len(weak)} of {len(made)} prompts of {name} are {Counter(origins[i] for i in weak).most_common(1)[0][0]}"
    found.add(
        "T551", None, text, notes=notes, helps=["where they end elsewhere, give the prompts in a column `prompt`"]
    )


def _asking(rows: Sequence[Row], form: Form) -> list[str]:
    """Columns that are not read and could be the prompt: those of a name for it, and those of running text."""
    unread = _unread(rows, form)
    named = [column for column in unread if column.lower() in (*QUESTIONS, *SYSTEMS, "prompt")]
    return named or [column for column in unread if _is_prose(rows, column)]


def _is_prose(rows: Sequence[Row], column: str) -> bool:
    texts = [value for row in rows[:200] if isinstance(value := row.get(column), str)]
    return bool(texts) and sum(len(text.split()) >= 3 for text in texts) > len(texts) // 2


def _unread(rows: Sequence[Row], form: Form) -> list[str]:
    """Columns of text that are not read, in the order of their names."""
    looked = rows[:1000]
    columns = sorted({key for row in looked for key in row} - form.reads - BESIDE)
    kinds = {column: (str, int, float) if column in LABELS else str for column in columns}
    return [column for column in columns if any(isinstance(row.get(column), kinds[column]) for row in looked)]


def _check_unread(rows: Sequence[Row], form: Form, name: str, found: Diagnostics) -> None:
    """T554: a system prompt that the form does not read."""
    there = {key for row in rows for key in row}
    told = [
        c
        for c in SYSTEMS
        if c in there - form.reads and any(isinstance(row.get(c), str) and row[c].strip() for row in rows)
    ]
    if told:
        helps = [f"to have it read, `data: {{file: {name}, columns: {{system: {told[0]}}}}}`"]
        found.add(
            "T554", None, f"`{told[0]}` of {name} is not read: rows with a `prompt` are taken as they are", helps=helps
        )


def _check_labels(rows: Sequence[Row], form: Form, name: str, found: Diagnostics) -> None:
    """T554: a label beside single responses that says neither true nor false, so that all are taken for wanted."""
    there = [c for c in LABELS if c not in form.reads and any(row.get(c) is not None for row in rows)]
    if form.single and there and not form.reads & {*LABELS}:
        first = next(row[there[0]] for row in rows if row.get(there[0]) is not None)
        text = f"`{there[0]}` of {name} is not read: most are neither true nor false, and all responses are taken for wanted"
        helps = ["if it says which responses are wanted, write true and false, or 1 and 0"]
        found.add("T554", None, text, notes=[f"the first is {first!r}"[:120]], helps=helps)


def _check_margins(read: Sequence[_Read], name: str, found: Diagnostics) -> None:
    """T554: a margin in some rows and none, or no number, in others."""
    lacking = [r.number for r in read if r.parts.margin is None]
    if lacking and len(lacking) < len(read):
        text = f"`margin` of {name} is no number in {len(lacking)} of {len(read)} rows, the first is row {lacking[0]}"
        found.add("T554", None, text, notes=["`method: reward` takes 0 there"])


def _identified(made: Sequence[tuple[Text, Text, Text]], read: Sequence[_Read], form: Form) -> list[Pair]:
    """Give every row its id; the k-th repeat of a row gets `-k`."""
    seen: Counter[str] = Counter()
    pairs: list[Pair] = []
    for (prompt, chosen, rejected), r in zip(made, read, strict=True):
        template, margin = r.parts.template, r.parts.margin
        # a reward model learns another thing from another margin; none is that of 0
        told = [template] * bool(template) + [{"margin": margin}] * bool(margin)
        content: list[Any] = [prompt, chosen, rejected, *told]
        row_id = sha256_text(canonical_json(content))[:16]
        repeat = seen[row_id]
        seen[row_id] += 1
        group = sha256_text(canonical_json(prompt))[:16]
        pair = Pair(row_id, group, prompt, chosen, rejected, template, form.single, margin)
        pairs.append(replace(pair, row_id=f"{row_id}-{repeat}") if repeat else pair)
    return pairs


def _line(
    pairs: Sequence[Pair], origins: Sequence[str], repeated: int, rows: Sequence[Row], form: Form, scan: Scan,
    left_out: int, name: str,
) -> str:  # fmt: skip
    kind = ", messages" if pairs and pairs[0].conversational else ", text"
    counts = Counter(origins)
    one = len(counts) == 1
    prompts = ", ".join(
        origin + ("" if one and "cut" not in origin else f" in {n}") for origin, n in counts.most_common()
    )
    parts = [f"{name}: {len(pairs)} rows read as {form.words}{kind}", f"prompt: {prompts or 'none'}"]
    if repeated:
        parts.append(f"taken off the responses of {repeated}, which began with it")
    if form.single and (bad := sum(pair.status == "unwanted" for pair in pairs)):
        parts.append(f"{len(pairs) - bad} wanted, {bad} unwanted")
    if scan.split:
        parts.append(f"split {scan.split}" + (f" of {', '.join(scan.splits)}" if len(scan.splits) > 1 else ""))
    if scan.files > 1:
        parts.append(f"from {scan.files} files")
    if margins := sum(pair.margin is not None for pair in pairs):
        parts.append(f"`margin` in {margins}, for `method: reward` alone")
    if left_out:
        parts.append(f"{left_out} rows left out")
    if unread := _unread(rows, form):
        parts.append(f"not read: {_listed(unread)}")
    return one_line("; ".join(parts))


def _listed(names: Sequence[str], most: int = NAMED, *, quoted: bool = True) -> str:
    shown = ", ".join(f"`{name}`" if quoted else name for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
