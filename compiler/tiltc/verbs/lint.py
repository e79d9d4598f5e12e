"""`tiltc lint`: what is wrong with specs, without a model, evidence or data."""

from __future__ import annotations

import argparse
from typing import TextIO

from tiltc.diagnostics import Diagnostics
from tiltc.lint import lint
from tiltc.source import SourceFile
from tiltc.verbs import Verb, add_report_flags, add_spec_flags, report, spec_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="spec files")
    add_spec_flags(parser)
    add_report_flags(parser)


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    found = Diagnostics()
    sources: dict[str, SourceFile] = {}
    for path in [spec_path(path) for path in args.specs]:
        file, more = lint(path, args.set)
        found.extend(more)
        sources |= file.sources if file else {}
    return report(found, args, out, err, sources)


VERB = Verb("lint", "check specs: syntax, names, contradictions", add_arguments, run)
