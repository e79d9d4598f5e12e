"""The verbs of the command line, one file each, and what they share: flags for specs and the printing of findings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tiltc.diagnostics import Diagnostics
from tiltc.render import FORMATS, render, summary
from tiltc.source import SourceFile

CLEAN, FINDINGS, USAGE, FAILURE = 0, 1, 2, 3


@dataclass(frozen=True)
class Verb:
    """`run` takes the parsed arguments and the streams for results and for progress; it returns the exit code."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, TextIO, TextIO], int]


#: what else to do where the cache beside a store has no place
CACHE_HELP = "or keep none with `--no-cache`, or name another `--store`: the cache lies beside it"


class UsageError(Exception):
    """The command was called the wrong way: one line on stderr, exit code 2."""


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of a verb that prints findings."""
    parser.add_argument("--format", choices=FORMATS, default="text", help="how findings are written (default: text)")
    parser.add_argument("--deny", choices=["warnings"], help="exit with 1 on warnings too")


def add_spec_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of a verb that reads a spec."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="change a value of the spec, such as train.beta=0.2"
    )


def add_store_flag(parser: argparse.ArgumentParser) -> None:
    """The flag of a verb that reads or writes evidence."""
    store = os.environ.get("TILTC_STORE", ".tiltc/evidence")
    parser.add_argument(
        "--store", type=Path, default=Path(store), metavar="DIR", help="evidence store (default: %(default)s)"
    )


def add_verify_flag(parser: argparse.ArgumentParser) -> None:
    """The flag of a verb that opens evidence."""
    parser.add_argument(
        "--verify-evidence",
        action="store_true",
        help="read every file of the evidence again, where 2 GB and more are taken as they were last seen",
    )


def cache_of(args: argparse.Namespace) -> Path | None:
    """Where what follows from evidence is kept, beside the store; None with `--no-cache`."""
    return None if getattr(args, "no_cache", False) else args.store.parent / "derived"


def spec_path(path: str) -> str:
    """A path that can be a spec.

    Raises:
        UsageError: when it is a folder or is not there.
    """
    if Path(path).is_dir():
        raise UsageError(f"`{path}` is a folder: name the spec files")
    if not os.path.exists(path):  # noqa: PTH110 - a path with a NUL is not there either
        raise UsageError(f"no file `{path}`")
    return path


def report(
    found: Diagnostics,
    args: argparse.Namespace,
    out: TextIO,
    err: TextIO,
    sources: Mapping[str, SourceFile] | None = None,
) -> int:
    """Print findings, and a summary on stderr; returns 1 when they should fail a build, else 0."""
    color = args.format == "text" and out.isatty() and not os.environ.get("NO_COLOR")
    out.write(render(found, args.format, sources, color, _subject(args)))
    out.flush()
    err.write(summary(found) + "\n")
    return FINDINGS if found.failed or (found and args.deny == "warnings") else CLEAN


def _subject(args: argparse.Namespace) -> str | None:
    """The file that a verb was asked about: its spec, or the plan in its folder."""
    named = vars(args)
    specs = named.get("specs") or ([named["spec"]] if named.get("spec") else [])
    if specs:
        return str(specs[0])
    return str(Path(named["plan"]) / "plan.json") if named.get("plan") else None
