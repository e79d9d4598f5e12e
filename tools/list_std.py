"""Write the list of std concepts into docs/concepts.md, or check with `--check` that it is current."""

from __future__ import annotations

import sys
from pathlib import Path

from tiltc.spec import Concept
from tiltc.std import FAMILIES, concepts

PAGE = Path(__file__).resolve().parents[1] / "docs" / "concepts.md"
BEGIN, END = "<!-- std: begin -->\n", "<!-- std: end -->\n"


def listing() -> str:
    """One table a family: name, kind of definition, what it is about."""
    return "\n".join(_family(family) for family in FAMILIES)


def _family(family: str) -> str:
    rows = [f"| `{name}` | {_kind(concept)} | {concept.about} |" for name, concept in concepts(family).items()]
    return "\n".join([f"### std.{family}\n", "| name | defined by | about |", "|---|---|---|", *rows]) + "\n"


def _kind(concept: Concept) -> str:
    least = f", at least {concept.at_least}" if concept.at_least > 1 else ""
    return concept.kind + least


def main() -> int:
    page = PAGE.read_text("utf-8")
    head, rest = page.split(BEGIN)
    current = head + BEGIN + "\n" + listing() + "\n" + END + rest.split(END)[1]
    if "--check" not in sys.argv:
        PAGE.write_text(current, "utf-8")
    elif current != page:
        print("docs/concepts.md is not current: run python tools/list_std.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
