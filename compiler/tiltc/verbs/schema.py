"""`tiltc schema`: the JSON Schema of a file that tiltc reads or writes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TextIO

from tiltc.files import write_files
from tiltc.folders import Kind, refusal, says
from tiltc.parse.suggest import any_of, nearest
from tiltc.schemas import schema_names, schema_text
from tiltc.verbs import CLEAN, FINDINGS, UsageError, Verb
from tiltc.verbs.show import print_findings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="such as spec; all names are listed when none is given")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write all schemas to a folder instead")


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    if args.write is not None:
        return _write(args.write, out, err)
    if args.name is None:
        out.writelines(f"{name}\n" for name in schema_names())
        return CLEAN
    if args.name not in schema_names():
        near = nearest(args.name, schema_names()) or schema_names()
        raise UsageError(f"no schema `{args.name}`; did you mean {any_of(near)}?")
    out.write(schema_text(args.name))
    return CLEAN


def _write(folder: Path, out: TextIO, err: TextIO) -> int:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"`{folder}`: file exists")
    texts = {f"{name}.json": schema_text(name).encode() for name in schema_names()}
    found = refusal(folder, Kind("a folder of schemas", _are_schemas))
    if found:
        print_findings(found, out, err)
        return FINDINGS
    write_files(folder, {name: lambda part, text=text: part.write_bytes(text) for name, text in texts.items()})
    err.writelines(f"wrote {folder / name}\n" for name in texts)
    return CLEAN


def _are_schemas(folder: Path) -> bool:
    """Is what lies there under the names of schemas nothing but schemas of these titles?"""
    there = {name: folder / f"{name}.json" for name in schema_names() if (folder / f"{name}.json").exists()}
    return bool(there) and all(says(file, '"$schema"', _title(name)) for name, file in there.items())


def _title(name: str) -> str:
    return f'\n "title": {json.dumps(json.loads(schema_text(name))["title"])}'


VERB = Verb("schema", "print the JSON Schema of specs, plans and other files", add_arguments, run)
