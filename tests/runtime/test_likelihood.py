"""Likelihoods under instructions and steering: what is written is what a few plain lines compute, whole or not at all."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.kill_resume_harvest import contents, only_own, trial, undisturbed

from tests.runtime.tiny import tiny_model_folder, tiny_pairs, tiny_sae_folder
from tiltc.derived import Derived
from tiltc.evidence import CLEAN, Evidence, Instructed, Request, Steered, open_evidence, prompt_key, steer_key
from tiltc.hook import hook_layer
from tiltc.parse import SpecFile, parse
from tiltc.resolve.pulls import likelihood_requests
from tiltc.resolve.tools import vector_of
from tiltc.resolve.world import read_world
from tiltc_runtime import inputs, likelihood
from tiltc_runtime.harvest import harvest
from tiltc_runtime.instructed import last_turn_start
from tiltc_runtime.likelihood import score_likelihoods
from tiltc_runtime.loading import LoadedModel, decoder_layers, load_model
from tiltc_runtime.pairs import Pair, load_pairs
from tiltc_runtime.refused import Refused
from tiltc_runtime.tokens import encode_pair

PAIRS, LENGTH = 40, 130
TEXT = "Mention the winter garden, please."
SPEC = """\
tiltc: 1
name: tiny
model: ./model
sae: ./sae
data: pairs.jsonl
concepts:
  winter:
    about: Mentions winter.
    words: [winter]
    instructions: ["Mention the winter garden, please.", "Speak of winter."]
signals:
  - suppress: winter
train: {max_length: 130}
"""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(inputs, "SHARD", 16)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec, model, SAE and pairs: some prompts with a system turn or earlier turns, one too long, two equal sides."""
    folder = tmp_path_factory.mktemp(request.param)
    make(folder, request.param)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make(folder, "llama")
    return folder


def make(folder: Path, family: str) -> None:
    tiny_model_folder(folder / "model", family)
    tiny_sae_folder(folder / "sae")
    rows = tiny_pairs(PAIRS)
    for row in rows[::5]:
        row["prompt"] = [{"role": "system", "content": "Be brief."}, *row["prompt"]]
    for row in rows[3::5]:
        row["prompt"] = [{"role": "user", "content": "cat?"}, {"role": "assistant", "content": "no"}, *row["prompt"]]
    rows[4]["prompt"] = [{"role": "user", "content": "x" * 300}]
    rows[6]["rejected"] = rows[6]["chosen"]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")


def spec(world: Path, *overrides: str) -> SpecFile:
    spec_file, found = parse(str(world / "spec.yaml"), overrides)
    assert spec_file is not None, list(found)
    return only_own(spec_file)


def asking(world: Path, **settings: Any) -> SpecFile:
    """The spec whose one signal has these settings."""
    made = spec(world)
    signal = made.spec.signals[0].model_copy(update={"with_": settings.pop("way"), **settings})
    return replace(made, spec=made.spec.model_copy(update={"signals": (signal,)}))


def done(spec_file: SpecFile, store: Path, err: io.StringIO | None = None) -> Path:
    folder, found = harvest(spec_file, store, device="cpu", err=err)
    assert folder is not None, list(found)
    return folder


def opened(folder: Path) -> Evidence:
    evidence, found = open_evidence(folder)
    assert evidence is not None, list(found)
    return evidence


def plain_logp(model: Any, prompt: tuple[int, ...], response: tuple[int, ...]) -> float:
    """log p of a response's tokens, one at a time from the logits of one unpadded sequence."""
    with torch.inference_mode():
        logp = model(torch.tensor([prompt + response])).logits[0].double().log_softmax(-1)
    return sum(float(logp[len(prompt) + i - 1, token]) for i, token in enumerate(response))


def plain_steered(model: Any, request: Steered, start: int, call: Callable[[], float]) -> float:
    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        hidden[:, start:] += request.size * torch.from_numpy(request.vector)
        return output

    handle = decoder_layers(model)[request.layer].register_forward_hook(add)
    try:
        return call()
    finally:
        handle.remove()


def vector(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=32).astype(np.float32)


def pieces(world: Path, store: Path) -> tuple[Path, dict[str, list[Pair]], Callable[[], LoadedModel]]:
    folder = done(spec(world), store)
    pairs = load_pairs("pairs.jsonl", world).pairs
    shards = {f"{at // 16:05d}": pairs[at : at + 16] for at in range(0, len(pairs), 16)}
    return folder, shards, lambda: load_model("./model", folder=world, device="cpu")


