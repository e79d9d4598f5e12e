"""ReFT adapters: what they add is the formula, wherever they are used; fitting finds what was planted, twice the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.runtime.tiny import WIDTH, tiny_model, tiny_tokenizer
from tiltc.evidence import AdapterRecipe, LabelledText
from tiltc_runtime.loading import decoder_layers
from tiltc_runtime.reft import at_ends, change, fit_adapter, gained

RANK = 3


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def drawn(seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=(RANK, 2 * WIDTH + 1))).astype(np.float32)


def recipe(texts: int, **changes: Any) -> AdapterRecipe:
    named = tuple(LabelledText(row=i, side="example", label=True) for i in range(texts))
    return AdapterRecipe(source="", layer=1, fit=named, held=named).model_copy(update=changes)


def naive(h: torch.Tensor, adapter: np.ndarray, size: float, first: int, stop: int, ends: int) -> torch.Tensor:
    """h (T, d) with size * W2 (W1 h_t + b) added to its first and last tokens, one token at a time."""
    w1, b, w2 = (torch.tensor(a) for a in (adapter[:, :WIDTH], adapter[:, WIDTH], adapter[:, WIDTH + 1 :].T))
    response = list(range(first, stop))
    rows = list(h)
    for t in {*response[:ends], *response[-ends:]}:
        rows[t] = h[t] + size * (w2 @ (w1 @ h[t] + b))
    return torch.stack(rows)


def test_what_an_adapter_adds_is_the_formula() -> None:
    """W2 (W1 h + b), in float32 for a residual stream of less precision, and under autocast."""
    adapter = drawn()
    h = torch.randn(2, 5, WIDTH)
    w1, b, w2 = adapter[:, :WIDTH], adapter[:, WIDTH], adapter[:, WIDTH + 1 :].T
    expected = ((h.double().numpy() @ w1.T + b) @ w2.T).astype(np.float32)
    torch.testing.assert_close(change(h, torch.tensor(adapter)), torch.tensor(expected), rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = change(h.bfloat16(), torch.tensor(adapter))
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, change(h.bfloat16().float(), torch.tensor(adapter)))


@pytest.mark.parametrize(("length", "ends"), [(1, 1), (5, 2), (5, 3), (4, 11), (30, 11)])
def test_both_ends_of_a_response(length: int, ends: int) -> None:
    """The first and the last tokens, each once where they meet; none of the prompt, none of the padding."""
    places = torch.arange(50)
    on = at_ends(places, torch.tensor(7), torch.tensor(7 + length), ends)
    response = list(range(7, 7 + length))
    assert set(places[on].tolist()) == {*response[:ends], *response[-ends:]}


def planted(texts: int, seed: int, shows: bool = True) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Prompts and responses of which those with the concept say `garden` over and over."""
    tokenizer, rng = tiny_tokenizer(), random.Random(seed)
    words = ["garden", "garden", "in"] if shows else ["cat", "thinks", "not"]
    made = [(f"{rng.choice('abcdef')}?", " ".join(rng.choice(words) for _ in range(6))) for _ in range(texts)]
    return [(tuple(tokenizer(p)["input_ids"]), tuple(tokenizer(r)["input_ids"])) for p, r in made]


@pytest.mark.parametrize("layer", [-1, 1])
def test_held_out_texts_with_the_concept_become_likelier(layer: int) -> None:
    """And more so than texts without it; the model is as it was."""
    model = tiny_model().requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    asked = recipe(64, layer=layer)
    tensor, losses = fit_adapter(model, planted(64, 0), asked)
    assert tensor.shape == (8, 2 * WIDTH + 1)
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    own, others = (gained(model, planted(24, 9, shows), tensor, asked) for shows in (True, False))
    assert (own > 0).all(), own
    assert own.mean() > 0.1
    assert own.mean() > others.mean() + 0.05
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_fitting_twice_gives_the_same_bits() -> None:
    """Whatever the number of threads, and whatever torch drew before; another seed gives other weights."""
    model = tiny_model().requires_grad_(False)
    made: list[np.ndarray] = []
    for number, seed in ((1, 0), (2, 0), (1, 1)):
        torch.set_num_threads(number)
        torch.manual_seed(number)
        made.append(fit_adapter(model, planted(24, 0), recipe(24, seed=seed, epochs=2))[0])
        assert torch.get_num_threads() == number
    torch.set_num_threads(1)
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).any()


def test_a_fit_is_plain_gradient_descent() -> None:
    """Three steps of AdamW on the mean of -log p over a batch's response tokens, in a few lines of whole-sequence logits."""
    model, texts = tiny_model().requires_grad_(False), planted(10, 3)
    asked = recipe(10, dropout=0.0, epochs=1, batch=4, rank=RANK, ends=3)
    mine, (loss,) = fit_adapter(model, texts, asked)

    generator = torch.Generator().manual_seed(0)
    w1 = (torch.randn(RANK, WIDTH, generator=generator) / WIDTH**0.5).requires_grad_()
    b, w2 = torch.zeros(RANK, requires_grad=True), torch.zeros(RANK, WIDTH, requires_grad=True)
    optimizer = torch.optim.AdamW([w1, b, w2], lr=9e-4, weight_decay=0.0)
    total = 0.0
    for batch in torch.randperm(10, generator=generator).split(4):
        # the same numbers are drawn for dropout, though nothing is dropped
        sums: list[torch.Tensor] = []
        for prompt, response in (texts[i] for i in batch):
            torch.rand(len(prompt) + len(response), WIDTH, generator=generator)
            places = [*range(len(prompt), len(prompt) + len(response))]
            on = torch.tensor([float(t in places[:3] + places[-3:]) for t in range(len(prompt) + len(response))])

            def add(_m: Any, inputs: Any, on: Any = on) -> Any:
                return (inputs[0] + on[None, :, None] * ((inputs[0] @ w1.T + b) @ w2), *inputs[1:])

            handle = decoder_layers(model)[2].register_forward_pre_hook(add)
            logp = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
            handle.remove()
            sums.append(-sum(logp[t - 1, (prompt + response)[t]] for t in places))  # type: ignore[arg-type]
        optimizer.zero_grad()
        (sum(sums) / sum(len(texts[i][1]) for i in batch)).backward()  # type: ignore[union-attr]
        optimizer.step()
        total += sum(float(s.detach()) for s in sums)
    theirs = torch.cat([w1, b[:, None], w2], 1).detach().numpy()
    np.testing.assert_allclose(mine, theirs, atol=2e-5)
    assert np.abs(theirs[:, WIDTH:]).max() > 1e-3
    assert loss == pytest.approx(total / sum(len(r) for _, r in texts), rel=1e-4)


def test_a_response_without_a_prompt_and_one_of_a_single_token() -> None:
    """The first has no probability for its first token; on the other an adapter has nothing to work on."""
    model = tiny_model().requires_grad_(False)
    texts = [((), (5, 6, 7)), ((5,), (6,))]
    tensor, _ = fit_adapter(model, texts, recipe(2, epochs=1))
    assert np.isfinite(tensor).all()
    more = gained(model, texts, drawn(), recipe(2, rank=RANK))
    assert more[0] != 0
    assert more[1] == 0
