"""An audit as one page that loads nothing: a Jinja2 template, styles, script and the data in one file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

from tiltc.audit.model import Audit, ConceptEffect, Noise
from tiltc.audit.payload import payload, script_json
from tiltc.audit.summary import SIGNIFICANT, tests
from tiltc.figures import count, number, printable, share, short, signed

if TYPE_CHECKING:
    from jinja2 import Environment

VIEWS = (("whole", "The whole data set"), ("feature", "Where is it rewarded?"), ("prompt", "What do prompts bring?"))
#: pieces of the script, in the order in which they stand
SCRIPTS = ("dom", "data", "spec", "state", "figures", "maps", "concepts", "ranking", "card", "panel", "start")


def render_html(audit: Audit) -> str:
    """One page that loads nothing."""
    return _environment().get_template("audit.html.j2").render(**_values(audit))


def _values(audit: Audit) -> dict[str, Any]:
    return {
        "audit": audit,
        "headline": headline(audit),
        "settings": {key.replace("_", " "): value for key, value in audit.settings.model_dump().items()},
        "views": VIEWS,
        "noise": [(_family(n.view, n.whole), n) for n in audit.noise],
        "tests": tests(audit.noise),
        "scripts": [f"{name}.js" for name in SCRIPTS],
        "payload": script_json(payload(audit)),
    }


def headline(audit: Audit) -> str:
    """One sentence for people who read one sentence."""
    return _remaining(audit) if audit.plan else f"{_taught(audit.concepts)} {_found(audit.noise)}"


def _found(noise: Sequence[Noise]) -> str:
    found, made = count(sum(n.found for n in noise)), count(sum(n.tests for n in noise))
    chance = number(sum(n.found_swapped for n in noise), 1)
    return f"{found} of {made} tests stand out at q < {SIGNIFICANT}; with labels swapped at random, {chance} do on average."


def _taught(concepts: Sequence[ConceptEffect]) -> str:
    clear = [c for c in concepts if c.q < SIGNIFICANT]
    if not clear:
        return "No library concept stands out over the whole data set."
    ends = [max(clear, key=lambda c: c.effect.value), min(clear, key=lambda c: c.effect.value)]
    told = [_moved(c, up) for c, up in zip(ends, (True, False), strict=True) if (c.effect.value > 0) is up]
    return f"Over the whole data set, training would move {' and '.join(told)} the furthest."


def _moved(concept: ConceptEffect, up: bool) -> str:
    return f"{printable(concept.name)} {'up' if up else 'down'} ({signed(concept.effect.value, 2)} sd)"


def _remaining(audit: Audit) -> str:
    """What is left under the plan of everything that stands out today."""
    clear = [h for h in audit.hypotheses if h.test.q < SIGNIFICANT and h.test.planned is not None]
    if not clear:
        return "Nothing stands out today, so the plan has nothing to take away."
    beyond = sum(abs(h.test.planned or 0.0) > h.test.noise for h in clear)
    left = median(abs(h.test.planned or 0.0) / abs(h.test.delta.value) for h in clear if h.test.delta.value)
    told = f"With plan {short(audit.plan or '')}, {share(left, 0)} of a typical difference remains: "
    return told + f"{count(beyond)} of the {count(len(clear))} that stand out today still exceed what label swaps make."


def _family(view: str, whole: bool) -> str:
    return f"{'Whole data set' if whole else 'Contexts'}, {view} view"


@cache
def _environment() -> Environment:
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader("tiltc.audit"), PackageLoader("tiltc")]), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, autoescape=lambda name: name is not None and ".html" in name,
    )  # fmt: skip
    filters: dict[str, Any] = {"number": number, "count": count, "share": share, "short": short, "printable": printable}
    environment.filters |= filters  # type: ignore[operator]
    return environment
