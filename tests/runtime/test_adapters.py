"""ReFT adapters in a harvest: fitted to the texts of the recipe, scored like vectors, and written whole."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.kill_resume_harvest import contents, make_world, only_own

from tests.runtime.test_likelihood import plain_logp
from tests.runtime.test_reft import drawn, naive
from tests.runtime.tiny import WIDTH, tiny_model_folder
from tiltc.derived import Derived
from tiltc.evidence import CLEAN, Adapted, AdapterPin, Evidence, open_evidence
from tiltc.parse import SpecFile, parse
from tiltc.pipeline import compile_spec
from tiltc.planfile import write_plan
from tiltc.resolve.pulls import likelihood_requests
from tiltc.resolve.reft import adapter_recipes
from tiltc_runtime import adapters, inputs
from tiltc_runtime.admit import admit
from tiltc_runtime.harvest import harvest
from tiltc_runtime.likelihood import Item, Scorer, steering
from tiltc_runtime.loading import decoder_layers, load_model
from tiltc_runtime.pairs import load_pairs
from tiltc_runtime.reft import gained
from tiltc_runtime.tokens import encode_pair

PAIRS = 80
SPEC = """\
tiltc: 1
name: tiny
model: ./model
sae: ./sae
data: pairs.jsonl
concepts:
  cats: {about: Mentions cats., examples: pets.jsonl}
  garden: {about: Mentions a garden., words: [garden]}
signals:
  - {suppress: garden, readout: detector, with: steer, by: reft, form: forward, fraction: 20%}
  - {amplify: cats, readout: direction, with: steer, by: reft, form: forward, size: 2, to: 1.1x}
allow:
  - {code: T407, because: it is what a forward form does}
"""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(inputs, "SHARD", 32)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_world(folder, PAIRS)
    rows = [
        {"prompt": "Pets?", "response": f"{name} {i} or not", "label": int(name == "cats"), "pair": str(i)}
        for i in range(24)
        for name in ("cats", "dogs")
    ]
    (folder / "pets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")
    return folder


def spec(world: Path) -> SpecFile:
    spec_file, found = parse(str(world / "spec.yaml"))
    assert spec_file is not None, list(found)
    return only_own(spec_file)


def harvested(world: Path, store: Path, err: io.StringIO | None = None) -> Path:
    made, found = harvest(spec(world), store, device="cpu", err=err)
    assert made is not None, list(found)
    return made


@pytest.fixture(scope="module")
def folder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed harvest."""
    before, inputs.SHARD, threads = inputs.SHARD, 32, torch.get_num_threads()
    torch.set_num_threads(1)
    made = harvested(world, tmp_path_factory.mktemp("store"))
    inputs.SHARD = before
    torch.set_num_threads(threads)
    return made


def opened(folder: Path) -> Evidence:
    evidence, found = open_evidence(folder)
    assert evidence is not None, list(found)
    return evidence


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("shared", [True, False])
def test_scores_are_those_of_plain_lines(tmp_path: Path, family: str, shared: bool) -> None:
    """Prompts shared or not, each response has the log-likelihood of its sequence with the formula in one layer's output."""
    tiny_model_folder(tmp_path, family)
    loaded = load_model(str(tmp_path), device="cpu")
    rng = np.random.default_rng(0)
    items = [
        Item(
            tuple(rng.integers(5, 60, 4 + 3 * i).tolist()),
            tuple(tuple(rng.integers(5, 60, n).tolist()) for n in (1 + 5 * i, 40 - 4 * i)),
            start=2,
        )
        for i in range(5)
    ]
    request = Adapted(drawn(3, 0.2), 1, 0.7, 5)
    scorer = Scorer(loaded)
    scorer.shared = shared
    with steering(scorer, request):
        mine = scorer.score(items)
    clean = scorer.score(items)
    with steering(scorer, Adapted(request.adapter, 1, 0.0, 5)):
        assert np.array_equal(scorer.score(items), clean), "of size 0 it adds nothing to any bit"
    for i, item in enumerate(items):
        for side, ids in enumerate(item.responses):

            def bend(_m: Any, _i: Any, output: Any, at: int = len(item.prompt), ids: Any = ids) -> Any:
                hidden = output if isinstance(output, torch.Tensor) else output[0]
                hidden[0] = naive(hidden[0], request.adapter, 0.7, at, at + len(ids), 5)
                return output

            base = plain_logp(loaded.model, item.prompt, ids)
            handle = decoder_layers(loaded.model)[1].register_forward_hook(bend)
            direct = plain_logp(loaded.model, item.prompt, ids)
            handle.remove()
            assert mine[i, side] == pytest.approx(direct, abs=4e-3)
            assert clean[i, side] == pytest.approx(base, abs=4e-3)
            # the first token is predicted before there is a token to work on
            assert (abs(direct - base) > 1e-2) == (len(ids) > 1)


