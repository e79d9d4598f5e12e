"""`tiltc run PLAN -o RUN`: train with a plan."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tiltc.verbs import CLEAN, FINDINGS, UsageError, Verb, add_report_flags, report

if TYPE_CHECKING:
    from tiltc_runtime.record import RunRecord

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", type=Path, help="plan folder, as `tiltc compile` wrote it")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="RUN", help="run folder; goes on if it has begun"
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--plain", action="store_true", help="the same settings on untouched rows: the baseline")
    other.add_argument(
        "--control", action="store_true", help="unrelated sentences in place of the instructions that inoculate"
    )
    parser.add_argument("--fresh", action="store_true", help="remove what an earlier run left in RUN")
    parser.add_argument("--root", type=Path, metavar="DIR", help="what the plan's relative paths are relative to")
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="keep reference log-probabilities here, for several runs to share"
    )
    add_report_flags(parser)


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    if not args.plan.is_dir():
        raise UsageError(f"no plan folder `{args.plan}`")
    from tiltc_runtime import train

    def say(line: str) -> None:
        err.write(line + "\n")
        err.flush()

    try:
        flags = {"plain": args.plain, "control": args.control, "fresh": args.fresh}
        places = {"root": args.root, "reference": args.reference}
        record, found = train.run(args.plan, args.out, **flags, **places, say=say)
    except KeyboardInterrupt:
        say(f"interrupted; go on with: {_again(args)}")
        return INTERRUPTED
    if not train.is_main():
        return FINDINGS if record is None else CLEAN
    code = report(found, args, out, err) if found or record is None else CLEAN
    if record is not None and args.format == "text":
        out.write(summary(record, args.out) + "\n")
    return code


def summary(record: RunRecord, folder: Path) -> str:
    """Two lines on a finished run."""
    rows = f"{record.rows.trained} of {record.rows.pairs} pairs"
    return (
        f"{folder}: {record.name}, {record.mode}, {rows}, {record.steps} steps, final loss {record.final_loss:.4f}\n"
        f"{folder / 'model'}: {record.kind}, weights {record.weights[:12]}"
    )


def _again(args: argparse.Namespace) -> str:
    flags = ["--plain"] * args.plain + ["--control"] * args.control + (["--root", str(args.root)] if args.root else [])
    flags += ["--reference", str(args.reference)] if args.reference else []
    return " ".join(["tiltc run", str(args.plan), "-o", str(args.out), *flags])


VERB = Verb("run", "train with a plan", add_arguments, run)
