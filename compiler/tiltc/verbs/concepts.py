"""`tiltc concepts`: the names a spec can use."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TextIO

import yaml

from tiltc.diagnostics import Diagnostics
from tiltc.parse import Definition, parse
from tiltc.parse.standard import standard_library
from tiltc.parse.suggest import did_you_mean
from tiltc.verbs import CLEAN, UsageError, Verb, add_report_flags, add_spec_flags, report, spec_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="show one concept's definition")
    parser.add_argument("--spec", metavar="SPEC", help="include the concepts that a spec defines and extends")
    add_spec_flags(parser)
    add_report_flags(parser)


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    library, found = _library(args)
    if library is None:
        return report(found, args, out, err)
    if args.name is None:
        out.writelines(_table(library))
    else:
        out.write(_page(_known(args.name, library), library))
    return CLEAN


def _library(args: argparse.Namespace) -> tuple[dict[str, Definition] | None, Diagnostics]:
    if args.spec is None:
        return standard_library(), Diagnostics()
    file, found = parse(spec_path(args.spec), args.set, libraries=True)
    return (file.library if file else None), found


def _known(name: str, library: dict[str, Definition]) -> Definition:
    if name in library:
        return library[name]
    raise UsageError("; ".join([f"no concept `{name}`", *did_you_mean(name, library, most=3)]))


def _table(library: dict[str, Definition]) -> Iterator[str]:
    wide = max(map(len, library), default=0)
    for name, definition in sorted(library.items()):
        concept = definition.concept
        yield f"{name:<{wide}}  {concept.kind:<8}  {concept.reads:<8}  {concept.about}\n"


def _page(definition: Definition, library: dict[str, Definition]) -> str:
    """A concept in YAML, ready to be copied to a spec, with what stands around it in comments."""
    content = definition.concept.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump({definition.name: content}, sort_keys=False, allow_unicode=True, width=100)
    children = sorted(name for name, other in library.items() if definition.name in other.concept.parents)
    notes = [f"# defined in {definition.file}", *([f"# parent of {', '.join(children)}"] if children else [])]
    return "\n".join(notes) + "\n" + text


VERB = Verb("concepts", "list the concepts a spec can name, or show one", add_arguments, run)
