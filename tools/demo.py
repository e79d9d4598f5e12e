"""The whole way on the embedded default: lint, harvest, compile, train twice, verify.

    python tools/demo.py [SPEC] [--into demo]

Every step is one `tiltc` command, printed as it could be typed. A step that was interrupted goes on where it stopped
when the script is started again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Step:
    title: str
    arguments: tuple[str, ...]


def steps(spec: str, into: str) -> tuple[Step, ...]:
    store, plan, plain, tilted = (f"{into}/{name}" for name in ("evidence", "plan", "plain", "tilted"))
    shared = ("--reference", f"{into}/reference")
    return (
        Step("lint the spec: no model, no data", ("lint", spec)),
        Step("harvest: the frozen model reads the data once", ("harvest", spec, "--store", store)),
        Step("compile: resolve, check, solve, write the plan", ("compile", spec, "-o", plan, "--store", store)),
        Step("train on the data as it is, for comparison", ("run", plan, "--plain", "-o", plain, *shared)),
        Step("train with the plan", ("run", plan, "-o", tilted, *shared)),
        Step(
            "verify: sample, measure, compare with the forecast",
            ("verify", tilted, "--baseline", plain, "--store", store),
        ),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", nargs="?", default="specs/examples/planted.yaml")
    parser.add_argument("--into", default="demo", help="folder for everything that is written (default: demo)")
    args = parser.parse_args()
    (ROOT / args.into).mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    todo = steps(args.spec, args.into)
    code = 0
    for number, step in enumerate(todo, 1):
        say(f"\n[{number}/{len(todo)}] {step.title}  ({elapsed(begun)} so far)\n$ tiltc {' '.join(step.arguments)}")
        code = tiltc(step.arguments)
        # verify ends with 1 when what it measured is a finding: that is a result, and the demo has shown it
        if code not in (0, int(step.arguments[0] == "verify")):
            return stopped(step, code)
    say(
        f"\ndone in {elapsed(begun)}"
        + (", with findings: what was measured is not all that was asked for" if code else "")
    )
    say(f"the plan, as a reviewer reads it:  tiltc show {args.into}/plan")
    say(f"the report, as a page:             {ROOT / args.into / 'tilted/verify/report.html'}")
    return 0


def tiltc(arguments: tuple[str, ...]) -> int:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    environment["PYTHONWARNINGS"] = "ignore::FutureWarning"
    try:
        return subprocess.run([sys.executable, "-m", "tiltc", *arguments], cwd=ROOT, env=environment).returncode
    except KeyboardInterrupt:
        return 130


def stopped(step: Step, code: int) -> int:
    # a negative code is a signal's number
    how = (
        f"was killed by signal {-code} (9 is what a machine without memory sends)" if code < 0 else f"ended with {code}"
    )
    say(f"\nstopped: `tiltc {step.arguments[0]}` {how}")
    say("start this again to go on from here, or remove its folder to start over")
    return code if code > 0 else 128 - code


def elapsed(since: float) -> str:
    seconds = round(time.monotonic() - since)
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
