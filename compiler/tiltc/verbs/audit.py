"""`tiltc audit`: what will this data teach? Evidence as ranked hypotheses, in JSON, Parquet and one page."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from tiltc.diagnostics import Diagnostics
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
)

if TYPE_CHECKING:
    from tiltc.audit.model import Audit
    from tiltc.audit.run import Asked
    from tiltc.evidence import Evidence
    from tiltc.parse import SpecFile
    from tiltc.planfile import LoadedPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "evidence", type=Path, metavar="EVIDENCE", help="an evidence folder, or a spec to look it up for"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("audit"), metavar="DIR", help="audit folder (default: audit)"
    )
    parser.add_argument(
        "--reference", type=Path, metavar="EVIDENCE",
        help="compare the responses with those of another harvest: for data without rejected responses",
    )  # fmt: skip
    parser.add_argument("--against", type=Path, metavar="PLAN", help="show what remains under a plan")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="feature labels, such as a Neuronpedia export")
    parser.add_argument(
        "--labeller", metavar="URL", help="let a language model title the clusters: an OpenAI-compatible endpoint"
    )
    parser.add_argument("--labeller-model", metavar="NAME", help="the model that `--labeller` asks")
    parser.add_argument("--no-cache", action="store_true", help="recompute everything that follows from the evidence")
    add_verify_flag(parser)
    add_store_flag(parser)
    add_spec_flags(parser)
    add_report_flags(parser)


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    from tiltc.audit.run import audit
    from tiltc.evidence.untrained import said_of

    if args.labeller and not args.labeller_model:
        raise UsageError("`--labeller` needs `--labeller-model NAME`")
    if args.output.exists() and not args.output.is_dir():
        raise UsageError(f"`{args.output}` is a file: `-o` names a folder")
    refused = _refused(args)
    if refused:
        return report(refused, args, out, err)
    spec_file, evidence, found = _opened(args)
    if evidence is None or found.failed:
        return report(found, args, out, err, dict(spec_file.sources) if spec_file else {})
    found.extend(said_of(evidence, spec_file.at(("data",)) if spec_file else None))
    given = _asked(args, spec_file, evidence, found)
    told, said = audit(*given) if given else (None, Diagnostics())
    found.extend(said)
    if told is not None:
        told = _titled(told, args, err, found)
        from tiltc.audit.store import write_audit
        from tiltc.audit.summary import summary

        page = write_audit(told, args.output)
        if args.format == "text":
            out.write(summary(told))
        err.write(f"wrote {page}\n")
    return report(found, args, out, err, dict(spec_file.sources) if spec_file else {})


def _refused(args: argparse.Namespace) -> Diagnostics:
    """T585, T586 for places that are not the audit's to write to."""
    from tiltc.audit.store import AUDIT_FILES
    from tiltc.folders import AUDIT, DERIVED, LABELS, over_input, refusal

    found = refusal(args.output, AUDIT)
    cache = cache_of(args)
    if cache is not None:
        found.extend(refusal(cache, DERIVED, CACHE_HELP))
    if args.labeller:
        found.extend(
            refusal(args.store.parent / "labels", LABELS, "or name another `--store`: the cache lies beside it")
        )
    read = filter(None, (args.evidence, args.reference, args.against, args.labels))
    found.extend(over_input((args.output / name for name in AUDIT_FILES), read))
    return found


def _titled(told: Audit, args: argparse.Namespace, err: TextIO, found: Diagnostics) -> Audit:
    """The audit with titles by a language model, where one was named; T702 when it does not answer."""
    from tiltc.audit.names import Labeller, relabel

    if not args.labeller:
        return told
    labeller = Labeller(args.labeller, args.labeller_model, args.store.parent / "labels")
    items = [*told.responses, *told.contexts]
    labels, said = relabel(labeller, [item.label for item in items], lambda text: err.write(text + "\n"))
    found.extend(said)
    named = [item.model_copy(update={"label": label}) for item, label in zip(items, labels, strict=True)]
    split = len(told.responses)
    return told.model_copy(update={"responses": tuple(named[:split]), "contexts": tuple(named[split:])})


