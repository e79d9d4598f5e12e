"""`tiltc lint`: what is wrong with specs, without a model, evidence or data."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TextIO

from tiltc.diagnostics import Diagnostics
from tiltc.lint import lint
from tiltc.source import LARGEST, SourceFile
from tiltc.verbs import Verb, add_report_flags, add_spec_flags, report, spec_path

#: the key that every spec and library has, by which its language version is known
_CLAIM = re.compile(rb"(?m)^(\xef\xbb\xbf)?[\"']?tiltc[\"']?\s*:")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="spec files")
    parser.add_argument(
        "--specs-only", action="store_true", help="pass over files that don't say `tiltc:` at the start of a line"
    )
    add_spec_flags(parser)
    add_report_flags(parser)


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    found = Diagnostics()
    sources: dict[str, SourceFile] = {}
    paths = [spec_path(path) for path in args.specs]
    if args.specs_only:
        paths, others = _split(paths)
        err.write(f"passed over {len(others)} files without `tiltc:`\n" if others else "")
    for path in paths:
        file, more = lint(path, args.set)
        found.extend(more)
        sources |= file.sources if file else {}
    return report(found, args, out, err, sources)


def _split(paths: list[str]) -> tuple[list[str], list[str]]:
    """Those that claim to be specs or concept libraries, and the others. For hooks, which are given all YAML there is."""
    specs = [path for path in paths if _claims(Path(path))]
    return specs, [path for path in paths if path not in specs]


def _claims(path: Path) -> bool:
    """What is no file to be read here is left to the linter, which says so."""
    if not path.is_file():
        return True
    with open(path, "rb") as file:
        return _CLAIM.search(file.read(LARGEST)) is not None


VERB = Verb("lint", "check specs: syntax, names, contradictions", add_arguments, run)
