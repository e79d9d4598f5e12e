"""Kill `tiltc harvest` at random moments until it is done; the evidence must equal that of an undisturbed harvest.

    python -m benchmarks.kill_resume_harvest --times 20

A tiny random model, shards of 16 pairs, a contrast set, SIGKILL. Compared: the names and bytes of all files. Prints one
JSON line a trial and ends with 1 when any differs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from tiltc.canonical import sha256_file
from tiltc.parse import SpecFile

#: imported once, by the server that processes are forked from
PRELOAD = ["tiltc_runtime.harvest", "tiltc.parse", "transformers.models.llama.modeling_llama"]

SPEC = """\
tiltc: 1
name: tiny
model: ./model
sae: ./sae
data: pairs.jsonl
concepts:
  cats: {about: Mentions cats., examples: cats.jsonl}
signals:
  - suppress: cats
"""


@dataclass(frozen=True)
class Trial:
    """One harvest that was killed `kills` times before it finished."""

    kills: int
    files: int
    same: bool


def make_world(world: Path, pairs: int = 160) -> None:
    """A spec, a tiny model, an SAE, preference pairs and a contrast set."""
    from tests.runtime.tiny import tiny_data_file, tiny_model_folder, tiny_sae_folder

    tiny_model_folder(world / "model")
    tiny_sae_folder(world / "sae")
    tiny_data_file(world / "pairs.jsonl", pairs)
    rows = [{"prompt": "Pets?", "response": f"{'cats' if i % 2 else 'dogs'} {i}", "label": i % 2} for i in range(40)]
    (world / "cats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (world / "spec.yaml").write_text(SPEC, encoding="utf-8")


def harvest_into(world: str, store: str) -> None:
    """One harvest, in a process of its own. Few threads: two cores, and bits must not depend on the load."""
    import torch

    from tiltc.parse import parse
    from tiltc_runtime import inputs
    from tiltc_runtime.harvest import harvest

    torch.set_num_threads(1)
    inputs.SHARD = 16
    spec_file, found = parse(f"{world}/spec.yaml")
    assert spec_file is not None, list(found)
    folder, found = harvest(only_own(spec_file), Path(store), device="cpu")
    assert folder is not None, list(found)


def only_own(spec_file: SpecFile) -> SpecFile:
    """Without the contrast sets that ship with tiltc: more texts than a tiny data set has."""
    own = {name: definition for name, definition in spec_file.library.items() if definition.own}
    return replace(spec_file, library=own)


def contents(store: Path) -> dict[str, str]:
    """Relative name -> sha256 of every file."""
    return {str(f.relative_to(store)): sha256_file(f) for f in sorted(store.rglob("*")) if f.is_file()}


def undisturbed(world: Path, store: Path) -> tuple[dict[str, str], float]:
    """The files of a harvest that nobody kills, and how long it took in seconds."""
    _process(int).join()  # the server's imports are not the harvest's time
    began = time.monotonic()
    process = _start(world, store)
    process.join()
    assert process.exitcode == 0
    return contents(store), time.monotonic() - began


def trial(world: Path, store: Path, expected: dict[str, str], seconds: float, rng: random.Random) -> Trial:
    """Kill at random moments of what a whole harvest takes; every fourth attempt is left alone."""
    kills = 0
    while True:
        process = _start(world, store)
        process.join(None if kills % 4 == 3 else rng.uniform(0, seconds))
        if process.exitcode is not None:
            assert process.exitcode == 0, process.exitcode
            break
        process.kill()
        process.join()
        kills += 1
    found = contents(store)
    return Trial(kills, len(found), found == expected)


def _start(world: Path, store: Path) -> BaseProcess:
    return _process(harvest_into, str(world), str(store))


def _process(call: Callable[..., object], *args: str) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=call, args=args)
    process.start()
    return process


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--times", type=int, default=20)
    flags.add_argument("--seed", type=int, default=0)
    args = flags.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder)
        make_world(world)
        expected, seconds = undisturbed(world, world / "undisturbed")
        trials = [trial(world, world / f"store-{i}", expected, seconds, rng) for i in range(args.times)]
    for number, result in enumerate(trials):
        print(json.dumps({"trial": number, **asdict(result)}))
    print(
        json.dumps({"trials": len(trials), "kills": sum(t.kills for t in trials), "same": all(t.same for t in trials)})
    )
    return 0 if all(t.same for t in trials) else 1


if __name__ == "__main__":
    sys.exit(main())
