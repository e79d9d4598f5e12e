"""What the studies of trained policies share. A cell is one spec: compiled, trained, verified against one plain run.

    WORK/evidence/ reference/ plain/            shared by the cells of a study
    WORK/cells/NAME/ spec.yaml plan/ tilted/    one cell; cell.json when it is done
    WORK/cells/NAME/cell.json                   {"refused": [codes]}, or forecast, what was touched, held-out loss

What is there is not done again, so an interrupted study goes on where it stopped. Rates are counted by the definitions
of the traits in every text of `tilted/verify/rollouts.jsonl`. Intervals are of a bootstrap over prompts, 95%.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tiltc import detectors
from tiltc.parse import parse

ROOT = Path(__file__).resolve().parent.parent
POLICIES = ("start", "plain", "tilted")
RESAMPLES = 2000


@dataclass(frozen=True)
class Measured:
    """One finished cell.

    Attributes:
        present: policy -> trait -> (rollouts,) booleans.
        prompts: (rollouts,) which prompt each answers.
        facts: what `cell.json` holds.
    """

    present: Mapping[str, Mapping[str, np.ndarray]]
    prompts: np.ndarray
    facts: dict[str, Any]

    def rate(self, policy: str, trait: str) -> float:
        return float(self.present[policy][trait].mean())

    def recovery(self, trait: str) -> tuple[float, float, float]:
        """(plain - tilted) / (plain - start) with its interval: 1 is the rate of the starting policy (paper, section 7.3)."""

        def share(rates: np.ndarray) -> np.ndarray:
            start, plain, tilted = rates
            return (plain - tilted) / np.where(plain == start, np.nan, plain - start)

        return self._bootstrap(trait, share)

    def change(self, trait: str, of: str = "tilted", since: str = "plain") -> tuple[float, float, float]:
        """Difference of two policies' rates with its interval, as a share."""
        order = {name: i for i, name in enumerate(POLICIES)}
        return self._bootstrap(trait, lambda rates: rates[order[of]] - rates[order[since]])

    def off_target(self, traits: Sequence[str]) -> tuple[float, float, float]:
        """Mean absolute change from plain training over other traits, as a share."""
        both = np.stack([[self.present[p][t] for t in traits] for p in ("plain", "tilted")]).astype(float)
        moved = both[1] - both[0]
        return float(np.abs(moved.mean(1)).mean()), *_ends(np.abs(moved @ self._weights).mean(0))

    def _bootstrap(self, trait: str, function: Any) -> tuple[float, float, float]:
        shown = np.stack([self.present[p][trait] for p in POLICIES]).astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(function(shown.mean(1))), *_ends(function(shown @ self._weights))

    @cached_property
    def _weights(self) -> np.ndarray:
        """(rollouts, resamples) weights of prompts drawn with replacement, the same in every call; columns sum to 1."""
        _, prompt = np.unique(self.prompts, return_inverse=True)
        count = int(prompt.max()) + 1
        drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES).T[prompt]
        return drawn / drawn.sum(0)


def run_cell(work: Path, name: str, spec: dict[str, Any], held_out: Path | None = None) -> None:
    """Compile, train and verify a spec, unless that was done; a refusal is a result."""
    place = work / "cells" / name
    file, text = place / "spec.yaml", yaml.safe_dump(spec, sort_keys=False)
    if (place / "cell.json").exists():
        if file.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{place} is of another spec than the study's: remove it, or take another WORK")
        return
    place.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    store, plain, begun = work / "evidence", work / "plain", time.monotonic()
    demanded("harvest", file, "--store", store)
    code, said = tiltc("compile", file, "-o", place / "plan", "--store", store, "--format", "json")
    if code:
        found = [d["code"] for d in json.loads(said)["diagnostics"] if d["severity"] == "error"]
        _write(place / "cell.json", {"refused": found})
        return
    shared = ("--reference", work / "reference")
    if not (plain / "record.json").exists():
        demanded("run", place / "plan", "--plain", "-o", plain, *shared)
    demanded("run", place / "plan", "-o", place / "tilted", *shared)
    # 1: it has something to say, which may be that it can't be done
    demanded("verify", place / "tilted", "--baseline", plain, "--store", store, allowed=(0, 1))
    if not (place / "tilted/verify/rollouts.jsonl").exists():
        raise SystemExit(f"{name} was not verified: `tiltc verify` says why")
    facts = forecast_of(place / "plan")
    if held_out is not None:
        losses = partial(held_out_loss, model=spec["model"], file=held_out)
        answers = held_out.read_text(encoding="utf-8")
        facts["held_out"] = {
            policy: once(work / f"{policy}.loss.json", [of(run, spec["model"]), answers], partial(losses, run))
            for policy, run in (("start", None), ("plain", plain))
        } | {"tilted": losses(place / "tilted")}
    _write(place / "cell.json", facts | {"seconds": round(time.monotonic() - begun)})


def foreseen_again(work: Path, name: str) -> None:
    """Compile a finished cell's spec with the compiler as it is now, and take its forecast.

    Raises:
        SystemExit: what is trained is not what the cell was trained with, so the forecast would be of another plan.
    """
    place = work / "cells" / name
    if not (place / "cell.json").exists() or not (place / "plan/plan.json").exists():
        return
    demanded("compile", place / "spec.yaml", "-o", place / "again", "--store", work / "evidence")
    trained, now = (_trained_with(place / folder) for folder in ("plan", "again"))
    if trained != now:
        raise SystemExit(f"{name} compiles to another training than its own: run it again")
    facts = json.loads((place / "cell.json").read_text(encoding="utf-8"))
    _write(place / "cell.json", facts | forecast_of(place / "again"))


