"""How long a cold `tiltc lint` takes: the time between pressing enter and the verdict, in fresh processes.

    python benchmarks/lint_latency.py [SPEC] [--starts 20]

Prints one JSON object; times are wall seconds, `cpu` is the processor's share, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "specs" / "examples"
TARGET = 0.35


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", type=Path, help="default: the largest example")
    parser.add_argument("--starts", type=int, default=20)
    args = parser.parse_args()
    spec = args.spec or max(EXAMPLES.glob("*.yaml"), key=lambda file: (is_spec(file), file.stat().st_size))
    cold_start(spec)  # fills the file cache and the byte-code cache
    before = cpu()
    times = sorted(cold_start(spec) for _ in range(args.starts))
    result = {
        "spec": spec.name,
        "starts": len(times),
        "median": round(statistics.median(times), 3),
        "fastest": round(times[0], 3),
        "slowest": round(times[-1], 3),
        "cpu": round((cpu() - before) / len(times), 3),
        "target": TARGET,
        "met": statistics.median(times) <= TARGET,
    }
    print(json.dumps(result, indent=1))


def is_spec(file: Path) -> bool:
    return "\nsignals:" in file.read_text("utf-8")


def cpu() -> float:
    """Processor seconds of all finished child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cold_start(spec: Path) -> float:
    """Seconds of one `tiltc lint` in a process of its own."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "tiltc", "lint", spec], capture_output=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(done.stderr.decode())
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