def test_a_harvest_fits_adapters_and_scores_by_them(world: Path, folder: Path) -> None:
    """What is kept is the recipe's fit, with what held-out texts gain; both requests have their likelihoods."""
    evidence, spec_file = opened(folder), spec(world)
    recipes = adapter_recipes(spec_file, evidence, Derived(None))
    assert {p.name for p in (folder / "reft").iterdir()} == {r.key for r in recipes}
    assert len(recipes) == 2
    requests = likelihood_requests(spec_file, evidence, Derived(None))
    assert sorted(r.size for r in requests.values() if isinstance(r, Adapted)) == [-2.0, 1.0]
    assert {p.name for p in (folder / "likelihood").iterdir()} == {CLEAN, *requests}
    loaded = load_model(str(world / "model"), device="cpu")
    of_data = next(r for r in recipes if r.held[0].side != "example")
    fitted = evidence.adapter(of_data.key)
    assert fitted is not None
    assert fitted.tensor.shape == (8, 2 * WIDTH + 1)
    pin = AdapterPin.model_validate_json((folder / "reft" / of_data.key / "adapter.json").read_bytes())
    assert (pin.recipe, pin.of) == (of_data, evidence.manifest.digest)
    assert pin.loss[-1] < pin.loss[0]
    # of a text of the data, what it gains a token is what its likelihood says, which another pass has computed
    scores = evidence.likelihood(next(k for k, r in requests.items() if isinstance(r, Adapted) and r.size == 1.0))
    assert scores is not None
    pairs = load_pairs("pairs.jsonl", world).pairs
    for text, gain in list(zip(of_data.held, fitted.held, strict=True))[::5]:
        side = ("chosen", "rejected").index(text.side)
        encoded = encode_pair(loaded.tokenizer, pairs[text.row], 1024)
        ids = encoded.responses[side]
        assert gain == pytest.approx(scores[text.row, side] / len(ids), abs=2e-3)
        again = gained(loaded.model, [(encoded.prompt, ids)], fitted.tensor, of_data)
        assert again[0] == pytest.approx(gain, abs=1e-5)
    shows = np.array([t.label for t in of_data.held])
    assert fitted.held[shows].mean() > 0


