"""`tiltc harvest`: read the data through the frozen model once and write the evidence."""

from __future__ import annotations

import argparse
from typing import TextIO

from tiltc.verbs import FAILURE, UsageError, Verb, add_report_flags, add_spec_flags, add_store_flag, report, spec_path

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="spec file")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: cuda when there is one)")
    dtypes = ("float32", "bfloat16", "float16")
    parser.add_argument("--dtype", choices=dtypes, help="of the forward pass (default: float32 on CPU, else bfloat16)")
    parser.add_argument(
        "--compare", action="store_true", help="read what every mechanism would need, for `tiltc compile --compare`"
    )
    add_store_flag(parser)
    add_spec_flags(parser)
    add_report_flags(parser)


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    from tiltc.parse import parse

    spec_file, found = parse(spec_path(args.spec), args.set)
    sources = dict(spec_file.sources) if spec_file else {}
    if spec_file is None:
        return report(found, args, out, err, sources)
    from tiltc.allow import apply_allows
    from tiltc_runtime.harvest import harvest

    if args.device is not None:
        _check_device(args.device)
    found, _ = apply_allows(spec_file, found, ())
    try:
        cache = args.store.parent / "derived"
        folder, said = harvest(
            spec_file, args.store, device=args.device, dtype=args.dtype, cache=cache, every=args.compare, err=err
        )
    except KeyboardInterrupt:
        err.write("\ninterrupted: finished shards are kept; the same command goes on from there\n")
        return INTERRUPTED
    found.extend(apply_allows(spec_file, said, ())[0])
    code = report(found, args, out, err, sources)
    if folder is not None and args.format == "text":
        out.write(f"{folder}\n")
    return FAILURE if any(d.code == "T506" for d in said) else code


def _check_device(name: str) -> None:
    """Raises UsageError when this machine, or this build of torch, has no such device."""
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"no device `{name}`: {str(error).splitlines()[0]}") from None


VERB = Verb("harvest", "read the data through the model once and write the evidence", add_arguments, run)
