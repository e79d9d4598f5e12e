"""One planted trait through every protocol and tool: on-target recovery, off-target change, and did the forecast rank them?

    python -m benchmarks.protocols WORK [--concept std.style.heading] [--cells reward:sae,tokens:sae,...]

Each cell is a spec that suppresses the one concept in one way, compiled, trained and verified against one plain run on the
planted pairs. What is there is not done again, so an interrupted study goes on where it stopped; `--cells none` prints the
table of what there is. A cell that can't be compiled is empty and says by which code.

Recovery is (plain - tilted) / (plain - start): 100% is the rate of the starting policy. Off target is the mean absolute
change from plain training, in points, over the other planted traits.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import spearmanr

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "specs/examples/planted.yaml"
TRAITS = ("std.style.heading", "std.style.bold", "std.style.emoji", "std.stance.flattery", "std.stance.apology")
#: cell -> what is written under the signal. `filter` is refused where too many rows carry the trait; it stays as a cell
CELLS: dict[str, dict[str, Any]] = {
    "filter:sae": {"with": "filter"},
    "reward:sae": {"with": "reward"},
    "tokens:sae": {"with": "tokens", "within": "45%"},
    "tokens:span": {"with": "tokens", "unit": "span", "within": "45%"},
    "steer:residual": {"with": "steer"},
    "steer:forward": {"with": "steer", "form": "forward", "fraction": "100%"},
    "inoculate:residual": {"with": "inoculate"},
    "inoculate:forward": {"with": "inoculate", "form": "forward"},
    "reweight:sae": {"with": "reweight"},
    "reward:probe": {"with": "reward", "readout": "probe"},
    "tokens:probe": {"with": "tokens", "readout": "probe", "within": "45%"},
    "reward:direction": {"with": "reward", "readout": "direction"},
    "tokens:direction": {"with": "tokens", "readout": "direction", "within": "45%"},
    "reward:detector": {"with": "reward", "readout": "detector"},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--concept", default=TRAITS[0], choices=TRAITS)
    parser.add_argument("--cells", default=",".join(CELLS), help="which cells, by comma; `none` for the table alone")
    args = parser.parse_args()
    folder = args.work / args.concept
    for cell in [] if args.cells == "none" else args.cells.split(","):
        run_cell(args.work, folder, args.concept, cell)
    print(table(folder))
    return 0


def run_cell(work: Path, folder: Path, concept: str, cell: str) -> None:
    place = folder / cell.replace(":", "-")
    if (place / "cell.json").exists():
        return
    place.mkdir(parents=True, exist_ok=True)
    spec = place / "spec.yaml"
    spec.write_text(yaml.safe_dump(spec_of(concept, CELLS[cell]), sort_keys=False), encoding="utf-8")
    store, begun = work / "evidence", time.monotonic()
    tiltc("harvest", spec, "--store", store)
    code, said = tiltc("compile", spec, "-o", place / "plan", "--store", store, "--format", "json")
    if code:
        found = [d["code"] for d in json.loads(said)["diagnostics"] if d["severity"] == "error"]
        (place / "cell.json").write_text(json.dumps({"refused": found}), encoding="utf-8")
        return
    plain, shared = work / "plain", ("--reference", work / "reference")
    if not (plain / "record.json").exists():
        tiltc("run", place / "plan", "--plain", "-o", plain, *shared)
    tiltc("run", place / "plan", "-o", place / "tilted", *shared)
    tiltc("verify", place / "tilted", "--baseline", plain, "--store", store)
    report = json.loads((place / "tilted/verify/report.json").read_text(encoding="utf-8"))
    plan = json.loads((place / "plan/plan.json").read_text(encoding="utf-8"))
    result = measured(concept, report, plan) | {"seconds": round(time.monotonic() - begun)}
    (place / "cell.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


def spec_of(concept: str, asked: dict[str, Any]) -> dict[str, Any]:
    spec = yaml.safe_load(BASE.read_text(encoding="utf-8"))
    allow = [{"code": code, "because": "the study reports what is left"} for code in ("T407",)]
    return spec | {"name": "protocols", "signals": [{"suppress": concept, **asked}], "allow": allow}


def measured(concept: str, report: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    row = next(c for c in report["concepts"] if c["name"] == concept)
    others = [c["rates"] for c in report["collateral"] if c["name"] in TRAITS and c["rates"]]
    forecast = next(r for r in plan["forecast"] if r["name"] == concept)
    moved = [100 * abs(r["tilted"]["value"] - r["plain"]["value"]) for r in others]
    tilted = next(p for p in report["policies"] if p["name"] == "tilted")
    return {
        "rates": {k: v["value"] for k, v in row["rates"].items()},
        "recovery": row["recovery"],
        "off_target": sum(moved) / len(moved) if moved else None,
        "broken": tilted["degenerate"],
        "left_first_step": forecast["tilted"]["value"] / forecast["plain"]["value"],
        "left_simulated": forecast["simulated_tilted"] / forecast["simulated_plain"],
        "rows_touched": sum(a["rows_touched"] for a in plan["actions"]),
        "effective_sample": plan["spend"]["effective_sample"],
    }


def table(folder: Path) -> str:
    lines = ["| cell | start, plain, tilted | recovery | off target | forecast left | simulated left | rows | broken |"]
    lines.append("| --- | --- | --- | --: | --: | --: | --: | --: |")
    points: list[tuple[float, float, float]] = []
    for cell in CELLS:
        file = folder / cell.replace(":", "-") / "cell.json"
        result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        if result is None or "refused" in result:
            why = "not run" if result is None else f"refused: {', '.join(result['refused'])}"
            lines.append(f"| {cell} | {why} | | | | | | |")
            continue
        rates, recovery = result["rates"], result["recovery"]
        back = "-" if recovery is None else f"{recovery['value']:.0%} ({recovery['low']:.0%} to {recovery['high']:.0%})"
        off = "-" if result["off_target"] is None else f"{result['off_target']:.1f}"
        lines.append(
            f"| {cell} | {rates['start']:.1%}, {rates['plain']:.1%}, {rates['tilted']:.1%} | {back} | {off} "
            f"| {result['left_first_step']:.0%} | {result['left_simulated']:.0%} | {result['rows_touched']} "
            f"| {result['broken']:.1%} |"
        )
        points.append((result["left_first_step"], result["left_simulated"], rates["tilted"]))
    if len(points) > 2:
        first, simulated, rate = zip(*points, strict=True)
        for name, forecast in (("first step", first), ("simulated", simulated)):
            found = spearmanr(forecast, rate)
            lines.append(
                f"\nrank correlation of the {name} left with the rate measured: {found.statistic:.2f} over {len(points)} cells"
            )
    return "\n".join(lines)


def tiltc(*arguments: object) -> tuple[int, str]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    environment["PYTHONWARNINGS"] = "ignore::FutureWarning"
    print("$ tiltc", *arguments, flush=True)
    command = [sys.executable, "-m", "tiltc", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    print(f"  rc {done.returncode}", flush=True)
    return done.returncode, done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
