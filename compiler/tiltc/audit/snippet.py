"""From choices on an audit to a spec. Everything is written here once; the page only puts the pieces together.

A choice is the id of a hypothesis or the name of a library concept, with a verb. A cluster's name is made from its label
and is the same whatever else is chosen.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tiltc.audit.model import Audit, ConceptEffect, Context, Hypothesis, ResponseCluster
from tiltc.audit.reference import plain, references, scalar
from tiltc.figures import count, interval, number

VERBS = ("suppress", "keep", "amplify")
LONGEST_NAME, LONGEST_TITLE = 40, 80
#: what a difference of each view is counted in
UNITS = {"feature": "of the cluster's features", "prompt": "sd of the difference"}


@dataclass(frozen=True)
class Choice:
    """What choosing it writes: the signal's concept and gate, and the lines of the comment above it."""

    name: str
    gate: str | None
    comments: tuple[str, ...]


@dataclass(frozen=True)
class Pieces:
    """Of a spec: its head, an entry under `concepts:` by concept name, and the choices that there are."""

    head: str
    entries: dict[str, str]
    choices: dict[str, Choice]


def spec_yaml(audit: Audit, choices: Sequence[tuple[str, str]]) -> str:
    """The spec for these choices; where two ask for the same signal, the later verb holds.

    Raises:
        ValueError: nothing is chosen, or something that is not in the audit.
    """
    if not choices:
        raise ValueError("a spec needs at least one choice")
    made = pieces(audit)
    for key, verb in choices:
        if key not in made.choices or verb not in VERBS:
            raise ValueError(f"no choice `{verb}: {key}` in this audit")
    return assemble(made, choices)


def assemble(made: Pieces, choices: Sequence[tuple[str, str]]) -> str:
    signals: dict[tuple[str, str | None], tuple[str, list[str]]] = {}
    for key, verb in choices:
        choice = made.choices[key]
        before = signals.get((choice.name, choice.gate), ("", []))
        signals[choice.name, choice.gate] = (verb, [*before[1], *choice.comments])
    named = dict.fromkeys(name for pair in signals for name in pair if name in made.entries)
    concepts = "".join(made.entries[name] for name in named)
    written = "".join(_signal(verb, name, gate, comments) for (name, gate), (verb, comments) in signals.items())
    return made.head + (f"concepts:\n{concepts}" if concepts else "") + f"signals:\n{written}"


def _signal(verb: str, name: str, gate: str | None, comments: Iterable[str]) -> str:
    lines = [*(f"  # {line}" for line in comments), f"  - {verb}: {name}", *([f"    when: {gate}"] if gate else [])]
    return "".join(f"{line}\n" for line in lines)


def pieces(audit: Audit) -> Pieces:
    names = cluster_names(audit)
    entries: dict[str, str] = {}
    choices = {concept.name: _of_concept(concept) for concept in audit.concepts}
    contexts = {context.id: context for context in audit.contexts}
    for cluster in audit.responses:
        entries[names[cluster.id]] = _entry(names[cluster.id], cluster)
    for context in audit.contexts:
        if context.view == "prompt":
            entries[names[context.id]] = _entry(names[context.id], context)
    for h in audit.hypotheses:
        context = contexts.get(h.context or "")
        gate = names[context.id] if context is not None and h.view == "prompt" else None
        choices[h.id] = Choice(names[h.response], gate, _comments(h, context))
    return Pieces(_head(audit), entries, choices)


def cluster_names(audit: Audit) -> dict[str, str]:
    """A legal concept name for every cluster and every gate by id: its title as words, with a piece of the id where
    another one has the same title. Prompt clusters begin with `on-`."""
    wanted = {cluster.id: slug(cluster.label.title) for cluster in audit.responses}
    wanted |= {c.id: slug(c.label.title, "on-") for c in audit.contexts if c.view == "prompt"}
    taken = Counter([*wanted.values(), *(concept.name for concept in audit.concepts)])
    for length in (7, 13):
        tail = {key: key.replace("-", "")[:length] for key in wanted}
        names = {key: _unlike(name, tail[key], taken[name] > 1) for key, name in wanted.items()}
        if len(set(names.values())) == len(names):
            return names
    return {key: key for key in wanted}


def _unlike(name: str, tail: str, shared: bool) -> str:
    return f"{name}-{tail}" if shared or name == "cluster" else name


def slug(title: str, prefix: str = "") -> str:
    """Words in ASCII joined by `-`, beginning with a letter and no word that YAML has a meaning for."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", title) if not unicodedata.combining(c))
    words = re.findall(r"[a-z0-9]+", letters.lower().replace("'", ""))
    short = words[:1]
    for word in words[1:]:
        if len("-".join([*short, word])) > LONGEST_NAME:
            break
        short.append(word)
    name = "-".join(short)[:LONGEST_NAME] or "cluster"
    plain_word = name[0].isalpha() and name not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
    return prefix + name if prefix or plain_word else f"the-{name}"


def title(label_title: str) -> str:
    line = plain(label_title)
    return line if len(line) <= LONGEST_TITLE else line[: LONGEST_TITLE - 1] + "…"


def _entry(name: str, cluster: ResponseCluster | Context) -> str:
    gate = isinstance(cluster, Context)
    about = f"{'Prompts' if gate else 'Responses'} like: {title(cluster.label.title)}"
    lines = [f"  {name}:", f"    about: {scalar(about)}", f"    audit: {cluster.id}"]
    return "".join(f"{line}\n" for line in [*lines, *(["    reads: prompt"] if gate else [])])


def _comments(h: Hypothesis, context: Context | None) -> tuple[str, str]:
    where = "over the whole data set"
    if context is not None:
        kind = "where the prompt is like" if h.view == "prompt" else "where the conversation is like"
        where = f'{kind} "{title(context.label.title)}"'
    lean = "chosen" if h.test.delta.value > 0 else "rejected"
    told = f"{interval(h.test.delta)} {UNITS[h.view]}, {_q(h.test.q)}, {count(h.rows)} rows"
    everywhere = "; asked for everywhere" if context is not None and h.view == "feature" else ""
    return f"leans to {lean} {where}:", told + everywhere


def _of_concept(concept: ConceptEffect) -> Choice:
    lean = "chosen" if concept.effect.value > 0 else "rejected"
    told = f"{interval(concept.effect)} sd, {_q(concept.q)}"
    # a library of one's own has to be named again
    own = "" if concept.name.startswith("std.") else "; from your own library: name it under `extends:`"
    return Choice(plain(concept.name), None, (f"leans to {lean} over the whole data set:", told + own))


def _q(value: float) -> str:
    return "q < 0.001" if value < 0.001 else f"q {number(value)}"


def _head(audit: Audit) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", audit.data.name.rsplit("/", 1)[-1].split("@")[0].removeprefix("builtin:").lower())
    return (
        f"# What an audit of {title(audit.data.name)} found, evidence {plain(audit.evidence[:12])}.\n"
        f"tiltc: 1\nname: {('audited-' + name).strip('-')[:60].rstrip('-')}\n{references(audit)}"
    )
