"""The name itself: a concept if one is near, else a label that came with the features, else words."""

from __future__ import annotations

from collections.abc import Sequence

from tiltc.audit.model import Label, Nearest, Snippet

#: a cluster that detects a concept this well is called by its name
NEAR = 0.9
JOIN = " · "
NAMELESS = "(no distinctive words)"


def make_label(
    terms: Sequence[str], nearest: Sequence[Nearest], imported: Sequence[str], snippets: Sequence[Snippet]
) -> Label:
    title, source = NAMELESS, "none"
    if nearest and nearest[0].auroc.value >= NEAR:
        short = nearest[0].concept.rsplit(".", 1)[-1]
        title, source = JOIN.join([short, *[term for term in terms if term != short][:2]]), "concept"
    elif imported:
        title, source = imported[0], "imported"
    elif terms:
        title, source = JOIN.join(terms[:3]), "terms"
    return Label(
        title=title, source=source, terms=tuple(terms), snippets=tuple(snippets), nearest=tuple(nearest),
        imported=tuple(imported),
    )  # fmt: skip