def score(world: Path, store: Path, *requests: Request) -> Evidence:
    folder, shards, load = pieces(world, store)
    score_likelihoods(folder, shards, {r.key: r for r in requests}, load)
    return opened(folder)


def test_scores_are_those_of_plain_lines(world: Path, tmp_path: Path) -> None:
    """For both kinds, and for the log-likelihood itself, on whole pairs and on those that were cut."""
    instruction, steered = Instructed(TEXT), Steered(vector(), 1, 0.5)
    evidence = score(world, tmp_path, instruction, steered)
    clean, under, pushed = (evidence.likelihood(key) for key in (CLEAN, instruction.key, steered.key))
    assert clean is not None
    assert under is not None
    assert pushed is not None
    loaded = load_model("./model", folder=world, device="cpu")
    cuts, starts = set[bool](), set[int]()
    for row, pair in enumerate(load_pairs("pairs.jsonl", world).pairs):
        encoded = encode_pair(loaded.tokenizer, pair, LENGTH)
        if pair.status != "ok" or encoded.too_long:
            assert np.isnan([clean[row], under[row], pushed[row]]).all()
            continue
        user = max(i for i, m in enumerate(pair.prompt) if m["role"] == "user")
        asked = {**pair.prompt[user], "content": pair.prompt[user]["content"] + "\n\n" + TEXT}
        prompt = encode_pair(loaded.tokenizer, replace(pair, prompt=(*pair.prompt[:user], asked)), 10_000).prompt
        start = last_turn_start(loaded.tokenizer, pair)
        assert loaded.tokenizer.decode(encoded.prompt[start:]).startswith(pair.prompt[user]["content"])
        cuts.update(encoded.cut)
        starts.add(start)
        for side, ids in enumerate(encoded.responses):
            base = plain_logp(loaded.model, encoded.prompt, ids)
            assert clean[row, side] == pytest.approx(base, abs=2e-3)
            assert under[row, side] == pytest.approx(plain_logp(loaded.model, prompt, ids) - base, abs=4e-3)
            moved = plain_steered(
                loaded.model, steered, start, lambda e=encoded, i=ids: plain_logp(loaded.model, e.prompt, i)
            )
            assert pushed[row, side] == pytest.approx(moved - base, abs=4e-3)
    assert cuts == {True, False}
    assert len(starts) == 3
    assert np.nanstd(under) > 0.1
    assert np.nanstd(pushed) > 0.1


def test_what_changes_nothing_adds_nothing(world: Path, tmp_path: Path) -> None:
    """An empty instruction and a vector of size 0 have scores of exactly 0; so has, on both sides of a layer, its shift."""
    nothing, still = Instructed(" "), Steered(vector(), 0, 0.0)
    before, after = Steered(vector(), -1, 0.3), Steered(vector(), 0, 0.3)
    evidence = score(world, tmp_path, nothing, still, before, after)
    for request in (nothing, still):
        scores = evidence.likelihood(request.key)
        assert scores is not None
        assert (scores[evidence.ok] == 0).all()
    # the embedding can be steered as well, and it is no layer's output
    low, high = evidence.likelihood(before.key), evidence.likelihood(after.key)
    assert low is not None
    assert high is not None
    assert np.abs(low - high)[evidence.ok].max() > 1e-3


