"""A spec that is read by detectors alone needs no SAE, from lint to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cases.shout import shouting_rows
from tests.worlds import SPEC, World, make_world
from tiltc_runtime import activations

WITHOUT = SPEC.replace("sae: ./sae\n", "")
#: a concept of prompts that all of them have
GATE = "concepts:\n  item: {{about: Asks for an item., reads: prompt, words: [Item]}}\n"
VERIFY = "verify: {{prompts: builtin:general, rollouts: 4, max_new_tokens: 6}}\n"


def world_without(folder: Path, spec: str = WITHOUT) -> World:
    world = make_world(folder, shouting_rows(), spec=spec)
    for file in (folder / "sae").iterdir():
        file.unlink()
    (folder / "sae").rmdir()
    return world


def done(world: World, *arguments: str) -> str:
    said = world.tiltc(*arguments)
    assert said.code == 0, said.out + said.err
    return said.out


@pytest.mark.parametrize("spec", [WITHOUT, SPEC.replace("./sae", "none")], ids=["left out", "none"])
def test_the_whole_way_without_an_sae(tmp_path: Path, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lint, harvest, compile, show, run and verify answer; nothing is read off the model's inside."""
    world = world_without(tmp_path, spec + VERIFY)

    def forbidden(*_: object) -> None:
        raise AssertionError("the model is read")

    monkeypatch.setattr(activations.Reader, "__init__", forbidden)
    done(world, "lint", "spec.yaml")
    done(world, "harvest", "spec.yaml")
    assert "nothing to do" in world.tiltc("harvest", "spec.yaml").err
    done(world, "compile", "spec.yaml", "-o", "plan")
    assert "detectors alone" in done(world, "show", "plan")
    done(world, "run", "plan", "-o", "run")
    said = world.tiltc("verify", "run")
    assert said.code in (0, 1), said.out + said.err
    assert (tmp_path / "run" / "verify" / "report.json").is_file(), said.out + said.err


def test_an_sae_changes_nothing_for_a_detector(tmp_path: Path) -> None:
    """Rows, weights and the signal's forecast are those of the same spec with an SAE."""
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    worlds = [make_world(tmp_path / "with", shouting_rows()), world_without(tmp_path / "without")]
    plans, rows = [], []
    for world in worlds:
        done(world, "harvest", "spec.yaml")
        done(world, "compile", "spec.yaml", "-o", "plan")
        plans.append(json.loads((world.folder / "plan" / "plan.json").read_bytes()))
        rows.append(pq.read_table(world.folder / "plan" / "rows.parquet"))
    for name in ("row_id", "keep", "weight", "margin_offset"):
        assert rows[0].column(name).equals(rows[1].column(name))
    first, second = (next(c for c in plan["concepts"] if c["name"] == "shout") for plan in plans)
    assert {**first["preference"], "q": 0} == {**second["preference"], "q": 0}
    assert first["detector_mean"] == second["detector_mean"]
    assert plans[1]["pins"]["sae"]["features"] == 0
    assert second["group"] is None


def test_what_features_are_needed_for_is_refused_at_lint(tmp_path: Path) -> None:
    """`sae: none` with a readout that needs features is T169 at its place; without `sae:` the default stays."""
    world = world_without(tmp_path, SPEC.replace("./sae", "none").replace("    readout: detector\n", ""))
    said = world.tiltc("lint", "spec.yaml")
    assert (said.code, said.codes) == (1, ["T169"])
    assert "say `readout: detector`" in said.out
    default = world_without(tmp_path / "default", WITHOUT.replace("    readout: detector\n", ""))
    assert default.tiltc("lint", "spec.yaml").codes == []


def test_an_audit_says_what_it_lacks(tmp_path: Path) -> None:
    """Evidence without features is T574 for an audit."""
    world = world_without(tmp_path)
    done(world, "harvest", "spec.yaml")
    said = world.tiltc("audit", "spec.yaml")
    assert (said.code, said.codes) == (1, ["T574"]), said.out + said.err


@pytest.mark.parametrize("mechanism", ["filter", "reweight", "reward", "inoculate", "inoculate, form: forward"])
def test_every_mechanism_of_a_detector(tmp_path: Path, mechanism: str) -> None:
    """Whatever a detector can carry out is carried out, behind a gate and beside what is kept."""
    spec = WITHOUT.replace("  - suppress: shout\n    readout: detector\n", "").replace("concepts:\n", GATE)
    spec = spec.replace("    pattern:", "    instructions: [Shout wow.]\n    pattern:")
    signals = f"""  - {{{{suppress: shout, to: 60%, readout: detector, with: {mechanism}, when: item}}}}
  - {{{{keep: std.style.length, within: 90%}}}}
"""
    world = world_without(tmp_path, spec.replace("signals:\n", "signals:\n" + signals))
    assert world.tiltc("lint", "spec.yaml").codes == [], world.tiltc("lint", "spec.yaml").out
    done(world, "harvest", "spec.yaml")
    said = world.tiltc("compile", "spec.yaml", "-o", "plan")
    # what a random model's likelihoods can reach is for the solver to say
    assert said.code == 0 or set(said.codes) == {"T401", "T306"}, said.out + said.err
