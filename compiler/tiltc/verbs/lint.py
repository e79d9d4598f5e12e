"""`tiltc lint`: what is wrong with specs, or with data, without a model or evidence."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TextIO

from tiltc.data.places import is_data
from tiltc.diagnostics import Diagnostics
from tiltc.lint import lint
from tiltc.printing import one_line
from tiltc.source import LARGEST, SourceFile
from tiltc.verbs import Verb, add_report_flags, add_spec_flags, report, spec_path

#: the key that every spec and library has, by which its language version is known
_CLAIM = re.compile(rb"(?m)^(\xef\xbb\xbf)?[\"']?tiltc[\"']?\s*:")

#: bytes of a JSON file in which a spec says that it is one
_HEAD = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="spec files, or data: files and folders")
    parser.add_argument(
        "--specs-only", action="store_true", help="pass over files that don't say `tiltc:` at the start of a line"
    )
    parser.add_argument("--data", action="store_true", help="read the local data that the specs name, too")
    add_spec_flags(parser)
    add_report_flags(parser)


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    found = Diagnostics()
    sources: dict[str, SourceFile] = {}
    paths = [_checked(path) for path in args.specs]
    if args.specs_only:
        paths, others = _split(paths)
        err.write(f"passed over {len(others)} files without `tiltc:`\n" if others else "")
    for path in paths:
        if names_data(path):
            from tiltc.lint_data import lint_data

            _say(lint_data(Path(path)), found, err)
            continue
        file, more = lint(path, args.set)
        found.extend(more)
        sources |= file.sources if file else {}
        if file and args.data and not more.failed:
            from tiltc.lint_data import lint_data_of

            _say(lint_data_of(file), found, err)
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


def names_data(path: str) -> bool:
    """Whether a path given to `tiltc lint` is data and no spec: a folder of data, or a file with the ending of data."""
    place = Path(path)
    if not is_data(place):
        return False
    return not (place.suffix.lower() == ".json" and place.is_file() and _is_spec(place))


def _is_spec(path: Path) -> bool:
    with open(path, "rb") as file:
        return re.search(rb'"tiltc"\s*:', file.read(_HEAD)) is not None


def _checked(path: str) -> str:
    there = os.path.lexists(path)
    return path if there and names_data(path) else spec_path(path)


def _say(linted: tuple[str | None, Diagnostics], found: Diagnostics, err: TextIO) -> None:
    line, said = linted
    found.extend(said)
    if line is not None:
        err.write(one_line(line) + "\n")


VERB = Verb("lint", "check specs: syntax, names, contradictions", add_arguments, run)
