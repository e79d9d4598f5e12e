"""`tiltc show`: a plan as a reviewer reads it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tiltc.verbs import CLEAN, FINDINGS, UsageError, Verb

if TYPE_CHECKING:
    from tiltc.diagnostics import Diagnostics
    from tiltc.planfile import LoadedPlan

FORMATS = ("text", "json", "markdown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", type=Path, metavar="PLAN", help="plan folder")
    add_format_flag(parser)


def add_format_flag(parser: argparse.ArgumentParser) -> None:
    """The flag of a verb that prints a page about plans."""
    parser.add_argument("--format", choices=FORMATS, default="text", help="how the page is written (default: text)")


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    from tiltc.show import show

    loaded = load_plan(args.plan, out, err)
    if loaded is None:
        return FINDINGS
    out.write(show(loaded.plan, args.format))
    return CLEAN


def load_plan(folder: Path, out: TextIO, err: TextIO) -> LoadedPlan | None:
    """Read a plan folder, or print why it can't be read.

    Raises:
        UsageError: there is no such folder.
    """
    from tiltc.planfile import read_plan

    if not folder.is_dir():
        raise UsageError(f"no plan folder `{folder}`")
    loaded, found = read_plan(folder)
    print_findings(found, out, err)
    return loaded


def print_findings(found: Diagnostics, out: TextIO, err: TextIO) -> None:
    """Findings of a verb whose result is something else: as text, their number on stderr; nothing if there are none."""
    from tiltc.render import render, summary

    if found:
        out.write(render(found))
        err.write(summary(found) + "\n")


VERB = Verb("show", "print a plan as a reviewer reads it", add_arguments, run)
