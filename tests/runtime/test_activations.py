"""Reading activations: every fast path gives the numbers of the plain one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.runtime.tiny import FAMILIES, tiny_model_folder, tiny_sae_folder
from tiltc_runtime import passes, spans
from tiltc_runtime.activations import Reader, Reading, read_prompt_features, read_texts
from tiltc_runtime.loading import LoadedModel, load_model
from tiltc_runtime.sae import Sae, load_sae
from tiltc_runtime.tokens import encode_response

LAYER = 1

Item = tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]
#: max, count, peak token and mean residual
Figures = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of every family and an SAE of three architectures."""
    root = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        tiny_model_folder(root / family, family)
    for architecture in ("jumprelu", "standard", "topk"):
        tiny_sae_folder(root / architecture, layer=LAYER, architecture=architecture)
    return root


def begun(rows: list[Item], tokens: int = 12) -> list[Item]:
    """The items with a common beginning before every prompt."""
    system = tuple(range(100, 100 + tokens))
    return [((*system, *prompt), responses) for prompt, responses in rows]


def items(seed: int = 0, empty_prompt: bool = False) -> list[Item]:
    """Pairs of random ids: prompts of 1 to 40 tokens, the first one used twice, responses of 1 to 60."""
    rng = np.random.default_rng(seed)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(int(i) for i in rng.integers(0, 250, rng.integers(low, high)))

    prompts = [(), ids(2, 40)] if empty_prompt else [(5,), *(ids(2, 40) for _ in range(6))]
    made: list[Item] = [(prompt, (ids(1, 60), ids(1, 60))) for prompt in [*prompts, prompts[1]]]
    return made


def plain(folder: Path, sae_folder: Path, rows: list[Item]) -> list[Figures]:
    """The figures of every prompt and response, from single unpadded sequences through the whole model."""
    from sae_lens import SAE
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    sae: Any = SAE.load_from_disk(str(sae_folder))

    @torch.no_grad()
    def residuals(ids: tuple[int, ...]) -> torch.Tensor:
        return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[LAYER + 1][0]

    @torch.no_grad()
    def figures(x: torch.Tensor, skip: int) -> Figures:
        acts = sae.encode(x[skip:])
        most, peak = acts.max(0) if len(acts) else (torch.zeros(acts.shape[1]), torch.zeros(acts.shape[1]))
        return most, (acts > 0).sum(0), torch.where(most > 0, peak + skip, 0), x[skip:].mean(0)

    out: list[Figures] = []
    for prompt, responses in rows:
        whole = [residuals(prompt + response) for response in responses]
        out.append(figures(whole[0][: len(prompt)], 1))
        out.extend(figures(x[len(prompt) :], 0 if prompt else 1) for x in whole)
    return out


def assert_same(reading: Reading, sae: Sae, expected: list[Figures]) -> None:
    features = sae.config.d_sae
    for sparse, rows in ((reading.prompts, expected[0::3]), (reading.responses, _responses(expected))):
        most = sparse.matrix(sparse.max, features).toarray()
        np.testing.assert_allclose(most, np.stack([r[0] for r in rows]), rtol=1e-3, atol=2e-4)
        np.testing.assert_array_equal(sparse.matrix(sparse.count, features).toarray(), np.stack([r[1] for r in rows]))
        np.testing.assert_array_equal(sparse.matrix(sparse.peak, features).toarray(), np.stack([r[2] for r in rows]))
    residuals = np.nan_to_num(np.stack([r[3] for r in _responses(expected)]))
    np.testing.assert_allclose(reading.residuals, residuals, rtol=1e-3, atol=2e-4)


def _responses(rows: list[Any]) -> list[Any]:
    return [row for i, row in enumerate(rows) if i % 3]


