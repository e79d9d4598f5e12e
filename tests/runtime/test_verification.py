"""`tiltc verify` from a trained tiny model to the report, and the runs that it refuses."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.runtime.planned import PAIRS, PROMPTS, TRAIN, forms, tiny_plan, tiny_rows, tiny_world
from tests.runtime.tiny import tiny_sae_folder
from tiltc.cli import main
from tiltc.plan import Control, Discovered, ForecastRow, Group, Interval, Member, Plan, PlanConcept
from tiltc.planfile import write_plan
from tiltc.spec import Concept, Verify
from tiltc_runtime import train, verification
from tiltc_runtime.report import Report
from tiltc_runtime.sae import load_sae
from tiltc_runtime.verification import verify

DEFINITIONS = {"the": Concept(about="Says the.", pattern="the"), "bold": Concept(about="Bold.", surface="bold")}

#: enough to be seen in a handful of rollouts
STRONG = TRAIN.model_copy(update={"learning_rate": 0.05, "epochs": 1.0})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plan, its tilted run in `run/`, and the plain one in `base/`."""
    world = tiny_world(tmp_path_factory.mktemp("world"))
    tiny_sae_folder(world / "sae")
    (world / "prompts.jsonl").write_text("".join(f'{{"prompt": "the cat {i}"}}\n' for i in range(6)), encoding="utf-8")
    planned(world)
    for name, plain in (("run", False), ("base", True)):
        record, found = train.run(world / "plan", world / name, plain=plain, root=world)
        assert record is not None, list(found)
    return world


Role = Literal["declared", "library"]
READ: tuple[tuple[str, Role, str], ...] = (("the", "declared", "group-1"), ("bold", "library", "group-2"))


def planned(world: Path) -> Plan:
    """A plan with two concepts and five discovered groups over the tiny SAE."""
    plan = tiny_plan(world, world / "plan", train=STRONG)
    groups = {
        f"group-{i}": Group(members=(Member(feature=3 * i, weight=1.0, scale=1.0),), mean=0.3, sd=0.5) for i in range(5)
    }
    rows = [row("the", "declared", "suppress"), row("bold", "library"), *(row(name, "discovered") for name in groups)]
    more = {
        "pins": plan.pins.model_copy(update={"sae": load_sae("sae", folder=world).pin}),
        "verify": Verify(prompts="prompts.jsonl", rollouts=14, max_new_tokens=8),
        "concepts": tuple(
            PlanConcept(name=n, role=r, definition=DEFINITIONS[n], status="resolved", readout="sae", group=groups[g])
            for n, r, g in READ
        ),
        "discovered": tuple(Discovered(name=name, group=group) for name, group in groups.items()),
        "forecast": tuple(rows),
    }  # fmt: skip
    return write_plan(plan.model_copy(update=more), tiny_rows(world), world / "plan")


def row(name: str, kind: str, verb: str | None = None) -> ForecastRow:
    size = (sum(map(ord, name)) % 11) / 10 + 0.1
    plain, tilted = (Interval(value=v, low=v - 0.1, high=v + 0.1) for v in (size, size / 3))
    return ForecastRow.model_validate(
        {"name": name, "kind": kind, "verb": verb, "plain": plain, "tilted": tilted, "simulated_plain": 2 * size,
         "simulated_tilted": size, "target": 0.0 if verb else None, "tolerance": 0.01 if verb else None}
    )  # fmt: skip