def _opened(args: argparse.Namespace) -> tuple[SpecFile | None, Evidence | None, Diagnostics]:
    """The evidence that was named, or that answers the spec that was named."""
    spec_file, folder, found = _located(args.evidence, args)
    if args.set and spec_file is None and not found.failed:
        raise UsageError("`--set` changes a spec, and an evidence folder was named")
    return spec_file, _opened_folder(folder, args, found), found


def _located(path: Path, args: argparse.Namespace) -> tuple[SpecFile | None, Path | None, Diagnostics]:
    from tiltc.evidence import find_evidence
    from tiltc.parse import parse

    if not path.exists():
        raise UsageError(f"no file or folder `{path}`")
    if path.is_dir():
        return None, path, Diagnostics()
    spec_file, found = parse(str(path), args.set)
    if spec_file is None:
        return None, None, found
    folder, said = find_evidence(args.store, spec_file.spec, spec_file.folder)
    found.extend(said)
    return spec_file, folder, found


def _opened_folder(folder: Path | None, args: argparse.Namespace, found: Diagnostics) -> Evidence | None:
    from tiltc.evidence import open_evidence

    if folder is None:
        return None
    evidence, said = open_evidence(folder, verify=args.verify_evidence or None)
    found.extend(said)
    if evidence is not None and not evidence.manifest.sae.features:
        helps = ["name an SAE of the model in the spec, and harvest again"]
        found.add("T574", None, f"{folder.name} was harvested with `sae: none`", helps=helps)
        return None
    return evidence


def _matched(args: argparse.Namespace, evidence: Evidence, found: Diagnostics) -> tuple[Evidence, Asked] | None:
    """The evidence with its responses matched to those of the reference."""
    from tiltc.audit.run import Asked
    from tiltc.audit.unpaired import matched

    _, folder, said = _located(args.reference, args)
    found.extend(said)
    reference = _opened_folder(folder, args, found)
    if reference is None:
        return None
    pairs, said = matched(evidence, reference)
    found.extend(said)
    if pairs is None:
        return None
    asked = Asked({}, reference=reference.manifest.data, cautions=pairs.cautions())
    # the same interface: rows that were matched, in place of rows that were harvested together
    return cast("Evidence", pairs), asked


def _asked(
    args: argparse.Namespace, spec_file: SpecFile | None, evidence: Evidence, found: Diagnostics
) -> tuple[Evidence, Asked] | None:
    from tiltc.audit.names import read_labels
    from tiltc.audit.run import Asked
    from tiltc.derived import Derived
    from tiltc.parse.standard import standard_library

    given = _matched(args, evidence, found) if args.reference else (evidence, Asked({}))
    plan = _plan(args.against, evidence, found) if args.against else None
    labels = None
    if args.labels:
        labels, said = read_labels(args.labels, evidence.manifest.sae.features)
        found.extend(said)
    if found.failed or given is None:
        return None
    source, asked = given
    cache = cache_of(args)
    derived = Derived(cache and cache / source.manifest.digest[:16])
    library = spec_file.library if spec_file else standard_library()
    return source, replace(asked, library=library, plan=plan, labels=labels, derived=derived)


def _plan(folder: Path, evidence: Evidence, found: Diagnostics) -> LoadedPlan | None:
    """T711 for a plan of other data."""
    from tiltc.planfile import read_plan

    plan, said = read_plan(folder)
    found.extend(said)
    if plan is not None and plan.plan.pins.data.digest != evidence.manifest.data.digest:
        named = (plan.plan.pins.data.name, evidence.manifest.data.name)
        found.add("T711", None, f"{folder} was compiled for {named[0]}, the evidence is of {named[1]}")
    return plan


VERB = Verb("audit", "find what the data will teach: ranked hypotheses and a page", add_arguments, run)
