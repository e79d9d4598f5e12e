"""`tiltc audit`: what will this data teach? Evidence as ranked hypotheses, in JSON, Parquet and one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tiltc.diagnostics import Diagnostics
from tiltc.verbs import UsageError, Verb, add_report_flags, add_spec_flags, add_store_flag, report

if TYPE_CHECKING:
    from tiltc.audit.run import Asked
    from tiltc.evidence import Evidence
    from tiltc.parse import SpecFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "evidence", type=Path, metavar="EVIDENCE", help="an evidence folder, or a spec to look it up for"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("audit"), metavar="DIR", help="audit folder (default: audit)"
    )
    parser.add_argument("--against", type=Path, metavar="PLAN", help="show what remains under a plan")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="feature labels, such as a Neuronpedia export")
    parser.add_argument("--no-cache", action="store_true", help="recompute everything that follows from the evidence")
    add_store_flag(parser)
    add_spec_flags(parser)
    add_report_flags(parser)


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    from tiltc.audit.run import audit

    spec_file, evidence, found = _opened(args)
    if evidence is None or found.failed:
        return report(found, args, out, err, dict(spec_file.sources) if spec_file else {})
    asked = _asked(args, spec_file, evidence, found)
    told, said = audit(evidence, asked) if asked else (None, Diagnostics())
    found.extend(said)
    if told is not None:
        from tiltc.audit.store import write_audit
        from tiltc.audit.summary import summary

        page = write_audit(told, args.output)
        if args.format == "text":
            out.write(summary(told))
        err.write(f"wrote {page}\n")
    return report(found, args, out, err, dict(spec_file.sources) if spec_file else {})


def _opened(args: argparse.Namespace) -> tuple[SpecFile | None, Evidence | None, Diagnostics]:
    """The evidence that was named, or that answers the spec that was named."""
    from tiltc.evidence import find_evidence, open_evidence
    from tiltc.parse import parse

    if not args.evidence.exists():
        raise UsageError(f"no file or folder `{args.evidence}`")
    spec_file, found, folder = None, Diagnostics(), args.evidence
    if args.evidence.is_file():
        spec_file, found = parse(str(args.evidence), args.set)
        if spec_file is None:
            return None, None, found
        folder, said = find_evidence(args.store, spec_file.spec, spec_file.folder)
        found.extend(said)
    elif args.set:
        raise UsageError("`--set` changes a spec, and an evidence folder was named")
    if folder is None:
        return spec_file, None, found
    evidence, said = open_evidence(folder)
    found.extend(said)
    return spec_file, evidence, found


def _asked(
    args: argparse.Namespace, spec_file: SpecFile | None, evidence: Evidence, found: Diagnostics
) -> Asked | None:
    from tiltc.audit.names import read_labels
    from tiltc.audit.run import Asked
    from tiltc.derived import Derived
    from tiltc.parse.standard import standard_library
    from tiltc.planfile import read_plan

    plan, labels = None, None
    if args.against:
        plan, said = read_plan(args.against)
        found.extend(said)
        if plan is not None and plan.plan.pins.data.digest != evidence.manifest.data.digest:
            found.add("T702", None, f"{args.against} was compiled for {plan.plan.pins.data.name}")
    if args.labels:
        labels, said = read_labels(args.labels, evidence.manifest.sae.features)
        found.extend(said)
    if found.failed:
        return None
    derived = Derived(None if args.no_cache else args.store.parent / "derived" / evidence.manifest.digest[:16])
    library = spec_file.library if spec_file else standard_library()
    return Asked(library, plan, labels, derived)


VERB = Verb("audit", "find what the data will teach: ranked hypotheses and a page", add_arguments, run)
