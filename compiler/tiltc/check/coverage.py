"""Which tool can carry out which mechanism. One table: the rule (T326), its page, `auto` and `docs/mechanisms.md` read it.

A tool is what `readout:` names, or what steers by `by:`. It is covered by the paper (arXiv 2606.12360, its table of tools and
interventions), covered here beyond the paper for the reason that is given, or refused for the reason that is given. A new tool
is a row in each of the three; a test sees that none of its cells is left open.
"""

from __future__ import annotations

#: what carries a signal out, in the order of the table; the forward form of `inoculate` is another question than the residual
WAYS = ("filter", "reweight", "reward", "tokens", "steer", "inoculate", "inoculate forward")

#: the tool that reads nothing: `by: reft`
ADAPTER = "reft"

#: tool -> ways of the paper. It knows no weights, and inoculates in the forward form
PAPER: dict[str, frozenset[str]] = {
    "sae": frozenset({"tokens", "reward", "steer"}),
    "direction": frozenset({"tokens", "reward", "steer"}),
    "probe": frozenset({"tokens", "reward", "steer"}),
    "probe-pairwise": frozenset({"tokens", "reward", "steer"}),
    "attention": frozenset({"tokens", "reward"}),
    "detector": frozenset({"filter", "inoculate forward"}),
    ADAPTER: frozenset({"steer"}),
}

_GAP = "it asks for the pair's gap and nothing else, and every readout has one"
_SAYS_HOW_FAR = "the offset is the instruction's; the readout says how far it has to go"

#: (tool, way) -> why it is covered here and not in the paper
WIDENED: dict[tuple[str, str], str] = {
    ("sae", "filter"): _GAP,
    ("sae", "reweight"): _GAP,
    ("sae", "inoculate"): _SAYS_HOW_FAR,
    (
        "sae",
        "inoculate forward",
    ): "the group is silent on texts without the concept, so its gap flags rows as a pattern does",
    ("direction", "filter"): "the paper itself drops pairs by a direction's gap, for safeguards",
    ("direction", "reweight"): _GAP,
    ("direction", "inoculate"): _SAYS_HOW_FAR,
    ("probe", "filter"): _GAP,
    ("probe", "reweight"): _GAP,
    ("probe", "inoculate"): _SAYS_HOW_FAR,
    ("probe-pairwise", "filter"): _GAP,
    ("probe-pairwise", "reweight"): _GAP,
    ("probe-pairwise", "inoculate"): _SAYS_HOW_FAR,
    ("attention", "filter"): _GAP,
    ("attention", "reweight"): _GAP,
    ("attention", "inoculate"): _SAYS_HOW_FAR,
    ("detector", "reweight"): _GAP,
    ("detector", "reward"): _GAP,
    ("detector", "inoculate"): _SAYS_HOW_FAR,
}

_READS_NOTHING = (
    "an adapter changes what the model says and reads nothing: a text has no score by it, and a pair no gap"
)
_IS_TOLD = "a model that is told to show the concept is not steered, and there is nothing for an adapter to do"
_LEANS = "a projection or logit is never nothing, so half of all pairs lean to any concept: it flags no rows"

#: (tool, way) -> why it is refused
REFUSED: dict[tuple[str, str], str] = {
    ("direction", "inoculate forward"): _LEANS,
    ("probe", "inoculate forward"): _LEANS,
    ("probe-pairwise", "inoculate forward"): _LEANS,
    ("attention", "inoculate forward"): _LEANS,
    (
        "attention",
        "steer",
    ): "what it reads off a token depends on those before it: no vector in the residual stream says that",
    ("detector", "tokens"): "a detector reads texts, and says nothing of single tokens",
    ("detector", "steer"): "a detector has no vector that could be added to the residual stream",
    (ADAPTER, "filter"): _READS_NOTHING,
    (ADAPTER, "reweight"): _READS_NOTHING,
    (ADAPTER, "reward"): _READS_NOTHING,
    (ADAPTER, "tokens"): _READS_NOTHING,
    (ADAPTER, "inoculate"): _IS_TOLD,
    (ADAPTER, "inoculate forward"): _IS_TOLD,
}


def way(mechanism: str, form: str | None) -> str:
    """The column of the table that a signal's `with:` and `form:` fall under."""
    return "inoculate forward" if (mechanism, form) == ("inoculate", "forward") else mechanism


def written(tool: str) -> str:
    """How a spec asks for a tool."""
    return f"by: {tool}" if tool == ADAPTER else f"readout: {tool}"


def refusal(tool: str, mechanism: str, form: str | None = None) -> str | None:
    """Why a tool can't carry out a mechanism, None where it can."""
    return REFUSED.get((tool, way(mechanism, form)))


def tools_for(mechanism: str, form: str | None = None) -> tuple[str, ...]:
    """The tools that can carry out a mechanism."""
    return tuple(tool for tool in PAPER if refusal(tool, mechanism, form) is None)


def cell(tool: str, column: str) -> str:
    """`paper`, `wider` or `-`."""
    return "paper" if column in PAPER[tool] else "wider" if (tool, column) in WIDENED else "-"


def page() -> str:
    """The table as text, with the reasons below it: what `tiltc explain T326` prints."""
    rows = [("", *WAYS), *((_row(tool), *(cell(tool, column) for column in WAYS)) for tool in PAPER)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    reasons = [f"{_row(tool)}, {column}: {why}" for (tool, column), why in REFUSED.items()]
    return "\n".join(f"    {line}".rstrip() for line in [*table, "", *reasons])


def markdown() -> str:
    """The table and its reasons as they stand in `docs/mechanisms.md`."""
    marks = {"paper": "yes", "wider": "yes*", "-": "no"}
    head = ["| `readout:` | " + " | ".join(WAYS) + " |", "| --- |" + " --- |" * len(WAYS)]
    rows = [f"| `{_row(r)}` | " + " | ".join(marks[cell(r, column)] for column in WAYS) + " |" for r in PAPER]
    return "\n".join([*head, *rows, "", *_reasons("yes*", WIDENED), "", *_reasons("no", REFUSED)]) + "\n"


def _row(tool: str) -> str:
    """The name of a tool's row, in a table of readouts."""
    return written(tool) if tool == ADAPTER else tool


def _reasons(mark: str, cells: dict[tuple[str, str], str]) -> list[str]:
    """One line a reason, with all cells that it stands for."""
    by_reason: dict[str, list[str]] = {}
    for (tool, column), why in cells.items():
        by_reason.setdefault(why, []).append(f"`{_row(tool)}` {column}")
    return [f"- {mark}: {', '.join(named)}: {why}" for why, named in by_reason.items()]
