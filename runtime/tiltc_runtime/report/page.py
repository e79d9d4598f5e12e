"""The report as Markdown and HTML: Jinja2 templates over `Report`, nothing computed that is not in it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from tiltc.figures import code, printable
from tiltc.figures import markdown as escape_markdown
from tiltc.figures import short as short_digest
from tiltc_runtime.findings import Q_COLLATERAL
from tiltc_runtime.report import figures
from tiltc_runtime.report.model import ForecastTest, Report, SampleText
from tiltc_runtime.report.plots import frontier_plot, level_plot, scatter_plot, shift_plot

if TYPE_CHECKING:
    from jinja2 import Environment

FORECAST_NAMES = {"first_step": "First step", "simulated": "Simulated training"}
SHIFT_NAMES = {"tilted": "tilted − start", "plain": "plain − start", "difference": "tilted − plain"}
#: the colour of a verdict
TONES = {
    "suppressed": "good", "kept": "good", "amplified": "good", "kept within noise": "calm", "not measurable": "calm",
    "partly suppressed": "mixed", "partly amplified": "mixed", "overshot": "mixed", "still taught": "mixed",
    "no effect": "mixed", "moved": "bad", "wrong direction": "bad",
}  # fmt: skip

#: what a verdict counts as in the headline where its colour doesn't say it
OUTCOMES = {"kept within noise": "within noise", "not measurable": "not measurable"}


def render_html(report: Report) -> str:
    """One page that loads nothing: styles, figures and script are in it."""
    return _environment().get_template("report.html.j2").render(**_view(report))


def render_markdown(report: Report) -> str:
    return _environment().get_template("report.md.j2").render(**_view(report)).strip("\n") + "\n"


def _view(report: Report) -> dict[str, Any]:
    tests = [test for test in report.forecasts if test.shift == "tilted"]
    return {
        "report": report,
        "signals": [c for c in report.concepts if c.verb],
        "unnamed": [c for c in report.concepts if not c.verb],
        "called": {row.name: row.called for row in report.collateral},
        "q_collateral": Q_COLLATERAL,
        "rate_plot": level_plot(report.concepts, "rate"),
        "score_plot": level_plot(report.concepts, "score"),
        "scatters": [(test, scatter_plot(report.points, test.forecast, test.slope)) for test in tests],
        "shift_plot": shift_plot(report.collateral, Q_COLLATERAL),
        "frontiers": [(frontier, frontier_plot(frontier)) for frontier in report.frontiers],
        "forecast_names": FORECAST_NAMES,
        "shift_names": SHIFT_NAMES,
        "tones": TONES,
        "policies": [
            name for name in ("start", "plain", "control", "tilted") if name in {p.name for p in report.policies}
        ],
        "headline": headline(report),
        "verdict_on_forecast": verdict_on_forecast(report),
    }


def headline(report: Report) -> str:
    """One sentence for people who read one sentence."""
    verdicts = [c.verdict or "not measurable" for c in report.concepts if c.verb]
    counts = Counter(OUTCOMES.get(v) or ("met" if TONES[v] == "good" else "failed") for v in verdicts)
    bad = sum(TONES[v] == "bad" for v in verdicts)
    told = f"{len(verdicts)} {'signal' if len(verdicts) == 1 else 'signals'}: {counts['met']} met beyond noise, "
    told += f"{counts['within noise']} within noise, {counts['failed']} failed"
    told += f" ({bad} of them against the spec)" if bad else ""
    told += f", {counts['not measurable']} not measurable." if counts["not measurable"] else "."
    if any(finding.code == "T608" for finding in report.findings):
        told += " But many rollouts are no language at all: read everything here with that in mind."
    return told


def verdict_on_forecast(report: Report) -> str:
    """What the forecast was worth, in words."""
    tests: list[ForecastTest] = [test for test in report.forecasts if test.shift == "tilted"]
    if not tests:
        return "Too few concepts were measured to test the forecast."
    best = max(tests, key=lambda test: test.r2.value)
    if best.permutation_p > 0.05:
        return "Neither forecast lines up with what was measured better than a shuffled one would."
    text = (
        f"The {FORECAST_NAMES[best.forecast].lower()} forecast explains {figures.share(best.r2.value)} of the variance"
        " of tilted − start"
    )
    if best.noise_ceiling is not None:
        text += f"; with these rollouts a perfect one could reach {figures.share(best.noise_ceiling.value)}"
    return text + "."


def pieces(sample: SampleText) -> list[tuple[str, str]]:
    """The text in runs of (text, concept marked there or empty)."""
    out: list[tuple[str, str]] = []
    at = 0
    for mark in sample.marks:
        out += [(sample.text[at : mark.start], ""), (sample.text[mark.start : mark.end], mark.concept)]
        at = mark.end
    out.append((sample.text[at:], ""))
    return [(printable(text), concept) for text, concept in out if text]


@cache
def _environment() -> Environment:
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    # `page.css`, the look that all pages share, is the compiler's
    loader = ChoiceLoader([PackageLoader("tiltc_runtime.report"), PackageLoader("tiltc")])
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=lambda name: name is not None and ".html" in name,
    )  # fmt: skip
    names = (
        "level",
        "shift",
        "between",
        "share",
        "recovery",
        "number",
        "signed",
        "p_value",
        "brief",
        "amount",
        "against_control",
    )
    filters: Any = environment.filters
    filters |= {name: getattr(figures, name) for name in (*names, "shift_ends")}
    filters |= {"short": short_digest, "printable": printable, "md": escape_markdown, "code": code, "pieces": pieces}
    return environment
