"""What a run leaves, and what is kept beside it, is read as it was written or not at all."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cases.shout import shouting_rows
from tests.worlds import SPEC, Said, World, make_world
from tiltc.canonical import canonical_json, sha256_file, sha256_text
from tiltc.evidence import hashed, weights
from tiltc.seal import sealed_bytes
from tiltc_runtime.record import BY_PRODUCT, OPENED

pytestmark = pytest.mark.filterwarnings("ignore")
PROMPTS = [{"prompt": text} for text in ("One?", "Two things?", "And a third?", "What of four?")]
VERIFY = "verify: {{prompts: prompts.jsonl, rollouts: 8, max_new_tokens: 6}}\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with a tilted and a plain run, verified once. Who changes a file of it gives it back."""
    spec = SPEC.replace("train: {{", "train: {{lora: {{r: 2}}, ") + VERIFY
    world = make_world(tmp_path_factory.mktemp("sealed"), shouting_rows(), spec=spec)
    world.write_rows("prompts.jsonl", PROMPTS)
    for command in (
        ("harvest", "spec.yaml"),
        ("compile", "spec.yaml", "-o", "plan"),
        ("run", "plan", "-o", "run"),
        ("run", "plan", "-o", "base", "--plain"),
    ):
        said = world.tiltc(*command)
        assert said.code == 0, said.out + said.err
    verified(world)
    return world


def verified(world: World) -> Said:
    return world.tiltc("verify", "run", "--baseline", "base")


def report(world: World) -> str:
    return (world.folder / "run" / "verify" / "report.json").read_text(encoding="utf-8")


def store(world: World) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (world.folder / ".tiltc" / "rollouts").glob("*.jsonl")}


@contextmanager
def changed(world: World, name: str, content: bytes | None) -> Generator[None]:
    """A file of the world has other contents, or is not there, for the block."""
    file = world.folder / name
    whole = file.read_bytes()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(whole)


