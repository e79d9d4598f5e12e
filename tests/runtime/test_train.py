from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.kill_resume_run import killed, undisturbed
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, TrainerCallback

import tiltc_runtime.train as train_module
from tests.runtime.planned import CONTROLS, PAIRS, TRAIN, forms, tiny_plan, tiny_rows, tiny_world
from tiltc.canonical import sha256_file
from tiltc.cli import main
from tiltc.planfile import read_plan
from tiltc_runtime import checkpoints
from tiltc_runtime.progress import Progress
from tiltc_runtime.record import RunRecord, read_record
from tiltc_runtime.runfolder import RunFolder
from tiltc_runtime.settings import trainer_arguments
from tiltc_runtime.train import run
from tiltc_runtime.trainer import TiltedDPOTrainer

#: 13 pairs in batches of 2, two epochs
STEPS = 14


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny matrices gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_world(tmp_path_factory.mktemp("world"))
    tiny_plan(folder, folder / "plan")
    return folder


@pytest.fixture(scope="module")
def done(world: Path) -> RunRecord:
    return finished(world, world / "done")


def finished(world: Path, out: Path, plan: str = "plan", **options: Any) -> RunRecord:
    record, found = run(world / plan, out, root=world, **options)
    assert record is not None, list(found)
    return record


