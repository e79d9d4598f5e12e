"""Damage files at random and see what the verbs that read them do: refuse, mend, or take something else for the pinned.

    python benchmarks/tamper.py --tries 12 --log tamper.jsonl
    python benchmarks/tamper.py --log tamper.jsonl --table

A tiny world is harvested, compiled, trained (tilted, plain, and once killed between two checkpoints) and verified, and
so is another one, of which files are swapped in. Every try damages one file (a bit flipped, an end cut off, the file of
the other world, none), calls one verb, compares what came out with what came out before, and gives the world back. A try
follows from the seed and its number: the log of a broken-off campaign is taken up where it ends.

`other` counts what must not be: the verb answered as if nothing were, and its result is another. `crashed` counts exceptions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest import mock

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.cases.shout import shouting_rows  # noqa: E402
from tests.worlds import SPEC, Said, World, exact_sae_folder, make_world  # noqa: E402

Fate = Literal["refused", "same", "told", "apart", "other", "crashed"]
FATES: dict[Fate, str] = {
    "refused": "a finding with a code, or a line that a named file is not there, and no result",
    "same": "the same result: what was damaged decides nothing, or was made again",
    "told": "the same, and a warning says what was left out",
    "apart": "harvest: another model's evidence, in a folder of its own",
    "other": "accepted with another result",
    "crashed": "an exception",
}
USAGE, INTERNAL = 2, 3
EVIDENCE, STORE, DERIVED = ".tiltc/evidence", ".tiltc/rollouts", ".tiltc/derived"
#: in a world: the name of its evidence folder
PINNED = "pinned.txt"
TRAIN = "train: {{lora: {{r: 2}}, save_steps: 2, "
VERIFY = "verify: {{prompts: prompts.jsonl, rollouts: 8, max_new_tokens: 6}}\n"

MODEL = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors",
)
SHARD = (
    "rows.parquet",
    "residual.npy",
    "*.indptr.npy",
    "*.indices.npy",
    "*.max.npy",
    "*.count.npy",
    "*.peak.npy",
    "shard.json",
)
CHECKPOINT = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "tiltc.json",
)
PLAN_READERS = ("show", "diff", "check", "export", "run")
#: kind of file -> (where it lies, as a pattern; the verbs that read it)
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    **{f"model: {name}": (f"model/{name}", ("harvest", "compile", "run", "verify")) for name in MODEL},
    "SAE: cfg.json": ("sae/cfg.json", ("harvest", "compile", "verify")),
    "SAE: weights": ("sae/sae_weights.safetensors", ("harvest", "compile", "verify")),
    "data": ("pairs.jsonl", ("harvest", "compile", "export", "run")),
    "prompts": ("prompts.jsonl", ("verify",)),
    "evidence: manifest.json": (f"{EVIDENCE}/*/manifest.json", ("harvest", "compile", "audit")),
    **{f"evidence: {name}": (f"{EVIDENCE}/*/shards/00000/{name}", ("harvest", "compile", "audit")) for name in SHARD},
    "evidence: contrast sets": (f"{EVIDENCE}/*/contrast/*/*", ("compile", "audit")),
    "derived cache": (f"{DERIVED}/*/*", ("compile", "harvest")),
    "plan: plan.json": ("plan/plan.json", PLAN_READERS),
    "plan: rows.parquet": ("plan/rows.parquet", PLAN_READERS),
    "run: run.json": ("run/run.json", ("again",)),
    "run: record.json": ("run/record.json", ("again", "verify", "baseline")),
    "run: plan/": ("run/plan/*", ("verify", "baseline")),
    "run: model/": ("run/model/*", ("again", "verify", "baseline")),
    "run: report.json": ("run/verify/report.json", ("sweep",)),
    "reference log-probabilities": ("run/reference/*.npy", ("shared",)),
    **{f"checkpoint: {name}": (f"part/checkpoints/checkpoint-4/{name}", ("resume",)) for name in CHECKPOINT},
    "killed run: run.json": ("part/run.json", ("resume",)),
    "rollout store": (f"{STORE}/*.jsonl", ("verify",)),
    "held-out losses": (f"{STORE}/losses.jsonl", ("sweep",)),
}


def built(folder: Path, seed: int) -> World:
    """A world in which everything was done once."""
    spec = (
        SPEC.replace("train: {{", TRAIN).replace("batch_size: 2", "batch_size: 4").replace("1.0e-3", f"{seed + 1}.0e-3")
        + VERIFY
    )
    world = make_world(folder, shouting_rows(60, seed=seed), spec=spec)
    if seed:
        _other_files(folder, seed)
    world.write_rows(
        "prompts.jsonl", [{"prompt": f"{text} {seed}?"} for text in ("One", "Two things", "A third", "Four")]
    )
    world.write(
        "swept.yaml", (folder / "spec.yaml").read_text().replace("readout: detector", "readout: detector\n    to: 70%")
    )
    _all(
        world,
        ["harvest", "spec.yaml"],
        ["compile", "spec.yaml", "-o", "plan"],
        ["compile", "swept.yaml", "-o", "swept-plan"],
    )
    _all(
        world,
        ["run", "plan", "-o", "run"],
        ["run", "plan", "-o", "base", "--plain"],
        ["run", "swept-plan", "-o", "swept"],
    )
    _all(world, ["export", "plan", "-o", "exported.jsonl"], ["audit", "spec.yaml", "-o", "audit"])
    _all(world, ["verify", "swept", "--baseline", "base"], ["verify", "run", "--baseline", "base"])
    _all(world, ["verify", "swept", "--sweep", "run", "--baseline", "base"])
    _killed(world)
    world.write(PINNED, next((folder / EVIDENCE).glob("*/manifest.json")).parent.name)
    return world


def _all(world: World, *commands: list[str]) -> None:
    for command in commands:
        said = world.tiltc(*command)
        # `verify` may find that a tiny world's rates are noise
        assert said.code == 0 or command[0] == "verify", f"{command}: {said.out}{said.err}"


def _other_files(folder: Path, seed: int) -> None:
    """A model of the same shape with other weights, settings and words, and another SAE."""
    from tests.runtime.tiny import WIDTH, tiny_model

    model: Any = tiny_model("llama", seed=seed)
    model.config.rms_norm_eps, model.generation_config.eos_token_id = 0.01, [7]
    model.save_pretrained(folder / "model")
    tokenizer = json.loads((folder / "model" / "tokenizer.json").read_bytes())
    tokenizer["model"]["merges"].reverse()
    (folder / "model" / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = json.loads((folder / "model" / "tokenizer_config.json").read_bytes())
    (folder / "model" / "tokenizer_config.json").write_text(
        json.dumps({**settings, "clean_up_tokenization_spaces": True})
    )
    template = folder / "model" / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|im_end|>", "<|im_end|> ", 1))
    exact_sae_folder(folder / "sae", layer=0, width=WIDTH)


def _killed(world: World) -> None:
    """A run that died in its sixth step, with checkpoints at 2 and 4."""
    from tiltc_runtime.trainer import TiltedDPOTrainer

    step = TiltedDPOTrainer.training_step

    def dying(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with mock.patch.object(TiltedDPOTrainer, "training_step", dying):
        world.tiltc("run", "plan", "-o", "part")
    assert (world.folder / "part" / "checkpoints" / "checkpoint-4" / "tiltc.json").is_file()


def sha(path: Path) -> str:
    """Of a file, or of all files of a folder."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return hashlib.sha256(
        b"".join(str(f.relative_to(path)).encode() + f.read_bytes() for f in files if f.is_file())
    ).hexdigest()


