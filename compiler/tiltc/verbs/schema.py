"""`tiltc schema`: the JSON Schema of a file that tiltc reads or writes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from tiltc.files import write_text
from tiltc.parse.suggest import any_of, nearest
from tiltc.schemas import schema_names, schema_text
from tiltc.verbs import CLEAN, UsageError, Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="such as spec; all names are listed when none is given")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write all schemas to a folder instead")


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    if args.write is not None:
        return _write(args.write, err)
    if args.name is None:
        out.writelines(f"{name}\n" for name in schema_names())
        return CLEAN
    if args.name not in schema_names():
        near = nearest(args.name, schema_names()) or schema_names()
        raise UsageError(f"no schema `{args.name}`; did you mean {any_of(near)}?")
    out.write(schema_text(args.name))
    return CLEAN


def _write(folder: Path, err: TextIO) -> int:
    for name in schema_names():
        write_text(folder / f"{name}.json", schema_text(name))
        err.write(f"wrote {folder / name}.json\n")
    return CLEAN


VERB = Verb("schema", "print the JSON Schema of specs, plans and other files", add_arguments, run)