class Stop(Exception):
    """Stands for whatever ends a process."""


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the run in the middle of a step."""
    original = TiltedDPOTrainer.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            raise Stop
        return original(self, *args, **kwargs)

    monkeypatch.setattr(TiltedDPOTrainer, "training_step", training_step)


def interrupted(world: Path, out: Path, step: int, plan: str = "plan", **options: Any) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        stop_at(step, monkeypatch)
        with pytest.raises(Stop):
            run(world / plan, out, root=world, **options)


def test_a_run_trains_saves_and_records(world: Path, done: RunRecord) -> None:
    """The record says what was trained and from what, and the model can be loaded on the start model."""
    assert done.steps == len(done.history) == STEPS
    assert done.kind == "adapter"
    assert (done.rows.pairs, done.rows.trained) == (PAIRS, PAIRS - 1)
    assert done == read_record(world / "done")
    assert (world / "done" / "plan" / "plan.json").read_bytes() == (world / "plan" / "plan.json").read_bytes()
    base = AutoModelForCausalLM.from_pretrained(done.start_folder)
    loaded = PeftModel.from_pretrained(base, world / "done" / "model")
    norms = [p.norm().item() for n, p in loaded.named_parameters() if "lora_B" in n]
    assert norms
    assert all(norm > 0 for norm in norms)


def test_adapters_start_at_the_layer_asked_for(world: Path, done: RunRecord) -> None:
    """With `lora.layers: 1`, all seven projections of layers 1 and 2 have adapters, layer 0 and the head none."""
    names = list(load_file(world / "done" / "model" / "adapter_model.safetensors"))
    layers = {name.split("layers.")[1].split(".")[0] for name in names}
    projections = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names}
    assert layers == {"1", "2"}
    assert projections == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_the_same_plan_gives_the_same_weights(world: Path, done: RunRecord) -> None:
    """Two runs of one plan agree in every bit of the weights and in every logged number."""
    again = finished(world, world / "again")
    assert again.weights == done.weights
    assert again.history == done.history


def test_a_plain_run_is_another_run(world: Path, done: RunRecord) -> None:
    """The baseline trains on all rows without weights or offsets: it starts at log 2 and ends elsewhere."""
    plain = finished(world, world / "plain", plain=True)
    assert plain.mode == "plain"
    assert plain.rows.trained == PAIRS
    assert plain.history[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert plain.weights != done.weights


def test_full_training_saves_a_whole_model(world: Path) -> None:
    """Without `lora`, all weights are trained in float32 and saved."""
    tiny_plan(world, world / "full-plan", train=TRAIN.model_copy(update={"lora": None, "max_steps": 2}))
    record = finished(world, world / "full", "full-plan")
    model = AutoModelForCausalLM.from_pretrained(world / "full" / "model")
    assert record.kind == "full"
    assert record.steps == 2
    assert model.dtype == torch.float32
    start = AutoModelForCausalLM.from_pretrained(world / "model").state_dict()
    assert not torch.equal(start["model.layers.0.mlp.up_proj.weight"], model.model.layers[0].mlp.up_proj.weight)


def test_mixed_precision_keeps_float32_weights(world: Path) -> None:
    """`bf16-mixed` changes the arithmetic, not the weights: a learning rate below bfloat16's steps still moves them."""
    changes = {"lora": None, "max_steps": 3, "precision": "bf16-mixed", "learning_rate": 1e-7, "warmup": 0.0}
    tiny_plan(world, world / "mixed-plan", train=TRAIN.model_copy(update=changes))
    finished(world, world / "mixed", "mixed-plan")
    weights = load_file(world / "mixed" / "model" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    start = load_file(world / "model" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    moved = (weights - start).abs().max().item()
    assert weights.dtype == torch.float32
    assert 0 < moved < 1e-6


def test_no_layer_below_the_adapters_runs_backwards(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The input of the first adapted layer needs no gradient, also when activations are recomputed."""
    seen: dict[int, bool] = {}

    class Watch(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            for i, layer in enumerate(model.base_model.model.model.layers):
                layer.register_forward_hook(lambda m, args, out, i=i: seen.update({i: out.requires_grad}))

    made = train_module.make_trainer

    def watched(job: Any) -> Any:
        trainer = made(job)
        trainer.add_callback(Watch())
        return trainer

    def with_checkpointing(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return trainer_arguments(*args, **kwargs) | {"gradient_checkpointing": True}

    monkeypatch.setattr(train_module, "make_trainer", watched)
    for name, arguments in (("plain", trainer_arguments), ("recomputed", with_checkpointing)):
        monkeypatch.setattr(train_module, "trainer_arguments", arguments)
        finished(world, world / f"watched-{name}")
        assert seen == {0: False, 1: True, 2: True}, name


@pytest.mark.parametrize("step", [1, 5, 9, 13])
def test_an_interrupted_run_goes_on_bit_for_bit(world: Path, done: RunRecord, step: int) -> None:
    """Stopped within any step of either epoch, it goes on from the last checkpoint to the same bits and history."""
    out = world / f"interrupted-{step}"
    interrupted(world, out, step)
    assert read_record(out) is None
    record = finished(world, out)
    assert [session.from_step for session in record.sessions] == [0, step - step % 2]
    assert record.weights == done.weights
    assert record.history == done.history


@pytest.fixture(scope="module")
def forward(world: Path) -> str:
    """A plan that masks, prompts and steers, by vectors and by an adapter."""
    rows = tiny_rows(world, **forms(PAIRS, "tokens", "inoculate", "reft"))
    tiny_plan(world, world / "forward-plan", rows=rows, forward=True)
    return "forward-plan"


def test_a_run_of_all_forms_goes_on_bit_for_bit(world: Path, forward: str) -> None:
    """Masks, prompts, vectors and adapters are there again after an interrupt, and the run folder's copy of the plan is whole."""
    whole = finished(world, world / "forward", forward)
    interrupted(world, world / "forward-again", 5, forward)
    again = finished(world, world / "forward-again", forward)
    assert (again.weights, again.history) == (whole.weights, whole.history)
    loaded, found = read_plan(world / "forward" / "plan")
    assert loaded is not None, list(found)
    assert loaded.plan.pins.tools


def test_a_plain_run_masks_prompts_and_steers_nothing(world: Path, forward: str) -> None:
    """The baseline of such a plan is the baseline of any plan over the same data."""
    ours = finished(world, world / "forward-plain", forward, plain=True)
    theirs = finished(world, world / "plain-again", plain=True)
    assert (ours.weights, ours.history) == (theirs.weights, theirs.history)


def test_a_control_run_differs_in_what_is_said_alone(world: Path, forward: str) -> None:
    """It is, to the bit, the run of a plan that is the same but for the texts of its instructions."""
    rows = tiny_rows(world, **forms(PAIRS, "tokens", "inoculate", "reft"))
    tiny_plan(world, world / "told-plan", rows=rows, forward=True, prompts=tuple(c.text for c in CONTROLS))
    told = finished(world, world / "told", "told-plan")
    reference = world / "shared-reference"
    tilted = finished(world, world / "tilted", forward, reference=reference)
    before = {path.name: path.read_bytes() for path in reference.rglob("*") if path.is_file()}
    control = finished(world, world / "control", forward, control=True, reference=reference)
    assert control.mode == "control"
    assert (control.plan, control.rows, control.arguments) == (tilted.plan, tilted.rows, tilted.arguments)
    assert (control.weights, control.history) == (told.weights, told.history)
    assert control.weights != tilted.weights
    # the reference reads no instruction: what was kept for the one run is all that the other needs
    assert before == {path.name: path.read_bytes() for path in reference.rglob("*") if path.is_file()}


def test_an_interrupted_control_run_goes_on_bit_for_bit(world: Path, forward: str) -> None:
    """Killed and gone on with, it is the same control; and it is not gone on with as the tilted run, or the reverse."""
    whole = finished(world, world / "control-whole", forward, control=True)
    interrupted(world, world / "control-again", 5, forward, control=True)
    record, found = run(world / forward, world / "control-again", root=world)
    assert record is None
    assert [d.code for d in found] == ["T530"]
    again = finished(world, world / "control-again", forward, control=True)
    assert [session.from_step for session in again.sessions] == [0, 4]
    assert (again.weights, again.history) == (whole.weights, whole.history)


def test_a_plan_without_instructions_has_no_control(world: Path) -> None:
    """No row that is kept is told anything: the control would be the tilted run over again, and is refused."""
    alone = [0 if i == 2 else -1 for i in range(PAIRS)]
    tiny_plan(world, world / "dropped-plan", rows=tiny_rows(world, chosen_prompt=alone), forward=True)
    for plan in ("plan", "dropped-plan"):
        record, found = run(world / plan, world / "no-control", root=world, control=True)
        assert record is None
        assert [d.code for d in found] == ["T548"]
        assert not (world / "no-control").exists()
    with pytest.raises(ValueError, match="not both"):
        run(world / "plan", world / "no-control", root=world, control=True, plain=True)


def spoil_nothing_sealed(checkpoint: Path) -> None:
    (checkpoint / "tiltc.json").unlink()


def spoil_optimizer(checkpoint: Path) -> None:
    content = (checkpoint / "optimizer.pt").read_bytes()
    (checkpoint / "optimizer.pt").write_bytes(content[: len(content) // 2])


def spoil_weights(checkpoint: Path) -> None:
    (checkpoint / "adapter_model.safetensors").unlink()


def spoil_seal(checkpoint: Path) -> None:
    (checkpoint / "tiltc.json").write_text('{"run": ')


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 0x40
    file.write_bytes(content)


def spoil_a_byte_of_the_weights(checkpoint: Path) -> None:
    flip(checkpoint / "adapter_model.safetensors")


def spoil_a_byte_of_the_optimizer(checkpoint: Path) -> None:
    flip(checkpoint / "optimizer.pt")


def spoil_a_byte_of_the_seal(checkpoint: Path) -> None:
    flip(checkpoint / "tiltc.json")


def spoil_by_a_stranger(checkpoint: Path) -> None:
    (checkpoint / "pytorch_model.bin").write_bytes(b"x")


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_nothing_sealed,
        spoil_optimizer,
        spoil_weights,
        spoil_seal,
        spoil_a_byte_of_the_weights,
        spoil_a_byte_of_the_optimizer,
        spoil_a_byte_of_the_seal,
        spoil_by_a_stranger,
    ],
)
def test_a_half_written_checkpoint_is_not_used(world: Path, done: RunRecord, spoil: Callable[[Path], None]) -> None:
    """The newest checkpoint is incomplete: the run falls back to the one before it, and ends in the same bits."""
    out = world / spoil.__name__
    interrupted(world, out, 7)
    spoil(out / "checkpoints" / "checkpoint-6")
    record = finished(world, out)
    assert [session.from_step for session in record.sessions] == [0, 4]
    assert record.weights == done.weights
    assert record.history == done.history


def test_the_checkpoint_before_a_whole_one_is_not_read(
    world: Path, done: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints are large: each file of the newest is read once, the older checkpoint only if that one doesn't count."""
    out = world / "read-once"
    interrupted(world, out, 7)
    read = Counter[str]()

    def counted(file: Path) -> str:
        read[str(file.relative_to(out / "checkpoints"))] += 1
        return sha256_file(file)

    monkeypatch.setattr(checkpoints, "sha256_file", counted)
    identity = RunFolder(out, {})._read().identity  # pyright: ignore[reportOptionalMemberAccess]
    kept = checkpoints.kept_checkpoints(out / "checkpoints", identity)
    assert (kept.newest, kept.broken) == (out / "checkpoints" / "checkpoint-6", {})
    assert {name.split("/")[0] for name in read} == {"checkpoint-6"}
    assert set(read.values()) == {1}


def test_an_empty_checkpoint_folder_is_not_used(world: Path, done: RunRecord) -> None:
    """A folder made by a process that was killed at once does no harm."""
    out = world / "empty-checkpoint"
    interrupted(world, out, 3)
    (out / "checkpoints" / "checkpoint-4").mkdir()
    assert finished(world, out).weights == done.weights


def test_a_finished_run_is_not_trained_again(world: Path, done: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is returned as it is; the model file is not touched."""
    stop_at(0, monkeypatch)
    said: list[str] = []
    assert finished(world, world / "done", say=said.append) == done
    assert any("already done" in line for line in said)


def test_fresh_starts_again_and_removes_only_what_is_its_own(world: Path, done: RunRecord) -> None:
    """`fresh` forgets another plan's checkpoints, and leaves the user's notes alone."""
    out = world / "to-be-fresh"
    shutil.copytree(world / "done", out)
    (out / "notes.txt").write_text("mine")
    plain = finished(world, out, plain=True, fresh=True)
    assert plain.mode == "plain"
    assert len(plain.sessions) == 1
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_another_plan_is_refused(world: Path, done: RunRecord, state: str) -> None:
    """A folder that belongs to one plan is not continued under another, nor in the other mode."""
    out = world / f"taken-{state}"
    if state == "finished":
        shutil.copytree(world / "done", out)
    else:
        interrupted(world, out, 3)
    tiny_plan(world, world / "other-plan", rows=tiny_rows(world, weight=[1.0] * PAIRS))
    for plan, plain in (("other-plan", False), ("plan", True)):
        record, found = run(world / plan, out, root=world, plain=plain)
        assert record is None
        assert [d.code for d in found] == ["T530"]


def test_a_stale_plan_trains_nothing(world: Path, tmp_path: Path) -> None:
    """Refused at admission: the run folder does not even appear."""
    shutil.copytree(world / "plan", tmp_path / "plan")
    plan = json.loads((tmp_path / "plan" / "plan.json").read_text())
    plan["train"]["beta"] = 0.5
    (tmp_path / "plan" / "plan.json").write_text(json.dumps(plan))
    record, found = run(tmp_path / "plan", tmp_path / "run", root=world)
    assert record is None
    assert [d.code for d in found] == ["T521"]
    assert not (tmp_path / "run").exists()


def test_two_writers_in_one_folder_are_refused(world: Path, tmp_path: Path) -> None:
    """While one process trains into a folder, another is turned away."""
    from tiltc_runtime.locking import lock
    from tiltc_runtime.runfolder import LOCK_FILE

    with lock(tmp_path / LOCK_FILE):
        record, found = run(world / "plan", tmp_path, root=world)
    assert record is None
    assert [d.code for d in found] == ["T538"]


def test_a_loss_that_is_no_number_ends_the_run(world: Path) -> None:
    """A learning rate that blows the model up is a finding, and no model is saved."""
    wild = TRAIN.model_copy(update={"learning_rate": 1e30, "lora": None, "warmup": 0.0})
    tiny_plan(world, world / "wild-plan", train=wild)
    record, found = run(world / "wild-plan", world / "wild", root=world)
    assert record is None
    assert [d.code for d in found] == ["T535"]
    assert not (world / "wild" / "model").exists()


def call(*arguments: object) -> tuple[int, str, str]:
    out, err = StringIO(), StringIO()
    return main([str(a) for a in arguments], out, err), out.getvalue(), err.getvalue()


def test_the_verb_prints_the_result_and_the_way_there(world: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Results on stdout, step, loss and time left on stderr, and nothing from the libraries."""
    capfd.readouterr()
    code, out, err = call("run", world / "plan", "-o", world / "verb", "--root", world)
    assert code == 0
    assert out.startswith(f"{world / 'verb'}: tiny, tilted, 13 of 14 pairs, 14 steps, final loss 0.")
    assert f"step {STEPS}/{STEPS}  loss 0." in err
    assert "left" in err
    assert capfd.readouterr() == ("", "")


def test_the_verb_reports_a_refused_plan(world: Path) -> None:
    """Findings give exit code 1, and the code is in the text; a folder that is not there is wrong usage."""
    (world / "empty").mkdir()
    code, out, _ = call("run", world / "empty", "-o", world / "verb-2")
    assert code == 1
    assert "T520" in out
    assert call("run", world / "nowhere", "-o", world / "verb-2")[0] == 2


def test_an_interrupt_says_how_to_go_on(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: exit code 130, and the last line is the command that continues."""

    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_log", interrupt)
    code, _, err = call("run", world / "plan", "-o", world / "verb-3", "--root", world)
    assert code == 130
    assert err.splitlines()[-1].endswith(f"tiltc run {world / 'plan'} -o {world / 'verb-3'} --root {world}")


def test_an_interrupted_control_says_so(world: Path, forward: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that continues a control run is that of a control run; it can't be a plain one as well."""

    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_log", interrupt)
    code, _, err = call("run", world / forward, "-o", world / "verb-4", "--root", world, "--control")
    assert code == 130
    assert err.splitlines()[-1].endswith(f"-o {world / 'verb-4'} --control --root {world}")
    assert call("run", world / forward, "-o", world / "verb-5", "--control", "--plain")[0] == 2


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL, several times in each of three runs: weights, history and reference cache equal an undisturbed run's."""
    import random

    world = tiny_world(tmp_path)
    tiny_plan(world, world / "plan")
    _, seconds = undisturbed(world)
    trials = [killed(world, f"run-{i}", seconds, random.Random(i)) for i in range(3)]
    assert all(trial.same for trial in trials)
    assert sum(trial.kills for trial in trials) >= 3
