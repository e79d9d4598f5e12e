"""The second pass of a harvest: the figures of single tokens are those of a direct computation, and are written whole."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.kill_resume_harvest import contents, make_world, only_own

from tiltc.evidence import TokenTool, open_evidence
from tiltc.parse import parse
from tiltc_runtime import inputs, token_scores
from tiltc_runtime.activations import read_texts
from tiltc_runtime.harvest import harvest
from tiltc_runtime.inputs import Inputs
from tiltc_runtime.loading import load_model
from tiltc_runtime.pairs import load_pairs
from tiltc_runtime.sae import load_sae
from tiltc_runtime.token_scores import score_tokens
from tiltc_runtime.tokens import encode_pair

PAIRS = 40


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(inputs, "SHARD", 16)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_world(folder, PAIRS)
    return folder


def harvested(world: Path, store: Path) -> tuple[Inputs, Path]:
    spec_file, found = parse(str(world / "spec.yaml"))
    assert spec_file is not None, list(found)
    spec_file = only_own(spec_file)
    folder, found = harvest(spec_file, store, device="cpu")
    assert folder is not None, list(found)
    return Inputs.read(spec_file, "cpu", None), folder


def tools(width: int) -> list[TokenTool]:
    vector = np.random.default_rng(0).normal(size=width)
    return [
        TokenTool(features=(1, 5, 40)),
        TokenTool(features=(7,)),
        TokenTool(vector=tuple(float(v) for v in (vector / np.linalg.norm(vector)).round(6))),
    ]


@torch.no_grad()
def directly(world: Path, tool: TokenTool, row: int, side: int) -> np.ndarray:
    """The whole sequence through the whole model, and the tool on every response token."""
    model, sae = load_model(str(world / "model")), load_sae(str(world / "sae"))
    pair = load_pairs("pairs.jsonl", world).pairs[row]
    encoded = encode_pair(model.tokenizer, pair, 1024)
    ids = torch.tensor([[*encoded.prompt, *encoded.responses[side]]])
    states = model.model(ids, output_hidden_states=True).hidden_states[sae.hook.layer + 1][0, len(encoded.prompt) :]
    if tool.features:
        return sae.encode(states)[:, list(tool.features)].numpy()
    return (states @ torch.tensor(tool.vector))[:, None].numpy()


def test_figures_are_those_of_every_token(world: Path, tmp_path: Path) -> None:
    """Against whole sequences through the whole model, for features and for a vector, in all shards."""
    job, folder = harvested(world, tmp_path)
    asked = tools(job.sae.config.d_in)
    score_tokens(job, folder, asked, None)
    evidence, found = open_evidence(folder)
    assert evidence is not None, list(found)
    for tool in asked:
        scores = evidence.tokens(tool.key)
        assert scores is not None
        assert len(scores.indptr) == 2 * PAIRS + 1
        for row, side in ((0, 0), (0, 1), (17, 1), (PAIRS - 1, 0)):
            at = side * PAIRS + row
            mine = scores.values[scores.indptr[at] : scores.indptr[at + 1]]
            np.testing.assert_allclose(mine, directly(world, tool, row, side), rtol=2e-3, atol=2e-3)


def test_the_largest_are_those_of_the_first_pass(world: Path, tmp_path: Path) -> None:
    """The max over tokens is the max activation that the first pass kept, and the projection that `read_texts` gives."""
    job, folder = harvested(world, tmp_path)
    features, _, vector = tools(job.sae.config.d_in)
    score_tokens(job, folder, [features, vector], None)
    evidence, _ = open_evidence(folder)
    assert evidence is not None
    first = np.concatenate(
        [evidence.matrix(s, "max")[:, list(features.features)].toarray() for s in ("chosen", "rejected")]
    )
    np.testing.assert_allclose(evidence.tokens(features.key).most(), first, rtol=1e-3, atol=1e-3)  # type: ignore[union-attr]
    pairs = load_pairs("pairs.jsonl", world).pairs
    texts = [(tuple(p.prompt), p.chosen[0]["content"]) for p in pairs[:5]]  # type: ignore[index]
    reading = read_texts(job.loaded, job.sae, texts, vectors={"v": np.array(vector.vector)})  # type: ignore[arg-type]
    most = evidence.tokens(vector.key).most()[:5, 0]  # type: ignore[union-attr]
    np.testing.assert_allclose(reading.projections["v"], most, rtol=1e-2, atol=1e-2)


def test_a_killed_pass_goes_on(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after one shard, it keeps that shard, makes the others, and all bytes are those of an undisturbed pass."""
    job, folder = harvested(world, tmp_path / "a")
    asked = tools(job.sae.config.d_in)
    score_tokens(job, folder, asked, None)
    whole = contents(folder)
    other, torn = harvested(world, tmp_path / "b")
    write, calls = token_scores.write_shard, 0

    def stopping(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(token_scores, "write_shard", stopping)
    with pytest.raises(KeyboardInterrupt):
        score_tokens(other, torn, asked, None)
    evidence, _ = open_evidence(torn)
    assert evidence is not None, "an unfinished pass does no harm to what is there"
    assert evidence.tokens(asked[0].key) is None
    monkeypatch.undo()
    monkeypatch.setattr(inputs, "SHARD", 16)
    score_tokens(other, torn, asked, None)
    assert contents(torn) == whole
    err = io.StringIO()
    score_tokens(other, torn, asked, err)
    assert err.getvalue() == "", "nothing is computed twice"


def test_changed_scores_are_refused(world: Path, tmp_path: Path) -> None:
    job, folder = harvested(world, tmp_path)
    (tool, *_) = tools(job.sae.config.d_in)
    score_tokens(job, folder, [tool], None)
    file = folder / "tokens" / tool.key / "00001" / "chosen.values.npy"
    file.write_bytes(file.read_bytes()[:-2] + b"xx")
    evidence, found = open_evidence(folder)
    assert evidence is None
    assert [d.code for d in found] == ["T504"]
    score_tokens(job, folder, [tool], None)
    assert open_evidence(folder)[0] is not None, "a damaged shard is made again"
