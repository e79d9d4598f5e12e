"""`tiltc diff`: what changes between two plans."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from tiltc.verbs import CLEAN, FINDINGS, Verb
from tiltc.verbs.show import add_format_flag, load_plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", type=Path, metavar="A", help="plan folder before")
    parser.add_argument("after", type=Path, metavar="B", help="plan folder after")
    add_format_flag(parser)
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 when the plans differ")


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    from tiltc.diff import diff, render

    before, after = (load_plan(folder, out, err) for folder in (args.before, args.after))
    if before is None or after is None:
        return FINDINGS
    changes = diff(before.plan, after.plan, before.rows, after.rows)
    out.write(render(changes, args.format))
    return FINDINGS if args.exit_code and not changes.empty else CLEAN


VERB = Verb("diff", "print what changes between two plans", add_arguments, run)