def told(*argv: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = main([str(a) for a in argv], out, err)
    return code, out.getvalue(), err.getvalue()


def test_verify_writes_the_whole_report(world: Path) -> None:
    """Rollouts of three policies, JSON, Markdown and page appear in the run folder; the terminal shows the table."""
    store = world / "store" / "evidence"
    code, out, err = told("verify", world / "run", "--baseline", world / "base", "--store", store)
    assert code in (0, 1), err
    folder = world / "run" / "verify"
    pages = ["report.html", "report.json", "report.md", "report.sha256"]
    assert sorted(p.name for p in folder.iterdir()) == [*pages, "rollouts.jsonl"]
    rows = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert [sum(r["policy"] == p for r in rows) for p in ("start", "plain", "tilted")] == [14, 14, 14]
    report = Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
    assert [p.name for p in report.policies] == ["start", "plain", "tilted"]
    assert {p.name for p in report.points} == {"the", "bold", *(f"group-{i}" for i in range(5))}
    assert "suppress the" in out
    assert str(folder / "report.html") in out
    assert len(list((world / "store" / "rollouts").glob("*.jsonl"))) == 3


def test_a_second_verify_samples_nothing_and_says_the_same(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept rollouts are found again, and the report's bytes do not change."""
    first, _ = verify(world / "run", world / "kept", baseline=world / "base")
    assert first is not None
    before = (world / "run" / "verify" / "report.json").read_bytes()
    monkeypatch.setattr(verification, "load_trained", lambda run: pytest.fail("loaded a trained model again"))
    second, _ = verify(world / "run", world / "kept", baseline=world / "base")
    assert second == first
    assert (world / "run" / "verify" / "report.json").read_bytes() == before


def test_rates_are_those_of_the_rollouts(world: Path) -> None:
    """The reported rate is the share of rollouts in which the pattern matches."""
    report, _ = verify(world / "run", world / "kept")
    assert report is not None
    lines = (world / "run" / "verify" / "rollouts.jsonl").read_text(encoding="utf-8").split("\n")
    texts = [row["text"] for line in lines if line and (row := json.loads(line))["policy"] == "tilted"]
    rates = next(c for c in report.concepts if c.name == "the").rates
    assert rates is not None
    assert rates.tilted.value == sum("the" in text for text in texts) / 14
    assert rates.plain is None


def test_training_changed_what_is_sampled(world: Path) -> None:
    """Start, plain and tilted policies are three different ones."""
    verify(world / "run", world / "kept", baseline=world / "base")
    lines = (world / "run" / "verify" / "rollouts.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    said = {policy: tuple(r["text"] for r in rows if r["policy"] == policy) for policy in ("start", "plain", "tilted")}
    assert len(set(said.values())) == 3


def test_rollouts_can_be_asked_for_in_another_number(world: Path) -> None:
    """`--rollouts` overrides the plan; JSON on stdout is the report."""
    code, out, _ = told(
        "verify", world / "run", "--rollouts", 4, "--format", "json", "--store", world / "s" / "evidence"
    )
    assert code in (0, 1)
    assert Report.model_validate_json(out).settings.rollouts == 4


@pytest.mark.parametrize("argv", [["--rollouts", "1"], ["--rollouts", "many"], ["--baseline", "nowhere"]])
def test_wrong_usage(world: Path, argv: list[str]) -> None:
    """Too few rollouts to compare, or folders that are not there, are usage errors."""
    assert told("verify", world / "run", *argv)[0] == 2


def codes(folder: Path, **more: Any) -> list[str]:
    report, found = verify(folder, folder.parent / "kept", **more)
    assert report is None
    return [d.code for d in found]


def test_an_unfinished_run_is_refused(world: Path, tmp_path: Path) -> None:
    """No record, no report."""
    shutil.copytree(world / "run", tmp_path / "run")
    (tmp_path / "run" / "record.json").unlink()
    assert codes(tmp_path / "run") == ["T653"]
    (tmp_path / "run" / "record.json").write_text("{}")
    assert codes(tmp_path / "run") == ["T653"]


def test_weights_that_are_not_the_recorded_ones_are_refused(world: Path, tmp_path: Path) -> None:
    """A report about weights that nobody trained with this plan would be worse than none."""
    shutil.copytree(world / "run", tmp_path / "run")
    shutil.copy(world / "base" / "model" / "adapter_model.safetensors", tmp_path / "run" / "model")
    assert codes(tmp_path / "run") == ["T653"]


def test_roles_are_not_mixed_up(world: Path) -> None:
    """A baseline can't be verified, and a tilted run is no baseline."""
    assert codes(world / "base") == ["T653"]
    assert codes(world / "run", baseline=world / "run") == ["T653"]


def test_another_sae_is_refused(world: Path, tmp_path: Path) -> None:
    """Groups are features of one SAE: with another one the scores mean nothing."""
    moved = tmp_path / "world"
    shutil.copytree(world, moved)
    shutil.rmtree(moved / "sae")
    tiny_sae_folder(moved / "sae", seed=5)
    record = json.loads((moved / "run" / "record.json").read_text(encoding="utf-8"))
    (moved / "run" / "record.json").write_text(json.dumps({**record, "root": str(moved)}), encoding="utf-8")
    assert codes(moved / "run") == ["T526"]


def test_a_baseline_with_other_settings_is_refused(world: Path, tmp_path: Path) -> None:
    """A difference between runs that differ in more than the rows is not the plan's effect."""
    other = tiny_world(tmp_path / "world")
    tiny_sae_folder(other / "sae")
    plan = planned(other)
    changed = plan.model_copy(update={"train": plan.train.model_copy(update={"beta": 0.5, "max_steps": 1})})
    write_plan(changed, tiny_rows(other), other / "plan")
    record, _ = train.run(other / "plan", other / "base", plain=True, root=other)
    assert record is not None
    assert codes(world / "run", baseline=other / "base") == ["T652"]


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan that inoculates two thirds of the rows, with its tilted, plain and control run, and those of other plans."""
    folder = tiny_world(tmp_path_factory.mktemp("arms"))
    tiny_sae_folder(folder / "sae")
    (folder / "prompts.jsonl").write_text("".join(f'{{"prompt": "a dog {i}"}}\n' for i in range(5)), encoding="utf-8")
    plan = planned(folder)
    told = [*forms(PAIRS, "inoculate")["chosen_prompt"]]
    fewer = [-1 if i < PAIRS // 2 else k for i, k in enumerate(told)]
    controls = tuple(Control(signal="suppress: the", text=text) for text in ("Answer now.", "Reply."))
    inoculated = plan.model_copy(update={"prompts": PROMPTS, "controls": controls})
    others = {
        "plan": (inoculated, told),
        "other-sentences": (
            inoculated.model_copy(
                update={"controls": tuple(c.model_copy(update={"text": "Go on."}) for c in controls)}
            ),
            told,
        ),
        "other-rows": (inoculated, fewer),
        "other-instructions": (inoculated.model_copy(update={"prompts": ("Be warm.", PROMPTS[1])}), told),
        "other-settings": (inoculated.model_copy(update={"train": STRONG.model_copy(update={"seed": 4})}), told),
    }
    for name, (made, rows) in others.items():
        write_plan(made, tiny_rows(folder, chosen_prompt=rows), folder / f"{name}")
    runs: list[tuple[str, str, dict[str, Any]]] = [
        ("plan", "run", {}),
        ("plan", "base", {"plain": True}),
        ("plan", "control", {"control": True}),
    ]
    runs += [(name, f"control-{name}", {"control": True}) for name in others if name != "plan"]
    for name, out, options in runs:
        record, found = train.run(folder / name, folder / out, root=folder, reference=folder / "reference", **options)
        assert record is not None, list(found)
    return folder


def test_verify_takes_a_control(arms: Path) -> None:
    """A fourth policy is sampled, and each form of the result says what the control run does by itself."""
    argv = ("verify", arms / "run", "--baseline", arms / "base", "--control", arms / "control")
    code, out, err = told(*argv, "--store", arms / "store" / "evidence")
    assert code in (0, 1), err
    folder = arms / "run" / "verify"
    report = Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
    assert [p.name for p in report.policies] == ["start", "plain", "control", "tilted"]
    rows = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text(encoding="utf-8").split("\n") if line]
    texts = [row["text"] for row in rows if row["policy"] == "control"]
    found = next(c for c in report.concepts if c.name == "the")
    assert found.rates is not None
    assert found.rates.control is not None
    assert found.rates.control.value == sum("the" in text for text in texts) / 14
    assert found.beside is not None
    assert found.beside.texts == ("Answer now.", "Reply.")
    assert "suppress the: tilted − plain is within noise: no share of it is defined; tilted − control" in out
    header = next(line for line in out.split("\n") if line.strip().startswith("signal"))
    assert header.split()[:5] == ["signal", "start", "plain", "control", "tilted"]
    assert "Beside the control run" in (folder / "report.md").read_text(encoding="utf-8")
    assert "control-table" in (folder / "report.html").read_text(encoding="utf-8")
    without, _ = verify(arms / "run", arms / "store" / "rollouts", baseline=arms / "base")
    assert without is not None
    assert without.points == report.points
    assert not without.has_control


@pytest.mark.parametrize("name", ["other-rows", "other-instructions", "other-settings"])
def test_a_control_of_another_plan_is_refused(arms: Path, name: str) -> None:
    """What differs in more than the sentences is no control, and the finding names it."""
    report, found = verify(arms / "run", arms / "kept", baseline=arms / "base", control=arms / f"control-{name}")
    assert report is None
    assert [d.code for d in found] == ["T655"]
    words = {"rows": "rows", "instructions": "instructions", "settings": "training settings"}
    assert list(next(iter(found)).notes) == [f"other {words[name.removeprefix('other-')]}"]


def test_a_control_may_have_sentences_of_its_own(arms: Path) -> None:
    """Two controls of one plan can be held against each other; the report names the sentences that were said."""
    report, found = verify(arms / "run", arms / "kept", control=arms / "control-other-sentences")
    assert report is not None, list(found)
    assert next(c for c in report.concepts if c.name == "the").beside.texts == ("Go on.", "Go on.")  # pyright: ignore


def test_a_control_has_its_place(arms: Path) -> None:
    """It can't be verified itself nor be a baseline, and no other run is a control."""
    assert codes(arms / "control") == ["T653"]
    assert codes(arms / "run", baseline=arms / "control") == ["T653"]
    assert codes(arms / "run", control=arms / "base") == ["T653"]
    assert codes(arms / "run", control=arms / "run") == ["T653"]
    assert told("verify", arms / "run", "--control", "nowhere")[0] == 2
