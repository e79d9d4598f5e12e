"""`tiltc init`: a commented spec to start from, on the embedded default model and data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from tiltc.verbs import CLEAN, UsageError, Verb

_TEMPLATE = Path(__file__).parent.parent / "templates" / "policy.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="?", type=Path, default=Path("policy.yaml"), metavar="PATH", help="default: policy.yaml"
    )


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    try:
        with open(args.path, "x", encoding="utf-8", newline="\n") as file:
            file.write(_TEMPLATE.read_text("utf-8"))
    except FileExistsError:
        raise UsageError(f"`{args.path}` exists already") from None
    except FileNotFoundError:
        raise UsageError(f"no folder `{args.path.parent}`") from None
    out.write(f"{args.path}\n")
    err.write(f"next: tiltc lint {args.path}\n")
    return CLEAN


VERB = Verb("init", "write a commented spec to start from", add_arguments, run)