def test_whole_sequences_agree(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Architectures whose cache can't be shared get the same figures; where a prompt is empty, its first token has none."""
    request = Steered(vector(), 1, 0.5)
    shared = score(llama, tmp_path / "a", request).likelihood(request.key)
    monkeypatch.setattr(likelihood.Scorer, "_agrees", lambda *_: False)
    whole = score(llama, tmp_path / "b", request).likelihood(request.key)
    assert shared is not None
    assert whole is not None
    np.testing.assert_allclose(shared, whole, atol=4e-3)
    model = load_model("./model", folder=llama, device="cpu")
    made = likelihood.Scorer(model).score([likelihood.Item((), ((5, 6, 7), (8,)))])
    assert made[0].tolist() == [pytest.approx(plain_logp(model.model, (5,), (6, 7)), abs=1e-3), 0.0]


def test_plain_text(llama: Path, tmp_path: Path) -> None:
    """Texts without turns are instructed at their end and steered as a whole."""
    rows = [{"prompt": f"Why {i}?", "chosen": " winter", "rejected": " not the cat"} for i in range(6)]
    for name in ("model", "sae"):
        shutil.copytree(llama / name, tmp_path / name)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    request = Instructed(TEXT)
    scores = score(tmp_path, tmp_path / "store", request).likelihood(request.key)
    assert scores is not None
    loaded = load_model("./model", folder=tmp_path, device="cpu")
    ids = {
        t: tuple(loaded.tokenizer(text=t)["input_ids"]) for t in ("Why 0?", f"Why 0?\n\n{TEXT}", " winter<|im_end|>")
    }
    plain, asked, response = ids.values()
    gained = plain_logp(loaded.model, asked, response) - plain_logp(loaded.model, plain, response)
    assert scores[0, 0] == pytest.approx(gained, abs=4e-3)


def test_beyond_the_context(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs that with the instruction are longer than what the model can read have no score; the others have theirs."""
    folder, shards, load = pieces(llama, tmp_path)
    request = Instructed(TEXT)

    def short() -> LoadedModel:
        loaded = load()
        loaded.model.config.max_position_embeddings = 120
        return loaded

    score_likelihoods(folder, shards, {request.key: request}, short)
    evidence = opened(folder)
    clean, scores = evidence.likelihood(CLEAN), evidence.likelihood(request.key)
    assert clean is not None
    assert scores is not None
    assert (np.isnan(scores[:, 0]) == np.isnan(scores[:, 1])).all()
    fits, fits_longer = ~np.isnan(clean[:, 0]), ~np.isnan(scores[:, 0])
    assert 0 < fits_longer.sum() < fits.sum() < evidence.ok.sum()
    assert not (fits_longer & ~fits).any()


def test_harvest_makes_what_signals_need(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`inoculate`: all instructions; `steer`: the fitted direction; `keep` and others: nothing. Both forms need them."""
    assert not (done(spec(llama), tmp_path) / "likelihood").exists()
    err = io.StringIO()
    folder = done(asking(llama, way="inoculate"), tmp_path, err)
    keys = [prompt_key(TEXT), prompt_key("Speak of winter.")]
    assert sorted(p.name for p in (folder / "likelihood").iterdir()) == sorted([CLEAN, *keys])
    assert "120/120 pairs" in err.getvalue()
    assert "nothing to do" not in err.getvalue()
    clean = (folder / "likelihood" / CLEAN).stat().st_ino
    steer = asking(llama, way="steer", size=2.0)
    assert done(steer, tmp_path) == folder
    assert (folder / "likelihood" / CLEAN).stat().st_ino == clean
    evidence = opened(folder)
    found = vector_of(read_world(evidence, Derived(None)), steer.library["winter"], "direction")
    assert found is not None
    made = np.array(found, dtype=np.float32)
    assert evidence.likelihood(steer_key(made, 1, 2.0)) is not None
    assert set(likelihood_requests(steer, evidence, Derived(None))) == {steer_key(made, 1, 2.0)}
    # once more: nothing is computed, no model is loaded
    monkeypatch.setattr(inputs, "load_model", lambda *_, **__: pytest.fail("loaded the model"))
    before, err = contents(tmp_path), io.StringIO()
    for again in (steer, asking(llama, way="inoculate")):
        done(again, tmp_path, err)
    assert err.getvalue().count("nothing to do") == 2
    assert contents(tmp_path) == before


def test_harvest_for_a_comparison_reads_it_all(llama: Path, tmp_path: Path) -> None:
    """Whatever the spec says, everything that any mechanism needs is there afterwards: tokens, and both kinds of likelihood."""
    plain = spec(llama)
    folder, found = harvest(plain, tmp_path, device="cpu", every=True)
    assert folder is not None, list(found)
    kinds = {path.name.split("-")[0] for path in (folder / "likelihood").iterdir()}
    assert kinds >= {CLEAN, "prompt", "steer"}
    assert list((folder / "tokens").iterdir())


def test_killed_pass_goes_on(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped at any write, a pass goes on where it was; the finished files are those of an undisturbed one."""
    made = asking(llama, way="inoculate")
    done(spec(llama), tmp_path / "b")
    shutil.copytree(tmp_path / "b", tmp_path / "a")
    done(made, tmp_path / "a")
    expected = contents(tmp_path / "a")
    stops = 0
    for after in (0, 1, 3, 2, 2, 2, 50):
        left = [after]

        def stop(folder: Path, fill: Any, write: Any = likelihood.write_whole, left: list[int] = left) -> None:
            if left[0] == 0:
                (folder.parent / f".{folder.name}.tmp").mkdir(parents=True)
                raise KeyboardInterrupt
            left[0] -= 1
            write(folder, fill)

        with monkeypatch.context() as patch:
            patch.setattr(likelihood, "write_whole", stop)
            try:
                done(made, tmp_path / "b")
            except KeyboardInterrupt:
                stops += 1
    assert stops >= 4
    assert contents(tmp_path / "b") == expected
    # killed between the last file and tidying up
    (folder,) = (p.parent for p in tmp_path.glob("b/*/likelihood"))
    (folder / "likelihood/parts" / CLEAN / "00000").mkdir(parents=True)
    (folder / "likelihood/parts" / CLEAN / "00000" / "x").write_text("x")
    done(made, tmp_path / "b")
    assert contents(tmp_path / "b") == expected


def test_sigkill(llama: Path, tmp_path: Path) -> None:
    """Killed without notice at random moments, the whole harvest ends in the same bytes."""
    for name in ("model", "sae", "pairs.jsonl"):
        (tmp_path / name).symlink_to(llama / name)
    (tmp_path / "spec.yaml").write_text(SPEC.replace("suppress: winter", "suppress: winter\n    with: inoculate"))
    expected, seconds = undisturbed(tmp_path, tmp_path / "undisturbed")
    assert sum(name.endswith("scores.parquet") for name in expected) == 3
    result = trial(tmp_path, tmp_path / "killed", expected, seconds / 2, random.Random(1))
    assert result.kills > 0
    assert result.same


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda p: (p / "scores.parquet").write_bytes((p / "scores.parquet").read_bytes()[:-40]), "T504"),
        (lambda p: (p / "scores.parquet").unlink(), "T503"),
        (lambda p: edit(p, lambda m: m | {"size": 4.0}), "T504"),
        (lambda p: edit(p, lambda m: m | {"data": "0" * 64}), "T504"),
        (lambda p: (p / "manifest.json").write_text("{}"), "T504"),
    ],
)
def test_damage_is_refused_and_repaired(llama: Path, tmp_path: Path, damage: Callable[[Path], Any], code: str) -> None:
    """What is not as it was written is refused on opening, and computed again by the next harvest."""
    made = asking(llama, way="steer")
    folder = done(made, tmp_path)
    before = contents(tmp_path)
    (place,) = folder.glob("likelihood/steer-*")
    damage(place)
    evidence, found = open_evidence(folder)
    assert evidence is None
    assert {d.code for d in found} == {code}
    done(made, tmp_path)
    assert contents(tmp_path) == before


def edit(place: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = place / "manifest.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def test_out_of_range(llama: Path, tmp_path: Path) -> None:
    """A vector that drives the model out of its numbers is refused, with the rows."""
    folder, shards, load = pieces(llama, tmp_path)
    request = Steered(np.full(32, 1e38, np.float32), 1, 100.0)
    with pytest.raises(Refused, match="T513: log-likelihoods of row"):
        score_likelihoods(folder, shards, {request.key: request}, load)


def test_directions(llama: Path, tmp_path: Path) -> None:
    """Mean with less mean without, on half A of the usable pairs; nothing where a side has too few texts."""
    evidence = opened(done(spec(llama), tmp_path))
    world = read_world(evidence, Derived(None))
    definition = spec(llama).library["winter"]
    made = vector_of(world, definition, "direction")
    assert made is not None
    texts = [*evidence.table.column("chosen").to_pylist(), *evidence.table.column("rejected").to_pylist()]
    half = np.concatenate([world.pairs.half] * 2) & world.both
    label = np.array(["winter" in text for text in texts])
    residuals = np.concatenate([evidence.residuals("chosen"), evidence.residuals("rejected")])
    np.testing.assert_allclose(made, residuals[label & half].mean(0) - residuals[~label & half].mean(0), rtol=1e-4)
    never = replace(definition, concept=definition.concept.model_copy(update={"words": ("xyzzy",)}))
    pinned = replace(definition, concept=definition.concept.model_copy(update={"words": None, "features": (3,)}))
    assert vector_of(world, never, "direction") is None
    assert vector_of(world, pinned, "direction") is None


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.5.hook_resid_post", 5),
        ("blocks.5.hook_resid_pre", 4),
        ("blocks.0.hook_resid_pre", -1),
        ("model.layers.7", 7),
    ],
)
def test_hook_layers(hook: str, layer: int) -> None:
    """A hook before a layer reads the output of the one below."""
    assert hook_layer(hook) == layer
    with pytest.raises(ValueError, match="residual stream"):
        hook_layer(hook + ".mlp")


def test_keys() -> None:
    """Keys tell texts, vectors, layers and sizes apart, and don't depend on how a number is held."""
    v = vector()
    assert steer_key(v, 3, 1) == steer_key(v.astype(np.float64), 3, 1.0)
    keys = {
        steer_key(v, 3, 1),
        steer_key(v, 4, 1),
        steer_key(v, 3, 2),
        steer_key(-v, 3, 1),
        prompt_key("a"),
        prompt_key("b"),
    }
    assert len(keys) == 6
