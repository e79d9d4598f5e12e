"""Kill `tiltc run` at random moments until it is done; the result must equal an undisturbed run bit for bit.

    python -m benchmarks.kill_resume_run --times 20

A tiny random model, a checkpoint every second step, SIGKILL. Compared: weights, the history of every step, and what the
reference cache holds. Prints one line a trial and ends with 1 when any differs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: imported once, by the server that processes are forked from
PRELOAD = ["tiltc_runtime.train", "peft.tuners.lora"]


@dataclass(frozen=True)
class Trial:
    """One run that was killed `kills` times before it finished."""

    kills: int
    resumed_from: tuple[int, ...]
    same: bool


def undisturbed(world: Path) -> tuple[Any, float]:
    """The record of a run that nobody kills, and how long it took in seconds."""
    _wait(_process(int))  # the server's imports are not the run's time
    started = time.monotonic()
    _wait(_start(world, world / "undisturbed"))
    return _record(world / "undisturbed"), time.monotonic() - started


def killed(world: Path, name: str, seconds: float, rng: random.Random) -> Trial:
    """Start a run until it finishes, killing it at moments up to `seconds` after each start."""
    kills, out = 0, world / name
    while not (out / "record.json").exists():
        process = _start(world, out)
        process.join(rng.uniform(0, seconds) if kills < 8 else None)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
        elif process.exitcode:
            raise RuntimeError(f"the run ended with {process.exitcode}")
    record, expected = _record(out), _record(world / "undisturbed")
    same = record.weights == expected.weights and record.history == expected.history and _same_cache(world, out)
    return Trial(kills, tuple(session.from_step for session in record.sessions[1:]), same)


def trials(times: int, seed: int = 0) -> list[Trial]:
    """Run the whole comparison in a temporary folder, printing a line a trial."""
    from tests.runtime.planned import tiny_plan, tiny_world

    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        world = tiny_world(Path(folder))
        tiny_plan(world, world / "plan")
        _, seconds = undisturbed(world)
        found: list[Trial] = []
        for i in range(times):
            found.append(killed(world, f"run-{i}", seconds, rng))
            print(f"run {i + 1}/{times}: {found[-1]}", flush=True)
    return found


def _start(world: Path, out: Path) -> Any:
    return _process(_run, world, out)


def _process(work: Callable[..., Any], *args: Any) -> Any:
    """A started process, forked from a server that has imported the training stack."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=work, args=args, daemon=True)
    process.start()
    return process


def _run(world: Path, out: Path) -> None:
    import torch

    from tiltc_runtime.train import run

    torch.set_num_threads(1)
    record, found = run(world / "plan", out, root=world)
    if record is None:
        print(*found, file=sys.stderr)
        os._exit(1)


def _wait(process: Any) -> None:
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the run ended with {process.exitcode}")


def _record(out: Path) -> Any:
    from tiltc_runtime.record import read_record

    return read_record(out)


def _same_cache(world: Path, out: Path) -> bool:
    ours, theirs = (
        {f.name: f.read_bytes() for f in (d / "reference").glob("*.npy")} for d in (out, world / "undisturbed")
    )
    return ours == theirs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = trials(args.times, args.seed)
    different = sum(not trial.same for trial in found)
    print(f"{sum(t.kills for t in found)} kills in {len(found)} runs, {different} results differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
