"""Titles from a language model, if one is named: any endpoint with OpenAI's `/chat/completions`. Off by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tiltc.audit.model import Label
from tiltc.diagnostics import Diagnostics
from tiltc.endpoint import Endpoint, Refused, Unreachable, answer_file, keep_answer, kept_answer, objects, shown
from tiltc.figures import one_line
from tiltc.render.screen import printable
from tiltc.templating import render_template

KEY = "TILTC_LABELLER_KEY"
#: characters of a title
LONGEST = 80
#: answers without a title at the start after which the others are not asked for
HOPELESS = 5


@dataclass(frozen=True)
class Labeller:
    """A model behind an endpoint, such as `http://127.0.0.1:8000/v1`.

    Attributes:
        cache: folder of answers by the sha256 of model and prompt; what is in it is not asked again.
        pause: seconds before the second attempt; each further pause is twice as long.
    """

    endpoint: str
    model: str
    cache: Path
    pause: float = 1.0

    def title(self, prompt: str) -> str | None:
        """What the model calls it; None when its answer holds no title.

        Raises:
            Unreachable: when there is no answer.
            Refused: when there is none to this question.
        """
        file = answer_file(self.cache, self.model, prompt)
        known = parse_title(kept_answer(file))
        if known is not None:
            return known
        title = parse_title(Endpoint(self.endpoint, self.model, KEY, self.pause).ask(prompt))
        if title is not None:
            keep_answer(file, {"title": title})
        return title


def relabel(
    labeller: Labeller, labels: Sequence[Label], say: Callable[[str], object]
) -> tuple[list[Label], Diagnostics]:
    """The labels with the model's titles. Where it has none, the name from the data stays. Finds T702."""
    out, found, odd = list(labels), Diagnostics(), 0
    refusals: dict[str, None] = {}
    for i, label in enumerate(labels):
        try:
            title = labeller.title(render_template("label.txt.j2", label=label))
        except Unreachable as problem:
            note = f"{len(labels) - i} of {len(labels)} clusters keep the names made from the data"
            found.add("T702", None, f"{shown(labeller.endpoint)}: {problem}", notes=[note])
            break
        except Refused as problem:
            title = None
            refusals[f"some questions were refused: {problem}"] = None
        odd += title is None
        if title is not None:
            out[i] = label.model_copy(update={"title": title, "source": "llm"})
        if odd == i + 1 == HOPELESS < len(labels):
            refusals["the others were not asked about"] = None
            odd = len(labels)
            break
        say(f"named {i + 1} of {len(labels)} clusters")
    if odd:
        text = f"{shown(labeller.endpoint)}: `{one_line(labeller.model)}` gave no title for {odd} of {len(labels)} clusters"
        found.add("T702", None, text, notes=refusals)
    return out, found


def parse_title(answer: str) -> str | None:
    """The `title` of the first JSON object in an answer that has one, whatever is written around it."""
    titles = (read.get("title") for read in objects(answer))
    return next((printable(one_line(t))[:LONGEST] for t in titles if isinstance(t, str) and one_line(t)), None)
