"""Kill `tiltc compile` at random moments as it replaces a plan; what is left must be the old plan or the new one, whole.

    python -m benchmarks.kill_compile --times 40

Two specs take turns, one with vectors and one without, over one plan folder with a file of the user's in it. Half of the
kills (SIGKILL) come at a random moment of the whole command, half within the milliseconds in which it writes. After each,
the plan must be read without a finding, or be told to be unfinished (T588) until the next writer carries it out; then its
files must be those of one of the two to the byte, and the user's file must be there. Prints one JSON line a trial, and ends
with 1 when any is other than whole.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tiltc.canonical import sha256_file
from tiltc.files import settle
from tiltc.planfile import PLAN_FILES, read_plan

SPEC = """\
tiltc: 1
name: case
model: ./model
sae: ./sae
data: ./{data}
concepts:
  shout: {{about: Shouts the word wow., pattern: '\\bWOW\\b'}}
  loud: {{about: Is loud., examples: loud.jsonl}}
signals:
  - {{suppress: loud, readout: direction}}
budget: {{drop: 90%, effective_sample: 1%}}
train: {{max_length: 256, batch_size: 2, learning_rate: 1.0e-3, epochs: 1}}
"""
#: what the two plans differ in
WITH, WITHOUT = (), ("--set", "signals.0.suppress=shout", "--set", "signals.0.readout=detector")
USERS = "REVIEW.md"
#: seconds in which a plan is written, generously
WRITING = 0.1


@dataclass(frozen=True)
class Trial:
    """One compile that was killed after `seconds`, `writing` when its files lay beside the old ones already."""

    seconds: float
    writing: bool
    #: the plan found: "old", "new", or why it is neither
    found: str
    #: a reader refused it until it was carried out
    unfinished: bool


def make_world(folder: Path, pairs: int = 60) -> None:
    """A spec whose evidence is harvested."""
    from tests.cases.shout import shouting_rows
    from tests.worlds import make_world

    world = make_world(folder, shouting_rows(pairs), spec=SPEC)
    rows = [{"prompt": f"Item {i}?", "response": f"{'WOW ' * (i % 2)}stone {i}", "label": i % 2} for i in range(60)]
    world.write_rows("loud.jsonl", rows)
    said = world.tiltc("harvest", "spec.yaml")
    assert said.code == 0, said.out + said.err


def compiling(world: Path, out: Path, changes: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """`tiltc compile` as a process of its own."""
    call = [sys.executable, "-m", "tiltc", "compile", "spec.yaml", "-o", str(out), *changes]
    return subprocess.Popen(call, cwd=world, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finished(world: Path, out: Path, changes: tuple[str, ...]) -> tuple[dict[str, str], float]:
    """Compile undisturbed: the plan's files, and how long it took in seconds."""
    began = time.monotonic()
    process = compiling(world, out, changes)
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()
    return contents(out), time.monotonic() - began


def contents(folder: Path) -> dict[str, str]:
    """Name -> sha256 of the plan's files."""
    return {name: sha256_file(folder / name) for name in PLAN_FILES if (folder / name).exists()}


def trial(
    world: Path, out: Path, old: Mapping[str, str], new: tuple[tuple[str, ...], Mapping[str, str]], wait: float, at: str
) -> Trial:
    """Start replacing the plan in `out`, kill after `wait` seconds (from the first unfinished file on, with `at` "write")."""
    began = time.monotonic()
    process = compiling(world, out, new[0])
    while at == "write" and process.poll() is None and not any(out.glob(".tiltc-*")):
        time.sleep(0.0005)
    time.sleep(wait)
    process.kill()
    process.communicate()
    seconds = time.monotonic() - began
    writing = any(out.glob(".tiltc-*"))
    _, found = read_plan(out)
    unfinished = [d.code for d in found] == ["T588"]
    if unfinished:
        settle(out, PLAN_FILES)  # what the next `compile` begins with
        _, found = read_plan(out)
    left = contents(out)
    named = "old" if left == old else "new" if left == new[1] else f"neither: {sorted(left)}"
    fine = not found.failed and (out / USERS).read_text(encoding="utf-8") == "mine"
    return Trial(round(seconds, 4), writing, named if fine else f"not whole: {[d.code for d in found]}", unfinished)


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--times", type=int, default=40)
    flags.add_argument("--seed", type=int, default=0)
    args = flags.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trials = campaign(Path(folder), args.times, random.Random(args.seed))
    for number, result in enumerate(trials):
        print(json.dumps({"trial": number, **asdict(result)}))
    whole = sum(t.found in ("old", "new") for t in trials)
    counts = {name: sum(t.found == name for t in trials) for name in ("old", "new")}
    counts |= {"while writing": sum(t.writing for t in trials), "unfinished": sum(t.unfinished for t in trials)}
    print(json.dumps({"kills": len(trials), **counts, "whole": whole}))
    return 0 if whole == len(trials) else 1


def campaign(world: Path, times: int, rng: random.Random) -> list[Trial]:
    """So many kills, one after the other."""
    make_world(world)
    plans = {changes: finished(world, world / f"plan-{len(changes)}", changes) for changes in (WITH, WITHOUT)}
    assert "tools.safetensors" in plans[WITH][0]
    out, trials = world / "plan", list[Trial]()
    finished(world, out, WITH)
    (out / USERS).write_text("mine", encoding="utf-8")
    for number in range(times):
        old, new = (WITH, WITHOUT) if contents(out) == plans[WITH][0] else (WITHOUT, WITH)
        wait, at = (rng.uniform(0, plans[new][1]), "any") if number % 2 else (rng.uniform(0, WRITING), "write")
        trials.append(trial(world, out, plans[old][0], (new, plans[new][0]), wait, at))
    return trials


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    sys.exit(main())
