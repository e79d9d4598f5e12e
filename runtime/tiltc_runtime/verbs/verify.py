"""`tiltc verify RUN`: sample from a trained model and test the forecast."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tiltc.verbs import CLEAN, FINDINGS, UsageError, Verb, add_store_flag

if TYPE_CHECKING:
    from tiltc.diagnostics import Diagnostics
    from tiltc_runtime.report.model import ConceptOutcome, Report

INTERRUPTED = 130
FORMATS = ("text", "json", "markdown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, as `tiltc run` left it")
    parser.add_argument("--baseline", type=Path, metavar="RUN", help="run folder of `tiltc run PLAN --plain`")
    parser.add_argument(
        "--control", type=Path, metavar="RUN",
        help="run folder of `tiltc run PLAN --control`: how much of an inoculation any sentence would do",
    )  # fmt: skip
    parser.add_argument(
        "--sweep", type=Path, nargs="+", default=[], metavar="RUN",
        help="verified runs of the same training at other strengths: their frontier goes into the report",
    )  # fmt: skip
    parser.add_argument("--rollouts", type=_at_least_two, metavar="N", help="per policy (default: what the plan says)")
    parser.add_argument("--format", choices=FORMATS, default="text", help="how the result is written (default: text)")
    parser.add_argument("--deny", choices=["warnings"], help="exit with 1 on warnings too")
    add_store_flag(parser)


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    from tiltc_runtime.verification import VERIFY_FOLDER, verify

    for folder in filter(None, (args.run, args.baseline, args.control, *args.sweep)):
        if not folder.is_dir():
            raise UsageError(f"no run folder `{folder}`")

    def say(line: str) -> None:
        err.write(line + "\n")
        err.flush()

    try:
        report, found = verify(
            args.run,
            args.store.parent / "rollouts",
            baseline=args.baseline,
            control=args.control,
            sweep=args.sweep,
            rollouts=args.rollouts,
            say=say,
        )
    except KeyboardInterrupt:
        say("interrupted: finished batches are kept; the same command goes on from there")
        return INTERRUPTED
    out.write(_result(report, found, args.format, args.run / VERIFY_FOLDER / "report.html"))
    return _exit_code(found, args.deny)


def _at_least_two(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError("a whole number from 2 on")
    return int(text)


def _exit_code(found: Diagnostics, deny: str | None) -> int:
    warned = any(d.severity == "warning" for d in found)
    return FINDINGS if found.failed or (warned and deny == "warnings") else CLEAN


def _result(report: Report | None, found: Diagnostics, format: str, page: Path) -> str:
    from tiltc.canonical import canonical_json
    from tiltc.render import render
    from tiltc_runtime.report.page import render_markdown

    if report is None:
        return render(found, "json" if format == "json" else "text")
    if format == "json":
        return canonical_json(report)
    if format == "markdown":
        return render_markdown(report)
    return f"{summary_table(report)}\n{render(found)}\n{page}\n"


def summary_table(report: Report) -> str:
    """One line per signal: levels, forecast and verdict, as text."""
    from tiltc.figures import table
    from tiltc_runtime.report.figures import NONE, against_control, shift
    from tiltc_runtime.report.page import headline, verdict_on_forecast

    against = "tilted - plain" if report.has_baseline else "tilted - start"
    policies = ("start", "plain", *(["control"] if report.has_control else []), "tilted")
    # `tiltc show` has the shares that the first step leaves
    header = ("signal", *policies, against, "simulated forecast", "verdict")
    foreseen = {p.name: f"{100 * _left(p.simulated_plain, p.simulated_tilted):.0f}% of plain" for p in report.points}
    rows = [
        (
            f"{c.verb} {c.label}",
            *_levels(c, policies),
            shift(c.difference or c.shift_tilted, c.measure),
            foreseen.get(c.label, NONE),
            str(c.verdict),
        )
        for c in report.concepts
        if c.verb
    ]
    lines = [
        f"{c.verb} {c.label}: {against_control(c.beside, c.measure)}" for c in report.concepts if c.beside is not None
    ]
    lines += [
        f"{c.verb} {c.label}: where its gate is shut, {against} {shift(o.difference or o.shift_tilted, c.measure)}"
        for c in report.concepts
        if (o := c.outside) is not None
    ]
    lines += [f"{report.plan.name}: {headline(report)}", verdict_on_forecast(report)]
    return "\n".join([table(header, rows), "", *lines]) + "\n"


def _left(plain: float, tilted: float) -> float:
    """Share of the simulated plain shift that the plan leaves."""
    return tilted / plain if plain else 1.0


def _levels(concept: ConceptOutcome, policies: Sequence[str]) -> tuple[str, ...]:
    from tiltc_runtime.report.figures import NONE, level

    levels = concept.rates if concept.measure == "rate" else concept.scores
    if levels is None:
        return (NONE,) * len(policies)
    return tuple(level(getattr(levels, name), concept.measure) for name in policies)


VERB = Verb("verify", "sample from a trained model and test the forecast", add_arguments, run)