def trained(folder: Path) -> str:
    """What a run came to, without times and places."""
    record = json.loads((folder / "record.json").read_bytes())
    said = {key: record[key] for key in ("plan", "mode", "weights", "outputs", "rows", "steps", "history")}
    return sha(folder / "model") + json.dumps(said, sort_keys=True)


def harvested(world: World) -> str:
    """The evidence that the plan was compiled from, whatever else was harvested since."""
    return sha(world.folder / EVIDENCE / (world.folder / PINNED).read_text())


@dataclass(frozen=True)
class Reads:
    """A verb that reads files: the command, and what came of it."""

    command: tuple[str, ...]
    result: Callable[[World, Said], str]


def _file(name: str) -> Callable[[World, Said], str]:
    return lambda world, said: sha(world.folder / name)


VERBS: dict[str, Reads] = {
    "harvest": Reads(("harvest", "spec.yaml"), lambda world, said: harvested(world)),
    "compile": Reads(("compile", "spec.yaml", "-o", "made"), _file("made")),
    "check": Reads(("compile", "spec.yaml", "-o", "plan", "--check"), lambda world, said: said.out),
    "audit": Reads(("audit", "spec.yaml", "-o", "audited"), _file("audited/audit.json")),
    "show": Reads(("show", "plan"), lambda world, said: said.out),
    "diff": Reads(("diff", "plan", "swept-plan"), lambda world, said: said.out),
    "export": Reads(("export", "plan", "-o", "rows.jsonl"), _file("rows.jsonl")),
    "run": Reads(("run", "plan", "-o", "new"), lambda world, said: trained(world.folder / "new")),
    "again": Reads(("run", "plan", "-o", "run"), lambda world, said: trained(world.folder / "run") + said.out),
    "shared": Reads(
        ("run", "plan", "-o", "new", "--reference", "run/reference"), lambda world, said: trained(world.folder / "new")
    ),
    "resume": Reads(("run", "plan", "-o", "part"), lambda world, said: trained(world.folder / "part")),
    "verify": Reads(("verify", "run", "--baseline", "base"), _file("run/verify/report.json")),
    # the damaged run is what another one is held against
    "baseline": Reads(("verify", "swept", "--sweep", "run", "--baseline", "base"), _file("swept/verify/report.json")),
    "sweep": Reads(("verify", "swept", "--sweep", "run", "--baseline", "base"), _file("swept/verify/report.json")),
}


