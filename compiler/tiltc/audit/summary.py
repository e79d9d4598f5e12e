"""An audit in the terminal: the data, what it teaches overall, and the strongest of each view."""

from __future__ import annotations

from collections.abc import Sequence

from tiltc.audit.model import Audit, ConceptEffect, Hypothesis, Noise
from tiltc.audit.titles import titles
from tiltc.figures import count, interval, number, one_line, share, short, signed, table
from tiltc.templating import render_template

#: hypotheses and concepts that are listed, and columns for a title
TOP, CONCEPTS, TITLE = 10, 6, 30
SIGNIFICANT = 0.05
#: of the statistic of a view
UNITS = {"feature": "share", "prompt": "sd"}


def summary(audit: Audit) -> str:
    """What `tiltc audit` prints, ending in a newline."""
    return render_template(
        "audit.txt.j2",
        audit=audit,
        facts=_facts(audit),
        cautions=[one_line(caution) for caution in audit.cautions],
        concepts=_concepts(audit),
        more=max(0, len(audit.concepts) - CONCEPTS),
        parts=[_whole(audit), _view(audit, "feature"), _view(audit, "prompt")],
    )


def _facts(audit: Audit) -> str:
    s = audit.settings
    rows = f"{count(s.usable)} of {count(s.rows)} {'pairs' if s.design == 'paired' else 'matched rows'}"
    against = f" against {one_line(audit.reference.name)}" if audit.reference else ""
    told = f"{one_line(audit.data.name)}{against}: {rows}, {count(s.prompts)} prompts; read by {one_line(audit.model.name)}"
    told += f" through {one_line(audit.sae.name)}; evidence {short(audit.evidence)}"
    return told + (f"; with plan {short(audit.plan)}" if audit.plan else "")


def _concepts(audit: Audit) -> str:
    header = ["concept", "effect (sd)", "at equal length", "q", "in chosen", "in rejected"]
    rows = [_concept_row(concept) for concept in audit.concepts[:CONCEPTS]]
    if audit.plan:
        header.append("with the plan")
        rows = [[*row, signed(c.planned)] for row, c in zip(rows, audit.concepts, strict=False)]
    return table(header, rows) if rows else "  none of the library's concepts occurs often enough"


def _concept_row(concept: ConceptEffect) -> list[str]:
    name = _cut(concept.name, TITLE + 4)
    figures = [interval(concept.effect), interval(concept.effect_length), _q(concept.q)]
    return [name, *figures, share(concept.chosen_rate), share(concept.rejected_rate)]


def _whole(audit: Audit) -> dict[str, object]:
    told = sorted((h for h in audit.hypotheses if h.context is None), key=_beyond_length)
    noise = [n for n in audit.noise if n.whole]
    return _part("Over the whole data set", _header(audit, "unit"), _rows(audit, told[:TOP]), noise)


def _view(audit: Audit, view: str) -> dict[str, object]:
    asked = {"feature": "Where is it rewarded? (feature view)", "prompt": "What do prompts bring? (prompt view)"}
    told = [h for h in audit.hypotheses if h.view == view and h.context is not None]
    noise = [n for n in audit.noise if n.view == view and not n.whole]
    return _part(asked[view], _header(audit, "context"), _rows(audit, told[:TOP]), noise)


def _part(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], noise: Sequence[Noise]
) -> dict[str, object]:
    return {"title": title, "tests": tests(noise), "table": table(header, rows) if rows else "  nothing to report"}


def tests(noise: Sequence[Noise]) -> str:
    """How many tests, and how many of them count against how many would by chance."""
    if not noise:
        return "not tested"
    made, found = sum(n.tests for n in noise), sum(n.found for n in noise)
    chance = sum(n.found_swapped for n in noise)
    return f"{count(made)} tests, {count(found)} at q < {SIGNIFICANT}, {number(chance, 1)} in the mean label swap"


def _header(audit: Audit, first: str) -> list[str]:
    planned = ["planned"] if audit.plan else []
    return [first, "response", "leans to", "delta", "at equal length", *planned, "d", "q", "noise"]


def _rows(audit: Audit, told: Sequence[Hypothesis]) -> list[list[str]]:
    names = titles(audit)
    return [_row(h, names, bool(audit.plan)) for h in told]


def _row(h: Hypothesis, called: dict[str, str], plan: bool) -> list[str]:
    names = [_cut(called[h.context], TITLE) if h.context else UNITS[h.view], _cut(called[h.response], TITLE)]
    figures = [signed(h.test.d, 2), _q(h.test.q), number(h.test.noise)]
    planned = [signed(h.test.planned)] if plan else []
    controlled = signed(h.test.delta_length.value if h.test.delta_length else None)
    return [*names, lean(h.test.delta.value), interval(h.test.delta), controlled, *planned, *figures]


def lean(value: float) -> str:
    return "chosen" if value > 0 else "rejected" if value < 0 else "neither"


def _beyond_length(h: Hypothesis) -> tuple[float, str]:
    """By d at equal length: over everything, most of what differs is that one side is longer. In units of sd both views
    compare."""
    delta, controlled = h.test.delta.value, h.test.delta_length
    remains = 1.0 if controlled is None or delta == 0 else controlled.value / delta
    return (-abs(h.test.d * remains), h.id)


def _q(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if 0 < value < 0.001 else number(value)


def _cut(text: str, most: int) -> str:
    line = one_line(text)
    return line if len(line) <= most else line[: most - 1] + "…"
