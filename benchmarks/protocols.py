"""Four planted traits through the mechanisms: on-target recovery, off-target change, and did the forecast rank them?

    python -m benchmarks.poisoned WORK
    python -m benchmarks.protocols WORK [--traits goblins,cheer] [--cells reward:sae,tokens:sae] [--again]

Each cell is a spec that suppresses one trait in one way, compiled, trained and verified against one plain run. `--traits`
go through the cells of `BEST`, the first of them through all of `CELLS`. What is there is not done again, so an interrupted
study goes on where it stopped; `--cells none` prints the tables of what there is and writes WORK/protocols.svg. A cell that
can't be compiled is empty and says by which code. `--again` takes the forecasts from the compiler as it is now, provided that it
still compiles the cells to the rows that they were trained with.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from benchmarks.figure import scatter, stacked
from benchmarks.poisoned import TRAITS
from benchmarks.study import Measured, foreseen_again, percent, points, read_cell, run_cell
from scipy.stats import spearmanr

#: cell -> what is written under the signal
CELLS: dict[str, dict[str, Any]] = {
    "reward:sae": {"with": "reward"},
    "filter:sae": {"with": "filter"},
    "tokens:sae": {"with": "tokens"},
    "inoculate:forward": {"with": "inoculate", "form": "forward"},
    "reweight:sae": {"with": "reweight"},
    "steer:forward": {"with": "steer", "form": "forward", "fraction": "100%"},
    "steer:residual": {"with": "steer"},
    "inoculate:residual": {"with": "inoculate"},
    "reward:probe": {"with": "reward", "readout": "probe"},
    "reward:direction": {"with": "reward", "readout": "direction"},
    "reward:detector": {"with": "reward", "readout": "detector"},
    # whole sentences take a little more than what they are masked for
    "tokens:span": {"with": "tokens", "unit": "span", "within": "20%"},
    "tokens:probe": {"with": "tokens", "readout": "probe"},
    "tokens:direction": {"with": "tokens", "readout": "direction"},
    "filter:detector": {"with": "filter", "readout": "detector"},
    "steer:probe": {"with": "steer", "form": "forward", "fraction": "100%", "readout": "probe"},
    "steer:reft": {"with": "steer", "form": "forward", "fraction": "100%", "by": "reft"},
    "reward:attention": {"with": "reward", "readout": "attention"},
    "tokens:attention": {"with": "tokens", "readout": "attention"},
    "inoculate:detector": {"with": "inoculate", "form": "forward", "readout": "detector"},
}
#: one tool of every mechanism, for the traits that don't go through them all; of the reward term and of masks two
BEST = (
    "reward:sae", "reward:detector", "filter:sae", "tokens:sae", "tokens:span", "inoculate:forward", "reweight:sae",
    "steer:forward",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--traits", default=",".join(TRAITS))
    parser.add_argument("--cells", help="only these, by comma; `none` for the tables alone")
    parser.add_argument("--again", action="store_true", help="take the forecasts again")
    args = parser.parse_args()
    traits: list[str] = args.traits.split(",")
    for trait, cell in [] if args.cells == "none" else order(traits):
        if not args.cells or cell in args.cells.split(","):
            run_cell(args.work, name_of(trait, cell), spec_of(args.work, trait, cell), args.work / "held_out.jsonl")
    for trait, cell in order(traits) if args.again else []:
        foreseen_again(args.work, name_of(trait, cell))
    print(tables(args.work, traits))
    return 0


def order(traits: list[str]) -> list[tuple[str, str]]:
    """Cells by what they tell: the common ones of all traits, then the rest of the first trait."""
    common = [(trait, cell) for cell in BEST for trait in traits]
    return common + [(traits[0], cell) for cell in CELLS if cell not in BEST]


def name_of(trait: str, cell: str) -> str:
    return f"{trait.rpartition('.')[2]}-{cell.replace(':', '-')}"


def spec_of(work: Path, trait: str, cell: str) -> dict[str, Any]:
    base = yaml.safe_load((work / "base.yaml").read_text(encoding="utf-8"))
    allow = (
        [{"code": "T407", "because": "the study reports what is left"}] if CELLS[cell].get("form") == "forward" else []
    )
    return base | {"signals": [{"suppress": trait, **CELLS[cell]}], "allow": allow}


def tables(work: Path, traits: list[str]) -> str:
    lines = ["| cell | start, plain, tilted | recovery | off target | held-out loss | left | by detector | pairs |"]
    lines.append("| --- | --- | --- | --- | --- | --: | --: | --: |")
    done: list[tuple[str, str, Measured]] = []
    for trait, cell in sorted(order(traits), key=lambda pair: (traits.index(pair[0]), list(CELLS).index(pair[1]))):
        result = read_cell(work, name_of(trait, cell), TRAITS)
        if isinstance(result, Measured):
            done.append((trait, cell, result))
            lines.append(row_of(trait, cell, result))
        else:
            lines.append(f"| {trait} {cell} | {result} | | | | | | |")
    lines += ["", *ranks(traits, done)]
    plots = [(trait.rpartition(".")[2], plot_of(trait, done)) for trait in traits]
    (work / "protocols.svg").write_text(stacked(plots), encoding="utf-8")
    return "\n".join(lines)


def plot_of(trait: str, done: list[tuple[str, str, Measured]]) -> str:
    axes = ("recovery of the trait, % (100 = starting policy)", "change of the other traits, points")
    return scatter([(c, r.recovery(t), r.off_target(others(t))) for t, c, r in done if t == trait], axes, 100)


def others(trait: str) -> list[str]:
    return [other for other in TRAITS if other != trait]


def row_of(trait: str, cell: str, result: Measured) -> str:
    rates = ", ".join(f"{result.rate(p, trait):.1%}" for p in ("start", "plain", "tilted"))
    loss = result.facts["held_out"]
    left = result.facts["left"].get(trait)
    return (
        f"| {trait} {cell} | {rates} | {percent(result.recovery(trait))} | {points(result.off_target(others(trait)))} "
        f"| {loss['start']:.3f}, {loss['plain']:.3f}, {loss['tilted']:.3f} "
        f"| {said(left, 'first_step')} | {said(left, 'detector')} | {result.facts['rows_touched']} |"
    )


def said(left: dict[str, float] | None, forecast: str) -> str:
    return "-" if left is None or forecast not in left else format(left[forecast], ".0%")


def ranks(traits: list[str], done: list[tuple[str, str, Measured]]) -> list[str]:
    """Rank correlation, within a trait, of the forecast left with the rate measured."""
    lines: list[str] = []
    for trait in traits:
        for forecast in ("first_step", "simulated", "detector"):
            cells = [
                (left, r.rate("tilted", trait))
                for t, cell, r in done
                if t == trait and (left := foreseen(r.facts["left"].get(trait, {}), cell, forecast)) is not None
            ]
            if len(cells) < 4:
                continue
            found = spearmanr(*zip(*cells, strict=True))
            lines.append(
                f"{trait}: rank correlation of {forecast} left with the rate {found.statistic:.2f} over {len(cells)} cells"
            )
    return lines


def foreseen(left: dict[str, float], cell: str, forecast: str) -> float | None:
    """A cell's forecast. A concept that is read by its detector has one figure for both."""
    if forecast == "detector" and CELLS[cell].get("readout") == "detector":
        return left.get("first_step")
    return left.get(forecast)


if __name__ == "__main__":
    sys.exit(main())