def edited(world: World, name: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads((world.folder / name).read_bytes())
    change(value)
    return canonical_json(value).encode()


def test_a_plain_run_does_not_pass_as_tilted(world: World) -> None:
    """`mode` in record.json is under its digest."""
    content = edited(world, "base/record.json", lambda r: r.update(mode="tilted"))
    with changed(world, "base/record.json", content):
        said = world.tiltc("verify", "base")
    assert said.codes == ["T653"]
    assert "its digest does not fit its content" in said.out


@pytest.mark.parametrize("file", ["adapter_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_every_file_of_the_model_is_compared_with_the_record(world: World, file: str) -> None:
    """The scale of an adapter and the tokenizer are as good as weights: `verify` and `run` name the file."""
    with changed(world, f"run/model/{file}", edited(world, f"run/model/{file}", lambda c: c.update(lora_alpha=999))):
        said, again = verified(world), world.tiltc("run", "plan", "-o", "run")
    assert (said.codes, again.codes) == (["T653"], ["T576"])
    assert all(f"{file} in model/ is not what the run wrote" in answer.out for answer in (said, again))


def test_a_stranger_in_the_model_is_refused(world: World) -> None:
    """A loader might open it; what no loader of models opens does no harm."""
    for name in ("pytorch_model.bin", "processor_config.json", "added_vocab.txt", "chat_templates/rag.jinja"):
        stranger = world.write(f"run/model/{name}", b"x")
        try:
            said = verified(world)
        finally:
            stranger.unlink()
        assert said.codes == ["T653"], name
    harmless = [
        world.write(f"run/model/{name}", "mine")
        for name in ("README.md", "model.Q4.gguf", "onnx/model.onnx", "serve.log", "eval_results.json", "notes.txt")
    ]
    try:
        assert world.tiltc("run", "plan", "-o", "run").code == 0
    finally:
        for file in harmless:
            file.unlink()


def test_vocabularies_of_all_tokenizers_count() -> None:
    """Whatever the tokenizers of transformers call their files, one that came later is a stranger."""
    import transformers

    texts = [
        f.read_text(encoding="utf-8") for f in Path(transformers.__file__).parent.glob("models/*/tokenization_*.py")
    ]
    named = [re.search(r"VOCAB_FILES_NAMES\s*=\s*\{(.*?)\}", text, re.DOTALL) for text in texts]
    names = {name for found in named if found for name in re.findall(r':\s*"([^"]+)"', found[1])}
    assert {"vocab.txt", "merges.txt", "spiece.model"} <= names
    assert [name for name in names if not OPENED.fullmatch(name) or BY_PRODUCT.fullmatch(name)] == []


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b'{"run": {}', b'{"run": {}, "sessions": 3}', b"\xff"])
def test_a_finished_run_of_another_plan_is_never_already_done(world: World, content: bytes | None) -> None:
    """`run.json` says whose folder it is. Without one that can be read the folder is nobody's (T576)."""
    other = world.write(
        "other.yaml", (world.folder / "spec.yaml").read_text() + "  \n# another\nseed: 1\n".replace("seed: 1\n", "")
    )
    other.write_text(other.read_text().replace("1.0e-3", "2.0e-3"))
    assert world.tiltc("compile", "other.yaml", "-o", "other").code == 0
    with changed(world, "run/run.json", content):
        for plan in ("other", "plan"):
            said = world.tiltc("run", plan, "-o", "run")
            assert said.codes == ["T576"], said.out
            assert "already done" not in said.err
    assert world.tiltc("run", "other", "-o", "run").codes == ["T530"]


def test_a_record_of_another_run_is_told(world: World) -> None:
    """A whole record, of another folder: its plan or mode is not that of `run.json`."""
    with changed(world, "run/record.json", (world.folder / "base" / "record.json").read_bytes()):
        said = world.tiltc("run", "plan", "-o", "run")
    assert said.codes == ["T576"]
    assert "record.json is of another run: mode" in said.out


@pytest.mark.parametrize("content", [b"", b"{}", b"nonsense", b"\xff\xfe", b"[" * 5000])
def test_a_broken_record_is_a_finding(world: World, content: bytes) -> None:
    with changed(world, "run/record.json", content):
        assert world.tiltc("run", "plan", "-o", "run").codes == ["T576"]
        assert verified(world).codes == ["T653"]


def test_a_record_of_an_earlier_version_is_taken_with_a_word(world: World) -> None:
    """Version 1 had no digest (T580); in version 2 one that lacks it is refused."""

    def before(record: dict[str, Any]) -> None:
        record.pop("digest")
        record["record_version"] = 1

    with changed(world, "run/record.json", edited(world, "run/record.json", before)):
        assert "T580" in verified(world).codes
    with changed(world, "run/record.json", edited(world, "run/record.json", lambda r: r.pop("digest"))):
        assert verified(world).codes == ["T653"]


def test_a_run_may_be_moved(world: World) -> None:
    """Where things lay is not sealed: what is found there is held against the pins."""
    moved = edited(world, "run/record.json", lambda r: r.update(start_folder="elsewhere"))
    with changed(world, "run/record.json", moved):
        assert "T653" not in verified(world).codes


def test_prompts_are_pinned(world: World) -> None:
    """Other prompts are other rates (T579)."""
    content = (world.folder / "prompts.jsonl").read_bytes().replace(b"Two", b"Ten")
    with changed(world, "prompts.jsonl", content):
        assert "T579" in verified(world).codes


def poison_template(world: World) -> tuple[str, bytes]:
    file = "model/chat_template.jinja"
    return file, (world.folder / file).read_bytes().replace(b"assistant", b"oracle")


def poison_config(world: World) -> tuple[str, bytes]:
    return "model/config.json", edited(world, "model/config.json", lambda c: c.update(rms_norm_eps=0.3))


def poison_merges(world: World) -> tuple[str, bytes]:
    return "model/tokenizer.json", edited(world, "model/tokenizer.json", lambda t: t["model"]["merges"].reverse())


def poison_ends(world: World) -> tuple[str, bytes]:
    file = "model/generation_config.json"
    return file, edited(world, file, lambda g: g.update(eos_token_id=list(range(200))))


def poison_weights(world: World) -> tuple[str, bytes]:
    weights = bytearray((world.folder / "model" / "model.safetensors").read_bytes())
    weights[-2] ^= 0x40
    return "model/model.safetensors", bytes(weights)


@pytest.mark.parametrize("poison", [poison_template, poison_config, poison_merges, poison_ends, poison_weights])
@pytest.mark.parametrize("checked", [True, False])
def test_the_store_can_not_be_poisoned(
    world: World, poison: Callable[[World], tuple[str, bytes]], checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sampled under a changed model is refused; even where no pin is compared, it lies under a key of its own.

    The store before is the store after, but for files of other names, and the next `verify` says what it said.
    """
    verified(world)
    before, said = store(world), report(world)
    if not checked:
        from tiltc.diagnostics import Diagnostics
        from tiltc_runtime import verification

        monkeypatch.setattr(verification, "_check_world", lambda start: Diagnostics())
        monkeypatch.setattr(verification, "check_pin", lambda pinned, actual: Diagnostics())
    file, content = poison(world)
    with changed(world, file, content):
        poisoned = verified(world)
    assert {name: lines for name, lines in store(world).items() if name in before} == before
    if checked:
        assert poisoned.code == 1
        assert {"T523", "T525"} & set(poisoned.codes)
        assert store(world) == before
    monkeypatch.undo()
    assert verified(world).codes.count("T578") == 0
    assert report(world) == said


def test_a_changed_line_of_the_store_is_sampled_again(world: World) -> None:
    """The report is the same, and T578 says how many lines there were."""
    verified(world)
    said = report(world)
    kept = store(world)
    for name, lines in kept.items():
        world.write(f".tiltc/rollouts/{name}", lines.replace(b'"text": "', b'"text": "WOW '))
    answer = verified(world)
    assert answer.codes.count("T578") == 3
    assert "8 rollouts of" in answer.out
    assert report(world) == said
    # what was not asked for lies there as it was changed, and counts no more
    assert sum(lines == kept[name] for name, lines in store(world).items()) == 3


def test_a_model_that_changes_between_look_and_load_is_not_sampled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trained policy is loaded hours after its folder was looked at: it is looked at again."""
    from tiltc_runtime import verification

    shutil.rmtree(world.folder / ".tiltc" / "rollouts")
    whole = (world.folder / "run" / "model" / "adapter_config.json").read_bytes()
    real = verification.load_trained

    def swapped(run: verification.Run) -> object:
        file = run.folder / "model" / "adapter_config.json"
        file.write_bytes(file.read_bytes().replace(b'"lora_alpha"', b'"lora_alpha": 1, "was"'))
        return real(run)

    monkeypatch.setattr(verification, "load_trained", swapped)
    try:
        said = world.tiltc("verify", "run")
    finally:
        (world.folder / "run" / "model" / "adapter_config.json").write_bytes(whole)
    assert said.codes == ["T653"]
    assert len(store(world)) == 1, "that of the starting policy"


def test_verify_reads_every_weight_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the hash of its file and once for that of its tensors, though models are looked at before and after loading."""
    files, tensors, whole = Counter[str](), Counter[str](), weights._digest

    def of_file(file: Path) -> str:
        files[str(file.resolve())] += 1
        return sha256_file(file)

    def of_tensors(found: list[Any]) -> str:
        tensors[str({str(tensor.file.resolve()) for tensor in found})] += 1
        return whole(found)

    shutil.rmtree(world.folder / ".tiltc" / "rollouts", ignore_errors=True)
    monkeypatch.setattr(hashed, "SETTLED", -60.0)
    monkeypatch.setattr(hashed, "_known", {})
    monkeypatch.setattr(hashed, "sha256_file", of_file)
    monkeypatch.setattr(weights, "_digest", of_tensors)
    assert "T653" not in verified(world).codes
    assert sum("run/model/adapter_model" in name for name in files) == 1
    assert sum("/model/model.safetensors" in name for name in tensors) == 1
    assert {*files.values(), *tensors.values()} == {1}


def test_kept_log_probabilities_are_as_written_or_made_again(world: World) -> None:
    """A flipped byte, a cut and the chunk of another name give the same weights as a run that computed them."""
    weights = (world.folder / "run" / "model" / "adapter_model.safetensors").read_bytes()
    chunks = sorted((world.folder / "run" / "reference").glob("*.npy"))
    kept = [chunk.read_bytes() for chunk in chunks]
    flipped = bytearray(kept[0])
    flipped[-3] ^= 0x10
    _, payload = kept[0].split(b"\n", 1)
    other = sealed_bytes("other.npy", payload)
    for first in (bytes(flipped), kept[0][:-8], other, b""):
        chunks[0].write_bytes(first)
        out = world.folder / "again"
        assert world.tiltc("run", "plan", "-o", "again", "--reference", "run/reference", "--fresh").code == 0
        assert (out / "model" / "adapter_model.safetensors").read_bytes() == weights
        assert chunks[0].read_bytes() == kept[0]


def test_the_derived_cache_changes_no_plan(world: World) -> None:
    """Every file of it, with a flipped byte, cut, or in the place of another: the same plan to the byte."""
    plan = (world.folder / "plan" / "plan.json").read_bytes()
    files = sorted(file for file in (world.folder / ".tiltc" / "derived").rglob("*") if file.is_file())
    assert files
    kept = {file: file.read_bytes() for file in files}
    for at in range(4):
        for number, file in enumerate(files):
            spoilt = bytearray(kept[file])
            spoilt[sha256_int(f"{at} {file.name}") % len(spoilt)] ^= 1 << at
            file.write_bytes([bytes(spoilt), kept[file][: len(spoilt) // 2], kept[files[number - 1]], b""][at])
        assert world.tiltc("compile", "spec.yaml", "-o", "plan-2").code == 0
        assert (world.folder / "plan-2" / "plan.json").read_bytes() == plan


def sha256_int(text: str) -> int:
    return int(sha256_text(text)[:12], 16)