def loaded(folders: Path, family: str, architecture: str = "jumprelu") -> tuple[LoadedModel, Sae]:
    sae = load_sae(str(folders / architecture))
    return load_model(str(folders / family), layers=sae.hook.layers, device="cpu"), sae


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_reading_equals_single_sequences(folders: Path, family: str, shared: bool) -> None:
    """Batched reading, with prompts shared or not, gives what the whole model gives on one sequence at a time."""
    model, sae = loaded(folders, family)
    reader = Reader(model, sae, budget=160)
    reader.shared = shared
    rows = items()
    assert_same(reader.read(rows), sae, plain(folders / family, folders / "jumprelu", rows))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_prompts_begin_with_is_computed_once(folders: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its features count in every prompt, peaks included; families with windows compute it with each prompt."""
    model, sae = loaded(folders, family)
    reader, rows = Reader(model, sae, budget=160), begun(items())
    computed, padded = [0], passes.Trunk._padded

    def counted(self: Any, ids: Any, width: int, *, left: bool) -> Any:
        computed[0] += sum(row[:12] == rows[0][0][:12] for row in ids)
        return padded(self, ids, width, left=left)

    reader.shared = True
    monkeypatch.setattr(passes.Trunk, "_padded", counted)
    assert_same(reader.read(rows), sae, plain(folders / family, folders / "jumprelu", rows))
    assert reader.trunk.begins == (family != "gemma2")
    assert (computed[0] == 1) == reader.trunk.begins


def test_beginnings_that_cannot_be_shared(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the beginning gives other numbers, prompts are still shared between their responses."""
    right = passes.Trunk.prompts

    def wrong(self: Any, prompts: Any, after: Any = passes.NOTHING) -> Any:
        residuals, cache = right(self, prompts, after)
        if after.ids:
            cache.layers[0].values = cache.layers[0].values * 1.1
        return residuals, cache

    monkeypatch.setattr(passes.Trunk, "prompts", wrong)
    model, sae = loaded(folders, "llama")
    reader, rows = Reader(model, sae), begun(items())
    assert_same(reader.read(rows), sae, plain(folders / "llama", folders / "jumprelu", rows))
    assert (reader.shared, reader.trunk.begins) == (True, False)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_shares_prompts(folders: Path, family: str) -> None:
    """The self-check accepts the cache of every family that is known to share it."""
    reader = Reader(*loaded(folders, family))
    reader.read(items())
    assert reader.shared is True


@pytest.mark.parametrize("architecture", ["standard", "topk"])
def test_other_saes(folders: Path, architecture: str) -> None:
    """SAEs encoded here and SAEs encoded by sae-lens give what sae-lens gives."""
    model, sae = loaded(folders, "llama", architecture)
    rows = items(3)
    assert_same(Reader(model, sae).read(rows), sae, plain(folders / "llama", folders / architecture, rows))


def test_wrong_cache_is_noticed(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An architecture whose cache gives other numbers is read from whole sequences, and that is said."""
    right = passes._selected

    def wrong(cache: Any, rows: Any) -> Any:
        mine = right(cache, rows)
        mine.layers[0].values = mine.layers[0].values * 1.1
        return mine

    monkeypatch.setattr(passes, "_selected", wrong)
    model, sae = loaded(folders, "llama")
    reader, rows = Reader(model, sae), items()
    assert_same(reader.read(rows), sae, plain(folders / "llama", folders / "jumprelu", rows))
    assert reader.shared is False
    assert "reading whole sequences" in capsys.readouterr().err


def test_empty_prompt(folders: Path) -> None:
    """Without a prompt the first response token is the attention sink, and it is left out."""
    model, sae = loaded(folders, "llama")
    rows = items(empty_prompt=True)
    assert_same(Reader(model, sae).read(rows), sae, plain(folders / "llama", folders / "jumprelu", rows))


def test_dense_chunks_do_not_matter(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span that is encoded in pieces has the same maximum and count."""
    model, sae = loaded(folders, "llama")
    rows = items()
    whole = Reader(model, sae).read(rows)
    monkeypatch.setattr(spans, "CPU_DENSE", 7 * 4 * sae.config.d_sae)
    pieces = Reader(model, sae).read(rows)
    np.testing.assert_array_equal(whole.responses.indices, pieces.responses.indices)
    np.testing.assert_array_equal(whole.responses.count, pieces.responses.count)
    np.testing.assert_array_equal(whole.responses.peak, pieces.responses.peak)
    np.testing.assert_allclose(whole.responses.max, pieces.responses.max, rtol=1e-5)


@pytest.mark.parametrize("dense", [1000, 3])
def test_the_first_of_equal_peaks(folders: Path, monkeypatch: pytest.MonkeyPatch, dense: int) -> None:
    """Of equal maxima the first token counts, within a piece and across pieces; tokens left out are counted."""
    sae = load_sae(str(folders / "jumprelu"))
    monkeypatch.setattr(spans, "CPU_DENSE", dense * 4 * sae.config.d_sae)
    # equal rows of a product need not have equal last bits: where a row lies in a block decides how it is summed
    exact = sae.preactivations
    monkeypatch.setattr(sae, "preactivations", lambda x: exact(x).mul(256).round().div(256))
    one, other = torch.randn(2, sae.config.d_in, generator=torch.Generator().manual_seed(0))
    reduced = spans.Spans(sae, 1)
    reduced.add(torch.stack([one, other, other, one, other, one, one])[None], [(0, 0, 7)], skip=1)
    features = reduced.sparse([0])
    first = (sae.preactivations(other[None]) >= sae.preactivations(one[None]))[0]
    assert features.peak.tolist() == torch.where(first, 1, 3)[torch.tensor(features.indices.astype(int))].tolist()
    assert {1, 3} == set(features.peak.tolist())


def test_layers_above_the_hook_never_run(folders: Path) -> None:
    """A whole causal LM may be handed in: neither the layers above the hook nor its head are computed."""
    sae = load_sae(str(folders / "jumprelu"))
    model = load_model(str(folders / "llama"), device="cpu")
    above = [model.model.model.layers[LAYER + 1], model.model.model.norm, model.model.lm_head]
    ran: list[Any] = []
    for module in above:
        module.register_forward_hook(lambda module, *_: ran.append(module))
    rows = items()
    assert_same(Reader(model, sae).read(rows), sae, plain(folders / "llama", folders / "jumprelu", rows))
    assert not ran


def test_prompts_are_read_as_harvest_reads_them(folders: Path) -> None:
    """Features of a prompt don't depend on the response that follows: gates see what the evidence saw."""
    model, sae = loaded(folders, "llama")
    texts = ["What is tea?", "Why do cats sleep so long?"]
    encoded = [encode_response(model.tokenizer, text, "Leaves in hot water.", 200) for text in texts]
    reading = Reader(model, sae).read([(e.prompt, e.responses) for e in encoded])
    expected = reading.prompts.matrix(reading.prompts.max, sae.config.d_sae)
    assert abs(read_prompt_features(model, sae, texts, max_length=200) - expected).max() < 1e-4


def test_read_texts(folders: Path) -> None:
    """Conversations are templated, a response whose prompt fills max_length has no features, order is kept."""
    model, sae = loaded(folders, "llama")
    texts: list[tuple[Any, str]] = [
        ("What is a winter garden?", "the cat"),
        ("x" * 500, "never seen"),
        ([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}], "not another"),
    ]
    read = read_texts(model, sae, texts, max_length=200)
    assert read.max.shape == read.counts.shape == read.peaks.shape == (3, sae.config.d_sae)
    ends = ("the cat<|im_end|>\n", "not another<|im_end|>\n")
    assert [int(read.tokens[i]) for i in (0, 2)] == [len(model.tokenizer(text)["input_ids"]) for text in ends]
    assert read.tokens[1] == 0
    assert read.max[1].nnz == 0
    assert not read.residuals[1].any()
    alone = read_texts(model, sae, texts[2:], max_length=200)
    np.testing.assert_allclose(read.max[2].toarray(), alone.max[0].toarray(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(read.residuals[2], alone.residuals[0], rtol=1e-3, atol=1e-4)


def test_activations_that_are_no_numbers_are_named(folders: Path) -> None:
    """A response on which the model overflows is reported by its place."""
    model, sae = loaded(folders, "llama")
    rows = items()
    with torch.no_grad():
        model.model.embed_tokens.weight[251] = torch.inf
    rows[3] = (rows[3][0], (rows[3][1][0], (*rows[3][1][1], 251)))
    reader = Reader(model, sae)
    reader.shared = True
    reading = reader.read(rows)
    assert reading.bad_responses == [7]
    assert reading.bad_prompts == []