def _trained_with(plan_folder: Path) -> list[Any]:
    """What of a plan has a part in the training."""
    plan = json.loads((plan_folder / "plan.json").read_text(encoding="utf-8"))
    pins = [plan["pins"][name] for name in ("model", "data", "template", "rows", "tools")]
    return [*pins, plan["train"], plan["prompts"], plan["steering"]]


def forecast_of(plan_folder: Path) -> dict[str, Any]:
    """What a plan expects to be left of every named concept's signal, and what it touches."""
    plan = json.loads((plan_folder / "plan.json").read_text(encoding="utf-8"))
    left = {
        row["name"]: {
            "first_step": row["tilted"]["value"] / row["plain"]["value"],
            "simulated": row["simulated_tilted"] / row["simulated_plain"],
        }
        | _by_detector(row["defined"])
        for row in plan["forecast"]
        if row["kind"] != "discovered" and row["plain"]["value"] and row["simulated_plain"]
    }
    return {
        "left": left,
        "rows_touched": sum(action["rows_touched"] for action in plan["actions"]),
        "effective_sample": plan["spend"]["effective_sample"],
    }


def _by_detector(own: dict[str, Any] | None) -> dict[str, float]:
    """What is left as the concept's own detector counts, where it finds something to begin with."""
    if own is None or own["plain"]["low"] <= 0 <= own["plain"]["high"]:
        return {}
    return {"detector": own["tilted"]["value"] / own["plain"]["value"]}


def policy_of(run: Path | None, model: str) -> tuple[Any, Any]:
    """The policy of a run, or the starting model, and its tokenizer."""
    from peft import PeftModel

    from tiltc_runtime.loading import load_model

    loaded = load_model(model)
    if run is None:
        return loaded.model, loaded.tokenizer
    return PeftModel.from_pretrained(loaded.model, str(run / "model")).merge_and_unload().eval(), loaded.tokenizer


def held_out_loss(run: Path | None, model: str, file: Path) -> float:
    """Mean negative log-likelihood, in nats a token, of held-out answers ({prompt, answer} a line) under a policy."""
    import torch

    policy, tokenizer = policy_of(run, model)
    total, count = 0.0, 0
    with torch.inference_mode():
        for row in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            asked = [{"role": "user", "content": row["prompt"]}]
            text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
            prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
            answer = tokenizer(row["answer"], add_special_tokens=False)["input_ids"]
            ids = torch.tensor([prompt + answer])
            logps = torch.log_softmax(policy(ids).logits[0, len(prompt) - 1 : -1].float(), -1)
            total -= float(logps.gather(1, ids[0, len(prompt) :, None]).sum())
            count += len(answer)
    return total / count


def read_cell(work: Path, name: str, traits: Sequence[str]) -> Measured | str:
    """A finished cell's rates and facts, or why there are none."""
    place = work / "cells" / name
    if not (place / "cell.json").exists():
        return "not run"
    facts = json.loads((place / "cell.json").read_text(encoding="utf-8"))
    if "refused" in facts:
        return f"refused: {', '.join(facts['refused'])}"
    spec, _ = parse(place / "spec.yaml")
    assert spec is not None
    lines = (place / "tilted/verify/rollouts.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: (row["prompt"], row["sample"]))
    texts = {policy: [row["text"] for row in rows if row["policy"] == policy] for policy in POLICIES}
    present = {
        policy: {t: np.asarray(detectors.present(spec.library[t].concept, said), dtype=bool) for t in traits}
        for policy, said in texts.items()
    }
    prompts = np.array([row["prompt"] for row in rows if row["policy"] == "start"])
    return Measured(present, prompts, facts | {"texts": texts})


def demanded(*arguments: object, allowed: tuple[int, ...] = (0,)) -> None:
    """A call without which there is no cell."""
    code, said = tiltc(*arguments)
    if code not in allowed:
        raise SystemExit(f"tiltc {arguments[0]} ended with {code}\n{said}")


def tiltc(*arguments: object) -> tuple[int, str]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    environment["PYTHONWARNINGS"] = "ignore::FutureWarning"
    print("$ tiltc", *arguments, flush=True)
    command = [sys.executable, "-m", "tiltc", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    print(f"  rc {done.returncode}", flush=True)
    return done.returncode, done.stdout


def percent(values: tuple[float, float, float]) -> str:
    if any(value != value for value in values):
        return "not defined"
    return f"{values[0]:.0%} ({values[1]:.0%} to {values[2]:.0%})"


def points(values: tuple[float, float, float]) -> str:
    return f"{100 * values[0]:.1f} ({100 * values[1]:.1f} to {100 * values[2]:.1f})"


def _ends(drawn: np.ndarray) -> tuple[float, float]:
    if np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def once(file: Path, inputs: Sequence[Any], compute: Callable[[], Any]) -> Any:
    """What `file` holds of these inputs, or else what is computed and kept there."""
    key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    if not isinstance(kept, dict) or kept.get("inputs") != key:
        kept = {"inputs": key, "value": compute()}
        _write(file, kept)
    return kept["value"]


def of(run: Path | None, model: str) -> str:
    """Which policy it is, for `once`."""
    return model if run is None else json.loads((run / "record.json").read_text(encoding="utf-8"))["weights"]


def _write(file: Path, value: Any) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1), encoding="utf-8")
    part.replace(file)
