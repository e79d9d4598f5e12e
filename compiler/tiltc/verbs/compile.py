"""`tiltc compile`: a spec and its evidence as a plan; `--check` asks whether a committed plan is still what compiles."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tiltc.allow import apply_allows
from tiltc.diagnostics import Diagnostics
from tiltc.printing import one_line
from tiltc.verbs import (
    CACHE_HELP,
    UsageError,
    Verb,
    add_report_flags,
    add_spec_flags,
    add_store_flag,
    add_verify_flag,
    cache_of,
    report,
    spec_path,
)

if TYPE_CHECKING:
    from tiltc.evidence import Evidence
    from tiltc.lower import Compiled
    from tiltc.parse import SpecFile
    from tiltc.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", metavar="SPEC", help="spec file")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("plan"), metavar="DIR", help="plan folder (default: plan)"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when DIR differs from what compiles now"
    )
    parser.add_argument(
        "--no-evidence",
        action="store_true",
        help="with --check: compare what the plan has of the spec, and its pins, without solving it again",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="write nothing; show what each mechanism would do for each signal (with --format json: as JSON)",
    )
    parser.add_argument(
        "--evidence", type=Path, metavar="DIR", help="an evidence folder, instead of looking in the store"
    )
    parser.add_argument("--no-cache", action="store_true", help="recompute everything that follows from the evidence")
    add_verify_flag(parser)
    add_store_flag(parser)
    add_spec_flags(parser)
    add_report_flags(parser)


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    from tiltc.parse import parse
    from tiltc.pipeline import compile_spec

    if args.no_evidence and not args.check:
        raise UsageError("`--no-evidence` is a form of `--check`")
    refused = _refused(args)
    if refused:
        return report(refused, args, out, err)
    spec_file, found = parse(spec_path(args.spec), args.set)
    sources = dict(spec_file.sources) if spec_file else {}
    refused = _over_input(args, spec_file) if spec_file and _writes(args) else refused
    if refused:
        return report(refused, args, out, err)
    if args.no_evidence:
        return _check_alone(args, spec_file, found, out, err)
    evidence = _evidence(args, spec_file, found) if spec_file else None
    if spec_file is None or evidence is None or found.failed:
        return report(found, args, out, err, sources)
    cache = cache_of(args)
    compiled, found = compile_spec(spec_file, evidence, cache, found)
    if args.compare and compiled is not None and not found.failed:
        return _compare(spec_file, evidence, cache, args, out)
    if compiled is not None and not found.failed:
        if args.check:
            _check(args, compiled.plan, found)
        else:
            _write(args, compiled, out, err)
    return report(found, args, out, err, sources)


def _writes(args: argparse.Namespace) -> bool:
    """Is it a plan that is asked for, rather than an answer?"""
    return not (args.check or args.compare)


def _refused(args: argparse.Namespace) -> Diagnostics:
    """T585 for folders that are not compile's to write into."""
    from tiltc.folders import DERIVED, PLAN, refusal

    cache, found = cache_of(args), Diagnostics()
    if _writes(args):
        found.extend(refusal(args.output, PLAN))
    if cache is not None:
        found.extend(refusal(cache, DERIVED, CACHE_HELP))
    return found


def _over_input(args: argparse.Namespace, spec_file: SpecFile) -> Diagnostics:
    """T586, T585 where the plan would be written over what it is made of, or over another one."""
    from tiltc.folders import other_plan, over_input
    from tiltc.planfile import PLAN_FILES

    found = over_input((args.output / name for name in PLAN_FILES), map(Path, (args.spec, *spec_file.sources)))
    found.extend(other_plan(args.output, spec_file.spec.name))
    return found


def _evidence(args: argparse.Namespace, spec_file: SpecFile, found: Diagnostics) -> Evidence | None:
    from tiltc.evidence import answers, find_evidence, open_evidence
    from tiltc.evidence.untrained import said_of

    folder = args.evidence
    if folder is None:
        folder, said = find_evidence(args.store, spec_file.spec, spec_file.folder)
        found.extend(said)
    if folder is None:
        return None
    evidence, said = open_evidence(folder, verify=args.verify_evidence or None)
    found.extend(said)
    if evidence is not None and args.evidence is not None:
        found.extend(answers(evidence.manifest, spec_file.spec, spec_file.folder))
    if evidence is not None:
        found.extend(said_of(evidence, spec_file.at(("data",))))
    return evidence


def _compare(spec_file: SpecFile, evidence: Evidence, cache: Path | None, args: argparse.Namespace, out: TextIO) -> int:
    from tiltc.canonical import canonical_json
    from tiltc.compare import compare, show

    found = compare(spec_file, evidence, cache)
    if args.format == "json":
        out.write(canonical_json([c.model_dump(mode="json") for c in found]))
    else:
        out.write(show(found))
    return 0


def _write(args: argparse.Namespace, compiled: Compiled, out: TextIO, err: TextIO) -> None:
    from tiltc.planfile import write_plan
    from tiltc.show import show

    final = write_plan(compiled.plan, compiled.rows, args.output, compiled.tools)
    if args.format == "text":
        out.write(show(final))
    err.write(f"wrote {args.output / 'plan.json'} ({final.digest[:12]})\n")


def _check(args: argparse.Namespace, plan: Plan, found: Diagnostics) -> None:
    """T540: the committed plan is not what the spec and the evidence compile to now."""
    from tiltc.planfile import read_plan

    committed, said = read_plan(args.output)
    found.extend(said)
    if committed is not None and committed.plan.digest != plan.digest:
        found.add(
            "T540",
            None,
            f"{args.output} is not what this spec compiles to",
            notes=[
                f"committed: {committed.plan.digest}",
                f"compiled now: {plan.digest}",
                *_changed(committed.plan, plan),
            ],
            helps=[f"run `tiltc compile {args.spec} -o {args.output}` and review the difference with `tiltc diff`"],
        )


def _check_alone(
    args: argparse.Namespace, spec_file: SpecFile | None, found: Diagnostics, out: TextIO, err: TextIO
) -> int:
    """T540 as far as it can be told without evidence, and on stderr what can't."""
    from tiltc.check import static
    from tiltc.pinned import outdated, untold
    from tiltc.planfile import read_plan_alone

    if spec_file is None:
        return report(found, args, out, err, {})
    found.extend(static(spec_file))
    plan, said = read_plan_alone(args.output)
    found.extend(said)
    if plan is not None and not found.failed:
        if notes := outdated(spec_file, plan):
            helps = [
                f"run `tiltc compile {args.spec} -o {args.output}` where the evidence is, and review with `tiltc diff`"
            ]
            found.add("T540", None, f"{args.output} is no plan of this spec as it is now", notes=notes, helps=helps)
        for line in [*untold(spec_file, plan), "not solved again: without evidence nobody knows what compiles now"]:
            err.write(f"note: {one_line(line)}\n")
    kept, _ = apply_allows(spec_file, found)
    return report(kept, args, out, err, dict(spec_file.sources))


def _changed(old: Plan, new: Plan) -> list[str]:
    differing = [f for f in type(old).model_fields if f != "digest" and getattr(old, f) != getattr(new, f)]
    return [f"differs in: {', '.join(differing)}"] if differing else []


VERB = Verb("compile", "resolve, check and solve a spec; write the plan", add_arguments, run)