def test_the_plan_carries_the_adapters_and_the_runtime_checks_them(world: Path, folder: Path, tmp_path: Path) -> None:
    """As fitted, bit for bit; a tensor of another shape, a number that is none and ends of no length are refused."""
    evidence = opened(folder)
    compiled, found = compile_spec(spec(world), evidence)
    assert compiled is not None, [(d.code, d.primary.text) for d in found]
    plan = write_plan(compiled.plan, compiled.rows, tmp_path / "plan", compiled.tools)
    assert [(s.concept, s.tool, s.size, s.ends) for s in plan.steering] == [
        ("garden", "reft", 1.0, 11),
        ("cats", "reft", -2.0, 11),
    ]
    admitted, found = admit(tmp_path / "plan", root=world)
    assert admitted is not None, [(d.code, d.primary.text) for d in found]
    for recipe in adapter_recipes(spec(world), evidence, Derived(None)):
        kept = evidence.adapter(recipe.key)
        assert kept is not None
        assert any(np.array_equal(kept.tensor, tool) for tool in admitted.loaded.tools.values())
    key, tensor = plan.steering[0].key, compiled.tools[plan.steering[0].key]
    broken = tensor.copy()
    broken[0, 0] = np.nan
    tools = [{key: tensor[:, :-1]}, {key: tensor[0]}, {key: tensor[:0]}, {key: broken}]
    for i, change in enumerate(tools):
        write_plan(plan, compiled.rows, tmp_path / f"bad{i}", compiled.tools | change)
        admitted, found = admit(tmp_path / f"bad{i}", root=world)
        assert admitted is None
        assert [d.code for d in found] == ["T539"]
    without = {k: v for k, v in compiled.tools.items() if k != key}
    write_plan(plan, compiled.rows, tmp_path / "none", without)
    assert "T539" in [d.code for d in admit(tmp_path / "none", root=world)[1]]
    for i, change in enumerate(({"ends": 0}, {"ends": None}, {"tool": "direction"}, {"layer": 9})):
        first = plan.steering[0].model_copy(update=change)
        other = plan.model_copy(update={"steering": (first, *plan.steering[1:])})
        write_plan(other, compiled.rows, tmp_path / f"odd{i}", compiled.tools)
        assert [d.code for d in admit(tmp_path / f"odd{i}", root=world)[1]] == ["T539"]


def test_a_killed_fit_goes_on(world: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after one adapter, a harvest keeps it, and all bytes are in the end those of an undisturbed one."""
    fit, calls = adapters.fit_one, 0

    def stopping(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        fit(*args)

    monkeypatch.setattr(adapters, "fit_one", stopping)
    with pytest.raises(KeyboardInterrupt):
        harvested(world, tmp_path)
    (torn,) = (p for p in tmp_path.iterdir() if p.is_dir())
    (kept,) = (torn / "reft").iterdir()
    # what a kill in the middle of writing leaves behind
    (torn / "reft" / ".x.tmp").mkdir()
    err = io.StringIO()
    assert harvested(world, tmp_path, err) == torn
    assert calls == 3, f"{kept.name} is not fitted again"
    assert contents(torn) == contents(folder)
    assert "ReFT adapter" in err.getvalue()
    assert "epoch 3 of 3: " in err.getvalue()
    err = io.StringIO()
    monkeypatch.setattr(inputs, "load_model", lambda *_, **__: pytest.fail("loaded the model"))
    harvested(world, tmp_path, err)
    assert "nothing to do" in err.getvalue()


def test_a_changed_adapter_is_refused(folder: Path, tmp_path: Path) -> None:
    """Weights that are not those that were written, or a recipe of other evidence, are damage."""
    for name, change in (
        ("adapter.safetensors", lambda b: b[:-2] + b"xx"),
        ("adapter.json", lambda b: b.replace(b'"of": "', b'"of": "0')),
    ):
        copy = tmp_path / name / folder.name
        shutil.copytree(folder, copy)
        file = next((copy / "reft").glob(f"*/{name}"))
        assert change(file.read_bytes()) != file.read_bytes()
        file.write_bytes(change(file.read_bytes()))
        # what was fitted is small, and compared in evidence of any size
        for verify in (True, False):
            evidence, found = open_evidence(copy, verify=verify)
            assert evidence is None
            assert {d.code for d in found} == {"T504"}
        file.unlink()
        if name == "adapter.safetensors":
            assert {d.code for d in open_evidence(copy, verify=False)[1]} == {"T503"}


def test_an_adapter_that_is_not_finite_is_refused(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T513, and nothing of it is kept."""
    monkeypatch.setattr(adapters, "fit_adapter", lambda *_: (np.full((8, 2 * WIDTH + 1), np.nan, np.float32), (0.0,)))
    made, found = harvest(spec(world), tmp_path, device="cpu")
    assert made is None
    assert [d.code for d in found] == ["T513"]
    assert not list(tmp_path.glob("*/reft/*"))
