"""Attention probes in a harvest: fitted to the texts of the recipe, read like other tools, and written whole."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.kill_resume_harvest import contents, make_world, only_own

from tests.runtime.test_attention import naive
from tiltc.derived import Derived
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import Evidence, open_evidence
from tiltc.parse import SpecFile, parse
from tiltc.resolve import resolve
from tiltc.resolve.attention import probe_recipes
from tiltc_runtime import inputs, probes
from tiltc_runtime.activations import read_texts
from tiltc_runtime.harvest import harvest
from tiltc_runtime.loading import load_model
from tiltc_runtime.pairs import load_pairs
from tiltc_runtime.sae import load_sae
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
  - {suppress: cats, readout: attention}
  - {keep: garden, readout: attention}
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


def harvested(world: Path, store: Path, err: io.StringIO | None = None) -> tuple[Path | None, Diagnostics]:
    return harvest(spec(world), store, device="cpu", err=err)


@pytest.fixture(scope="module")
def folder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed harvest."""
    before, inputs.SHARD, threads = inputs.SHARD, 32, torch.get_num_threads()
    torch.set_num_threads(1)
    made, found = harvested(world, tmp_path_factory.mktemp("store"))
    inputs.SHARD = before
    torch.set_num_threads(threads)
    assert made is not None, list(found)
    return made


def opened(folder: Path) -> Evidence:
    evidence, found = open_evidence(folder)
    assert evidence is not None, list(found)
    return evidence


@torch.no_grad()
def residuals(world: Path, row: int, side: int) -> torch.Tensor:
    """(T, d) of a response, from the whole sequence through the whole model."""
    model, sae = load_model(str(world / "model")), load_sae(str(world / "sae"))
    encoded = encode_pair(model.tokenizer, load_pairs("pairs.jsonl", world).pairs[row], 1024)
    ids = torch.tensor([[*encoded.prompt, *encoded.responses[side]]])
    return model.model(ids, output_hidden_states=True).hidden_states[sae.hook.layer + 1][0, len(encoded.prompt) :]


def test_a_harvest_fits_probes_and_reads_every_token_by_them(
    world: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both concepts resolve, once a probe of a random model is let pass that detects nothing; scores are those of attention
    computed directly, and those that rollouts get."""
    evidence = opened(folder)
    refused, found = resolve(spec(world), evidence, Derived(None))
    assert refused is None
    assert {d.code for d in found} == {"T201"}
    assert "the attention probe of" in next(iter(found)).primary.text
    monkeypatch.setattr("tiltc.resolve.LEAST_AUROC", 0.0)
    resolved, found = resolve(spec(world), evidence, Derived(None))
    assert resolved is not None, list(found)
    assert len(list((folder / "attention").iterdir())) == 2
    n = PAIRS
    for signal in resolved.signals:
        plan, reader = signal.concept.plan, signal.concept.reader
        assert reader is not None
        assert plan.projection is not None
        assert plan.projection.objective == "token cross-entropy"
        assert [d.tool for d in plan.detection][-1] == "attention"
        scores = evidence.tokens(reader.tool.key)
        assert scores is not None
        probe = torch.tensor(reader.tensor).double()
        for row, side in ((0, 0), (PAIRS - 1, 1)):
            x = residuals(world, row, side).double()
            at = side * n + row
            mine = scores.values[scores.indptr[at] : scores.indptr[at + 1], 0]
            direct = naive(x @ probe[:, :-1].T + probe[:, -1])
            np.testing.assert_allclose(mine, direct, rtol=5e-3, atol=5e-3)
        pairs = load_pairs("pairs.jsonl", world).pairs[:4]
        texts = [(tuple(p.prompt), p.chosen[0]["content"]) for p in pairs]  # type: ignore[index]
        model, sae = load_model(str(world / "model")), load_sae(str(world / "sae"))
        reading = read_texts(model, sae, texts, vectors={"probe": reader.tensor})  # type: ignore[arg-type]
        np.testing.assert_allclose(reading.projections["probe"], scores.most()[:4, 0], rtol=5e-3, atol=5e-3)
        most = scores.most()[:, 0]
        np.testing.assert_allclose(signal.concept.gap, (most[:n] - most[n:]) / most.std(), rtol=1e-4, atol=1e-4)


def test_a_contrast_set_is_measured_where_it_was_not_fitted(world: Path, folder: Path) -> None:
    """Half of the pairs is fitted on, and the logits of the other half tell the words apart."""
    evidence = opened(folder)
    recipe = next(r for r in probe_recipes(spec(world), evidence, Derived(None)) if r.held)
    assert {t.side for t in (*recipe.fit, *recipe.held)} == {"example"}
    assert not {t.row for t in recipe.fit} & {t.row for t in recipe.held}
    probe = evidence.attention(recipe.key)
    assert probe is not None
    shows = np.array([t.label for t in recipe.held])
    assert (probe.held[shows][:, None] > probe.held[~shows]).mean() > 0.8


def test_a_killed_fit_goes_on(world: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after one probe, a harvest keeps it, and all bytes are in the end those of an undisturbed one."""
    fit, calls = probes.fit_one, 0

    def stopping(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        fit(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(probes, "fit_one", stopping)
    with pytest.raises(KeyboardInterrupt):
        harvested(world, tmp_path)
    (torn,) = (p for p in tmp_path.iterdir() if p.is_dir())
    evidence = opened(torn)
    keys = [r.key for r in probe_recipes(spec(world), evidence, Derived(None))]
    assert [evidence.attention(key) is None for key in keys] == [False, True]
    # what a kill in the middle of writing leaves behind
    (torn / "attention" / f".{keys[1]}.tmp").mkdir()
    err = io.StringIO()
    assert harvested(world, tmp_path, err)[0] == torn
    assert calls == 3, "the first is not fitted again"
    assert contents(torn) == contents(folder)
    err = io.StringIO()
    harvested(world, tmp_path, err)
    assert "nothing to do" in err.getvalue()


def test_a_changed_probe_is_refused(world: Path, folder: Path, tmp_path: Path) -> None:
    """Weights that are not those that were written are damage; nothing is compiled from them."""
    import shutil

    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    file = next((copy / "attention").glob("*/probe.safetensors"))
    file.write_bytes(file.read_bytes()[:-2] + b"xx")
    evidence, found = open_evidence(copy)
    assert evidence is None
    assert [d.code for d in found] == ["T504"]
