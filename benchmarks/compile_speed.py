"""How long does compiling take, from evidence that is there?

    python benchmarks/compile_speed.py [--pairs 15000] [--features 4096] [--firing 0.08]

Synthetic evidence, six signals. Prints seconds for the first compile (nothing derived yet) and for later ones (detector
scores and fitted groups cached), the largest constraint residual relative to its signal, and the solver's own share.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.compiler.synthetic import evidence, spec_text

from tiltc.parse import parse
from tiltc.pipeline import compile_spec

SIGNALS = """\
  - suppress: std.style.bold
    with: reward
  - keep: std.style.emoji
  - suppress: std.stance.apology
    with: reward
  - keep: std.stance.flattery
  - keep: std.style.length
  - keep: std.style.exclamation
"""
RATES = {
    "std.style.bold": (0.5, 0.2),
    "std.style.emoji": (0.45, 0.2),
    "std.stance.apology": (0.1, 0.3),
    "std.stance.flattery": (0.3, 0.15),
}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pairs", type=int, default=15000)
    arguments.add_argument("--features", type=int, default=4096)
    arguments.add_argument("--firing", type=float, default=0.08)
    args = arguments.parse_args()
    data = evidence(args.pairs, RATES, features=args.features, firing=args.firing)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(spec_text(SIGNALS))
        seconds: list[float] = []
        for _ in range(4):
            spec_file, _ = parse(path)
            assert spec_file is not None
            began = time.perf_counter()
            result, found = compile_spec(spec_file, data, Path(folder) / "derived")
            seconds.append(time.perf_counter() - began)
            assert result is not None, [(d.code, d.primary.text, d.notes) for d in found]
    rows = [r for r in result[0].forecast if r.target is not None]
    residual = max(max(abs(r.tilted.value - r.target) - r.tolerance, 0) / max(abs(r.plain.value), 1e-9) for r in rows)
    print(json.dumps({"pairs": args.pairs, "first": seconds[0], "later": sorted(seconds[1:]), "residual": residual}))
    return int(sorted(seconds[1:])[1] > 3.0)


if __name__ == "__main__":
    raise SystemExit(main())
