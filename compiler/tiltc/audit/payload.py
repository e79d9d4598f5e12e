"""What the page's script reads: the audit as compact tables, and the pieces of every spec that could be chosen.

A table is `{"columns": [...], "rows": [[...]]}`. Texts are made printable, and places in them are counted as a browser
counts, in UTF-16 units.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tiltc.audit.model import Audit, ConceptEffect, Context, Example, Hypothesis, Label, Pair, ResponseCluster
from tiltc.audit.snippet import pieces
from tiltc.audit.titles import titles
from tiltc.figures import printable
from tiltc.plan import Interval

T = TypeVar("T")
Cell = Callable[[T], Any]
Mark = tuple[int, int]


def script_json(value: object) -> str:
    """JSON that is safe inside a `<script>` element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace").decode("utf-8")


def payload(audit: Audit) -> dict[str, Any]:
    made, called = pieces(audit), titles(audit)
    cluster: dict[str, Cell[Any]] = CLUSTER | {"title": lambda c: shown(called[c.id])}
    return {
        "plan": audit.plan is not None,
        "concepts": _table(CONCEPT, audit.concepts),
        "responses": _table(cluster | RESPONSE, audit.responses),
        "contexts": _table(cluster | CONTEXT, audit.contexts),
        "hypotheses": _table(HYPOTHESIS | {"examples": lambda h: _examples(h, audit.pairs)}, audit.hypotheses),
        "pairs": [[pair.row_id, *map(shown, (pair.prompt, pair.chosen, pair.rejected))] for pair in audit.pairs],
        "noise": [noise.model_dump() for noise in audit.noise],
        "spec": {
            "head": made.head,
            "entries": made.entries,
            "choices": {key: [c.name, c.gate, c.comments] for key, c in made.choices.items()},
        },
    }


def shown(text: str) -> str:
    """As the page shows it: no control or direction characters; its length stays."""
    return printable(text.replace("\r", " ").replace("\u2028", " ").replace("\u2029", " "))


def utf16(text: str, marks: Sequence[Mark]) -> list[list[int]]:
    """Places in `text`, from characters to UTF-16 units."""
    if text.isascii() or max(text) <= "\uffff":
        return [list(mark) for mark in marks]
    return [[len(text[:at].encode("utf-16-le", "surrogatepass")) // 2 for at in mark] for mark in marks]


def _table(columns: dict[str, Cell[T]], items: Sequence[T]) -> dict[str, Any]:
    return {"columns": list(columns), "rows": [[cell(item) for cell in columns.values()] for item in items]}


def _ends(value: Interval | None) -> list[float] | None:
    return None if value is None else [value.value, value.low, value.high]


def _snippets(label: Label) -> list[list[Any]]:
    return [[shown(s.text), *utf16(s.text, [(s.start, s.end)])[0]] for s in label.snippets]


def _examples(h: Hypothesis, pairs: Sequence[Pair]) -> list[list[Any]]:
    return [[e.pair, e.value, *_marks(e, pairs[e.pair])] for e in h.examples]


def _marks(example: Example, pair: Pair) -> list[list[list[int]]]:
    return [utf16(pair.chosen, example.chosen), utf16(pair.rejected, example.rejected)]


CONCEPT: dict[str, Cell[ConceptEffect]] = {
    "id": lambda c: shown(c.name),
    "about": lambda c: shown(c.about),
    "delta": lambda c: _ends(c.effect),
    "length": lambda c: _ends(c.effect_length),
    "p": lambda c: c.p,
    "q": lambda c: c.q,
    "agrees": lambda c: c.agrees,
    "noise": lambda c: c.noise,
    "chosen": lambda c: c.chosen_rate,
    "rejected": lambda c: c.rejected_rate,
    "planned": lambda c: c.planned,
}
CLUSTER: dict[str, Cell[Any]] = {
    "id": lambda c: c.id,
    "view": lambda c: c.view,
    "features": lambda c: c.features,
    "terms": lambda c: [shown(term) for term in c.label.terms],
    "snippets": lambda c: _snippets(c.label),
    "nearest": lambda c: [[shown(n.concept), *(_ends(n.auroc) or [])] for n in c.label.nearest],
    "imported": lambda c: [shown(label) for label in c.label.imported],
    "x": lambda c: c.x,
    "y": lambda c: c.y,
}
RESPONSE: dict[str, Cell[ResponseCluster]] = {
    "chosen": lambda c: c.chosen_share,
    "rejected": lambda c: c.rejected_share,
}
CONTEXT: dict[str, Cell[Context]] = {
    "rows": lambda c: c.rows,
    "prompts": lambda c: [shown(prompt) for prompt in c.prompts],
}
HYPOTHESIS: dict[str, Cell[Hypothesis]] = {
    "id": lambda h: h.id,
    "view": lambda h: h.view,
    "context": lambda h: h.context,
    "response": lambda h: h.response,
    "rows": lambda h: h.rows,
    "inside": lambda h: h.mean_inside,
    "outside": lambda h: h.mean_outside,
    "delta": lambda h: _ends(h.test.delta),
    "length": lambda h: _ends(h.test.delta_length),
    "difference": lambda h: h.test.delta_difference,
    "d": lambda h: h.test.d,
    "z": lambda h: h.test.z,
    "p": lambda h: h.test.p,
    "q": lambda h: h.test.q,
    "min": lambda h: h.test.delta_min,
    "agrees": lambda h: h.test.agrees,
    "noise": lambda h: h.test.noise,
    "planned": lambda h: h.test.planned,
    "passes": lambda h: h.passes,
}
