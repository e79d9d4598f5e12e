"""What is said of rows whose tokens and text differ: T560 to T563."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from tiltc.diagnostics import Diagnostics, Span
from tiltc.evidence.trained import Difference, Differences, Example, Kind

if TYPE_CHECKING:
    from tiltc.evidence.read import Evidence

#: rows that a note names
NAMED = 2

_SAID: Final[dict[Kind, str]] = {
    "no_tokens": "nothing of a response is among its tokens, so the row is `empty`",
    "left_out": "text of a response is left out",
    "rewritten": "text of a response is changed",
    "same_tokens": "both responses are the same tokens, so the row is `identical`",
    "header": "a response begins with the header of a role that the generation prompt does not name",
    "prompt": "text of the prompt is left out or changed",
}
_HELPS: Final[dict[Kind, str]] = {
    "no_tokens": "name the roles as the chat template knows them: user, assistant",
    "left_out": "use a chat template that keeps the text, or take out of the data what is not to be trained",
    "rewritten": "use a chat template and a tokenizer that keep the text as it is",
    "same_tokens": "where responses part only beyond `train.max_length`, raise it",
    "header": "name the roles as the chat template knows them: user, assistant",
}


def said_of(evidence: Evidence, at: Span | None) -> Diagnostics:
    """What is to be said of the rows of some evidence."""
    data = evidence.manifest.data
    return untrained(evidence.differences, data.rows, data.name, at)


def untrained(differences: Differences, rows: int, name: str, at: Span | None) -> Diagnostics:
    """Findings about data of `rows` rows: T561 where most of them are not trained as they read, else T560; T562, T563."""
    found = Diagnostics()
    _changed(differences, rows, name, at, found)
    kinds = differences.kinds
    if difference := kinds.get("no_prefix"):
        text = (
            f"in {difference.rows} of {rows} rows of {name} the prompt alone ends in tokens that the sequence has not"
        )
        notes = [
            f"row {e.row}: the prompt ends in {_quoted(e.text)}, the sequence goes on with {_quoted(e.tokens)}"
            for e in difference.examples[:NAMED]
        ]
        helps = [
            "use a chat template that renders a prompt alike with and without its response, or end texts at a token"
        ]
        found.add("T562", at, text, notes=notes, helps=helps)
    if difference := kinds.get("no_generation_prompt"):
        header = _quoted(difference.examples[0].tokens)
        text = f"the responses of {difference.rows} of {rows} rows of {name} begin with {header}"
        helps = [
            "let the chat template end with the header of the assistant's turn where `add_generation_prompt` is set"
        ]
        found.add("T563", at, text, helps=helps)
    return found


def _changed(differences: Differences, rows: int, name: str, at: Span | None, found: Diagnostics) -> None:
    present: dict[Kind, Difference] = {kind: d for kind, d in differences.kinds.items() if kind in _SAID}
    if not present:
        return
    text = f"{differences.unread} of {rows} rows of {name} are not trained as they read"
    if not differences.unread:
        text = f"the prompts of {present['prompt'].rows} of {rows} rows of {name} are not those that the model reads"
    notes = [_note(kind, difference) for kind, difference in present.items()]
    helps = dict.fromkeys(_HELPS[kind] for kind in present if kind in _HELPS)
    found.add("T561" if 2 * differences.unread > rows else "T560", at, text, notes=notes, helps=helps)


def _note(kind: Kind, difference: Difference) -> str:
    examples = "; ".join(_example(kind, e) for e in difference.examples[:NAMED])
    return f"{difference.rows} {'row' if difference.rows == 1 else 'rows'}: {_SAID[kind]}: {examples}"


def _example(kind: Kind, example: Example) -> str:
    if kind in ("same_tokens", "header"):
        return f"row {example.row} {_quoted(example.tokens)}"
    return f"row {example.row} ({example.side}) has {_quoted(example.text)}, its tokens {_quoted(example.tokens)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
