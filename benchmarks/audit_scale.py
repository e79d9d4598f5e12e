"""What does an audit cost as data and dictionary grow? Wall time, processor time and peak memory, in a process of its own.

    python -m benchmarks.audit_scale WORK --plot docs/images/audit-scale.svg

Evidence is synthetic (`benchmarks.synthetic_evidence`): rows from 1,000 to 260,000 at 65,536 features, then features from 4,096 up
at 10,000 rows. What fires on a text is about the same at every dictionary size. Each evidence folder is removed when it has been
measured. Finished measurements are kept in WORK/audit-scale.json and not made again; one that takes more processor
time than `--limit` is stopped and left out. Exponents and plot are of processor time: a busy machine spoils the other.

`peak` is the most physical memory held, pages of mapped files included, which the system may take back; `own` is the most without
them. Standard output is canonical JSON, standard error a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.synthetic_evidence import Asked, generate

from tiltc.canonical import canonical_json
from tiltc.files import write_text

ROWS, FEATURES = (1_000, 3_000, 10_000, 30_000, 100_000, 260_000), (4_096, 16_384, 65_536)
WIDE, MIDDLE = 65_536, 10_000
STEP = 0.02


@dataclass(frozen=True)
class Measured:
    """One audit. Seconds, and megabytes of 10^6 bytes."""

    rows: int
    features: int
    seconds: float
    cpu: float
    peak: float
    own: float
    evidence: float
    #: the page, audit.html
    page: float = 0.0


def measure(work: Path, rows: int, features: int, limit: float) -> Measured | None:
    evidence, out = (work / f"{kind}-{rows}x{features}" for kind in ("evidence", "audit"))
    generate(evidence, Asked(rows, features))
    size = sum(f.stat().st_size for f in evidence.rglob("*") if f.is_file())
    command = [sys.executable, "-m", "tiltc", "audit", str(evidence), "-o", str(out), "--no-cache"]
    try:
        costs = watched(command, limit)
        page = 0.0 if costs is None else (out / "audit.html").stat().st_size / 1e6
    finally:
        shutil.rmtree(evidence, ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
    return None if costs is None else Measured(rows, features, *costs, round(size / 1e6, 1), round(page, 2))


def watched(command: list[str], limit: float) -> tuple[float, float, float, float] | None:
    """(seconds, processor seconds, peak, own) of a process, or None if it was stopped at the limit.

    Raises:
        RuntimeError: it failed.
    """
    began, own, peak = time.perf_counter(), 0.0, 0.0
    before = os.times()
    with (
        # a file: a pipe that nobody reads is full after 64 kB, and the process would wait without an end
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said) as process,
    ):
        while process.poll() is None:
            held = memory(process.pid)
            own, peak = max(own, held.get("RssAnon", 0.0)), max(peak, held.get("VmHWM", 0.0))
            if spent(process.pid) > limit:
                process.kill()
                process.wait()
                return None
            time.sleep(STEP)
        seconds, after = time.perf_counter() - began, os.times()
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{command} ended with {ending(process.returncode)}\n{said.read()}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return round(seconds, 2), round(cpu, 2), round(peak, 1), round(own, 1)


def ending(code: int) -> str:
    """An exit status in words: a process that runs out of memory says nothing itself."""
    return f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"status {code}"


def spent(pid: int) -> float:
    """Processor seconds so far: on a busy machine the clock says little."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> dict[str, float]:
    """Megabytes by name in /proc/PID/status; nothing once the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines if line.endswith(" kB")}


def slope(points: list[tuple[float, float]]) -> float | None:
    """Exponent of a power law through the points, by least squares of logarithms."""
    if len(points) < 2:
        return None
    xs, ys = ([math.log(point[axis]) for point in points] for axis in (0, 1))
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


#: what is plotted, and against what: field, title, unit
COSTS = (("cpu", "processor time", "s"), ("peak", "peak memory", "MB"), ("own", "own memory", "MB"))
AXES = (("rows", "pairs, 65,536 features"), ("features", "features, 10,000 pairs"))


def along(done: list[Measured], axis: str) -> list[Measured]:
    """Those of one sweep, in order."""
    fixed = (lambda m: m.features == WIDE) if axis == "rows" else (lambda m: m.rows == MIDDLE)
    return sorted(filter(fixed, done), key=lambda m: getattr(m, axis))


def line(done: list[Measured], axis: str, cost: str) -> list[tuple[float, float]]:
    return [(getattr(m, axis), getattr(m, cost)) for m in along(done, axis)]


def markdown(done: list[Measured]) -> str:
    head = ["| pairs | features | evidence, MB | s | CPU s | peak, MB | own, MB | page, MB |", "| --: " * 8 + "|"]
    rows = [
        f"| {m.rows:,} | {m.features:,} | {m.evidence:,.0f} | {m.seconds:,.1f} | {m.cpu:,.1f} "
        f"| {m.peak:,.0f} | {m.own:,.0f} | {m.page:,.1f} |"
        for m in sorted(done, key=lambda m: (m.features, m.rows))
    ]
    return "\n".join([*head, *rows]) + "\n"


def slopes(done: list[Measured]) -> dict[str, dict[str, float | None]]:
    found = {axis: {cost: slope(line(done, axis, cost)) for cost, *_ in COSTS} for axis, _ in AXES}
    return {axis: {k: v if v is None else round(v, 3) for k, v in values.items()} for axis, values in found.items()}


PANEL, LEFT, TOP = (250, 170), 84, 34


def svg(done: list[Measured]) -> str:
    """A panel for each cost (across) and each axis (down), both logarithmic; its corner names the exponent."""
    width, height = len(COSTS) * (PANEL[0] + LEFT) + 32, len(AXES) * (PANEL[1] + TOP + 42)
    parts = [panel(done, c, a) for c in range(len(COSTS)) for a in range(len(AXES))]
    style = "text{font:11px sans-serif;fill:#767676}.t{fill:#3b6ea5;font-weight:600}.g{stroke:#9994}.l{stroke:#3b6ea5;fill:none}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return "\n".join([head, f"<style>{style}circle{{fill:#3b6ea5}}</style>", *parts, "</svg>"]) + "\n"


def panel(done: list[Measured], column: int, row: int) -> str:
    (cost, title, unit), (axis, label) = COSTS[column], AXES[row]
    at = f"translate({LEFT + column * (PANEL[0] + LEFT)},{TOP + row * (PANEL[1] + TOP + 42)})"
    points = line(done, axis, cost)
    exponent = slope(points)
    name = f"{title}, {unit}" + ("" if exponent is None else f" · exponent {exponent:.2f}")
    texts = [
        f'<text class="t" y="-10">{name}</text>',
        f'<text x="{PANEL[0] / 2}" y="{PANEL[1] + 32}" text-anchor="middle">{label}</text>',
    ]
    return "\n".join([f'<g transform="{at}">', *texts, *(curve(points) if points else []), "</g>"])


def curve(points: list[tuple[float, float]]) -> list[str]:
    low, high = ([10 ** round_to(math.log10(f(p[i] for p in points))) for i in (0, 1)] for f, round_to in ENDS)
    place = [(scaled(x, low[0], high[0]) * PANEL[0], (1 - scaled(y, low[1], high[1])) * PANEL[1]) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in place)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in place]
    return [*grid(low, high), f'<polyline class="l" points="{path}"/>', *dots]


#: the decades around some values: the smallest rounded down, the largest up
ENDS = ((min, math.floor), (max, math.ceil))


def scaled(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low) if high > low else 0.5


def grid(low: list[float], high: list[float]) -> list[str]:
    (wide, tall), out = PANEL, []
    for value in decades(low[0], high[0]):
        x = round(scaled(value, low[0], high[0]) * wide, 1)
        out += [f'<path class="g" d="M{x} 0V{tall}"/>', text(value, f'x="{x}" y="{tall + 15}" text-anchor="middle"')]
    for value in decades(low[1], high[1]):
        y = round((1 - scaled(value, low[1], high[1])) * tall, 1)
        out += [f'<path class="g" d="M0 {y}H{wide}"/>', text(value, f'x="-6" y="{y + 4}" text-anchor="end"')]
    return out


def text(value: float, where: str) -> str:
    return f"<text {where}>{value:,.0f}</text>"


def decades(low: float, high: float) -> list[float]:
    return [10.0**e for e in range(round(math.log10(low)), round(math.log10(high)) + 1)]


def kept(file: Path) -> list[Measured]:
    return [Measured(**m) for m in json.loads(file.read_bytes())] if file.is_file() else []


def numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("work", type=Path)
    flags.add_argument("--rows", type=numbers, default=list(ROWS), help="at 65,536 features, as 1000,3000")
    flags.add_argument("--features", type=numbers, default=list(FEATURES), help="at 10,000 pairs")
    flags.add_argument(
        "--limit", type=float, default=3600.0, help="processor seconds for one audit (default: %(default)s)"
    )
    flags.add_argument("--plot", type=Path, metavar="SVG")
    args = flags.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    file = args.work / "audit-scale.json"
    done = kept(file)
    for rows, features in dict.fromkeys([*((MIDDLE, f) for f in args.features), *((r, WIDE) for r in args.rows)]):
        if any((m.rows, m.features) == (rows, features) for m in done):
            continue
        made = measure(args.work, rows, features, args.limit)
        print(f"{rows} x {features}: {made or 'stopped at the limit'}", file=sys.stderr, flush=True)
        done += [made] if made else []
        write_text(file, canonical_json([asdict(m) for m in done]))
    if args.plot:
        args.plot.parent.mkdir(parents=True, exist_ok=True)
        args.plot.write_text(svg(done), encoding="utf-8")
    print(markdown(done), file=sys.stderr)
    print(canonical_json({"measured": [asdict(m) for m in done], "slopes": slopes(done)}), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
