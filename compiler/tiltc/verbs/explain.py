"""`tiltc explain`: what a code means and what to do about it."""

from __future__ import annotations

import argparse
from typing import TextIO

from tiltc.codes import CODES, Code
from tiltc.parse.suggest import did_you_mean
from tiltc.verbs import CLEAN, UsageError, Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "codes", nargs="*", metavar="CODE", help="such as T301; all codes are listed when none is given"
    )


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    codes = [_known(code) for code in args.codes]
    if codes:
        out.write("\n\n".join(map(page, codes)) + "\n")
    else:
        out.writelines(
            f"{c.code}  {c.severity.value:<7}  {c.title}\n" for c in sorted(CODES.values(), key=lambda c: c.code)
        )
    return CLEAN


def page(code: Code) -> str:
    """What `explain` prints for a code."""
    return f"{code.code}: {code.title} ({code.severity.value})\n\n{code.explain.strip()}"


def _known(code: str) -> Code:
    if code.upper() in CODES:
        return CODES[code.upper()]
    hint = did_you_mean(code.upper(), CODES) or ["`tiltc explain` lists them"]
    raise UsageError(f"no code `{code}`; {hint[0]}")


VERB = Verb("explain", "say what a finding's code means", add_arguments, run)
