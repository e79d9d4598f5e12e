"""`tiltc export`: the dataset with a plan's `keep`, `weight` and `margin` columns, for other trainers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tiltc.verbs import CLEAN, FAILURE, FINDINGS, UsageError, Verb
from tiltc.verbs.show import load_plan, print_findings

if TYPE_CHECKING:
    from tiltc.diagnostics import Diagnostics
    from tiltc.plan import Plan

SIGN = """margin has the sign of TRL's RewardTrainer, which subtracts it: r_chosen - r_rejected - margin. It is the
plan's margin offset, which is added in the DPO loss, times -1."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", type=Path, metavar="PLAN", help="plan folder")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a .parquet, .jsonl or .jsonl.gz file"
    )
    parser.add_argument("--data", type=Path, metavar="FILE", help="the data, where the plan names no local file")
    parser.epilog = SIGN


def run(args: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    from tiltc.export import export, write_export

    _check_output(args.output)
    loaded = load_plan(args.plan, out, err)
    if loaded is None:
        return FINDINGS
    data = args.data or _data_of(loaded.plan, args.plan)
    if not data.exists():
        raise UsageError(f"no data file `{data}`; say with --data where it is")
    refused = _refused(args, data)
    if refused:
        print_findings(refused, out, err)
        return FINDINGS
    try:
        exported, found = export(loaded, data)
        if exported is not None:
            found.extend(write_export(exported, args.output))
        print_findings(found, out, err)
        if exported is None or found.failed:
            return FINDINGS
    except (OSError, TypeError, ValueError) as problem:
        err.write(f"tiltc: can't write {args.output}: {problem}\n")
        return FAILURE
    err.write(f"wrote {args.output}: {len(exported.rows)} rows; a trainer that adds an offset takes -margin\n")
    return CLEAN


def _refused(args: argparse.Namespace, data: Path) -> Diagnostics:
    """T586, T587 for a file that is not export's to write."""
    from tiltc.export import is_export
    from tiltc.folders import foreign_file, over_input
    from tiltc.paths import real
    from tiltc.planfile import PLAN_FILES

    found = over_input([args.output], [data, *(args.plan / name for name in PLAN_FILES)])
    if real(data) in real(args.output).parents:
        text = f"{args.output} would be read as a part of the data"
        found.add("T586", None, text, notes=["nothing was written"], helps=["name a file in another folder"])
    return found or foreign_file(args.output, is_export, "an export")


def _check_output(file: Path) -> None:
    from tiltc.export import WRITERS, ending

    if ending(file) not in WRITERS:
        raise UsageError(f"`{file}` is none of {', '.join(WRITERS)}")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"no folder `{file.parent}` to write into")


def _data_of(plan: Plan, folder: Path) -> Path:
    """The file that a plan names: a local one, or one built in.

    Raises:
        UsageError: the data is not a local file, so `--data` must say where it is.
    """
    from tiltc.evidence import local_path

    path = local_path(plan.data, folder) or _built_in(plan.data)
    if path is None:
        raise UsageError(f"the plan's data is {plan.pins.data.name}: give it as a file with --data")
    return path


def _built_in(ref: object) -> Path | None:
    """The file of a data set that comes with the training stack, which is found without being imported."""
    from importlib.util import find_spec

    from tiltc.spec import FileRef

    ref = ref.file if isinstance(ref, FileRef) else ref
    stack = find_spec("tiltc_runtime")
    if not isinstance(ref, str) or stack is None or not stack.submodule_search_locations:
        return None
    name = ref.removeprefix("builtin:")
    files = (Path(place) / "builtin" / f"{name}.parquet" for place in stack.submodule_search_locations)
    return next((file for file in files if file.is_file()), None)


VERB = Verb("export", "write the data with keep, weight and margin columns for other trainers", add_arguments, run)