@dataclass(frozen=True)
class Try:
    """One damage and one verb."""

    kind: str
    verb: str
    number: int

    @property
    def key(self) -> str:
        return f"{self.kind} / {self.verb} / {self.number}"


def damaged(rng: random.Random, how: str, file: Path, other: World, world: World, pattern: str) -> bool:
    """Damage a file; False where this kind of damage leaves it as it was."""
    content = bytearray(file.read_bytes())
    before = bytes(content)
    if how == "delete":
        file.unlink()
        return True
    if how == "flip" and content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == "cut" and content:
        content = content[: rng.randrange(len(content))]
    elif how == "swap":
        content = bytearray(_theirs(rng, file, other, world, pattern))
    file.write_bytes(content)
    return bytes(content) != before


def _theirs(rng: random.Random, file: Path, other: World, world: World, pattern: str) -> bytes:
    """The file of the same name in the other world, or any of the same kind there."""
    same = other.folder / file.relative_to(world.folder)
    found = [same] if same.is_file() else sorted(f for f in other.folder.glob(pattern) if f.is_file())
    named = [f for f in found if f.name == file.name] or found
    return rng.choice(named).read_bytes() if named else b""


@dataclass
class Campaign:
    """A world, its like before any damage, and another world."""

    world: World
    other: World
    clean: Path
    seed: int
    before: dict[str, tuple[int, str]]

    @classmethod
    def begin(cls, place: Path, seed: int) -> Campaign:
        world, other = built(place / "world", 0), built(place / "other", 1)
        campaign = cls(world, other, place / "clean", seed, {})
        shutil.copytree(world.folder, campaign.clean, symlinks=True)
        return campaign

    def baseline(self, verb: str) -> tuple[int, str]:
        """Exit code and result of a verb on a world without damage."""
        if verb not in self.before:
            said = self.world.tiltc(*VERBS[verb].command)
            assert said.code in (0, 1), f"{verb}: {said.out}{said.err}"
            self.before[verb] = said.code, VERBS[verb].result(self.world, said)
            self.restore()
        return self.before[verb]

    def carry_out(self, trial: Try) -> tuple[Fate, str]:
        """Returns what became of it, and what was done."""
        code, result = self.baseline(trial.verb)
        rng = random.Random(f"{self.seed}: {trial.key}")
        pattern, _ = KINDS[trial.kind]
        file = rng.choice(sorted(f for f in self.world.folder.glob(pattern) if f.is_file()))
        how = ("flip", "cut", "flip", "swap", "flip", "delete")[trial.number % 6]
        if not damaged(rng, how, file, self.other, self.world, pattern):
            how = "flip"
            damaged(rng, how, file, self.other, self.world, pattern)
        try:
            said = self.world.tiltc(*VERBS[trial.verb].command)
            fate = self._fate(trial.verb, said, code, result)
        except Exception as error:
            said, fate = Said(INTERNAL, "", repr(error)), "crashed"
        self.restore()
        what = f"{how} {file.relative_to(self.world.folder)}"
        return fate, f"{what}: {' '.join(said.codes) or said.err.strip()[-300:]}" if fate in (
            "other",
            "crashed",
        ) else what

    def _fate(self, verb: str, said: Said, code: int, result: str) -> Fate:
        if said.code == INTERNAL or "Traceback" in said.out + said.err:
            return "crashed"
        if said.code == USAGE:
            return "refused"
        stopped = said.code != 0 and (code == 0 or any(self._errors(said)))
        if stopped:
            return "refused" if said.codes else "crashed"
        same = VERBS[verb].result(self.world, said) == result
        if verb == "harvest" and len(list((self.world.folder / EVIDENCE).glob("*/request.json"))) > 1:
            return "apart" if same else "other"
        if not same:
            return "other"
        return "told" if {"T577", "T578"} & set(said.codes) else "same"

    def _errors(self, said: Said) -> Iterator[str]:
        """Codes of the errors, other than the verdicts of `verify`."""
        yield from (line for line in said.out.splitlines() if line.startswith("error[") and "[T60" not in line)

    def restore(self) -> None:
        """Give the world back, file by file, with its times."""
        there, right = _states(self.world.folder), _states(self.clean)
        for name in there.keys() - right.keys():
            (self.world.folder / name).unlink()
        for name, state in right.items():
            if there.get(name) != state:
                (self.world.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.clean / name, self.world.folder / name)
        for folder in sorted((p for p in self.world.folder.rglob("*") if p.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()


def _states(folder: Path) -> dict[str, tuple[int, int]]:
    files = [(file, file.stat()) for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): (s.st_size, s.st_mtime_ns) for file, s in files}


def tries(each: int) -> list[Try]:
    """Every kind of file under every verb that reads it, all kinds once before any twice."""
    return [Try(kind, verb, n) for n in range(each) for kind, (_, verbs) in KINDS.items() for verb in verbs]


def read_log(log: Path) -> dict[str, dict[str, str]]:
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    return {row["key"]: row for row in map(json.loads, lines)}


def table(rows: dict[str, dict[str, str]]) -> str:
    """One line a kind of file: verbs, tries, and what became of them."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    verbs: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    for row in rows.values():
        counts[row["kind"]][row["fate"]] += 1
        verbs[row["kind"]][row["verb"]] = None
    total = sum(counts.values(), Counter[str]())
    lines = [f"| file | read by | tries | {' | '.join(FATES)} |", f"|---|---|{'---:|' * (len(FATES) + 1)}"]
    for kind, count in [*counts.items(), ("all", total)]:
        if count:
            cells = [kind, ", ".join(verbs.get(kind, ())), str(count.total()), *(str(count[fate]) for fate in FATES)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=12, help="for each kind of file and each verb (default: 12)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("tamper.jsonl"))
    parser.add_argument("--part", default="0/1", help="of several processes, each with a log: number/of how many")
    parser.add_argument("--only", help="kinds of files whose name holds this")
    parser.add_argument("--table", action="store_true", help="only print what the log says")
    args = parser.parse_args()
    done = read_log(args.log)
    part, parts = map(int, args.part.split("/"))
    asked = [t for t in tries(args.tries)[part::parts] if (args.only or "") in t.kind]
    todo = [] if args.table else [t for t in asked if t.key not in done]
    if todo:
        with tempfile.TemporaryDirectory() as place, open(args.log, "a", encoding="utf-8") as log:
            campaign = Campaign.begin(Path(place), args.seed)
            for trial in todo:
                fate, what = campaign.carry_out(trial)
                row = {"key": trial.key, "kind": trial.kind, "verb": trial.verb, "fate": fate, "what": what}
                log.write(json.dumps(row) + "\n")
                log.flush()
    print(table(read_log(args.log)))


if __name__ == "__main__":
    main()
