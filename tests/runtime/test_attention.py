"""Attention probes: the running sums are the attention of the paper, fitting is repeatable, and finds what was planted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiltc.evidence import LabelledText, ProbeRecipe
from tiltc_runtime.attention import FLOOR, causal_logits, fit_probe, token_reads


def drawn(seed: int, tokens: int, heads: int, spread: float) -> torch.Tensor:
    """Queries of this spread, values and residual (tokens, 2 heads + 1)."""
    generator = torch.Generator().manual_seed(seed)
    figures = torch.randn(tokens, 2 * heads + 1, generator=generator)
    figures[:, :heads] *= spread
    return figures


def naive(figures: torch.Tensor) -> torch.Tensor:
    """One softmax for every token, over itself and those before it."""
    heads = figures.shape[1] // 2
    query, value, residual = figures.double().split([heads, heads, 1], dim=1)
    out = [(query[: i + 1].softmax(0) * value[: i + 1]).sum() + residual[i, 0] for i in range(len(figures))]
    return torch.stack(out)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 9999),
    tokens=st.integers(1, 40),
    heads=st.integers(1, 4),
    spread=st.sampled_from([0.1, 1.0, 10.0, 60.0]),
)
def test_running_sums_are_attention(seed: int, tokens: int, heads: int, spread: float) -> None:
    """Against a softmax a token, for queries that float32 could not exponentiate as well."""
    figures = drawn(seed, tokens, heads, spread)
    torch.testing.assert_close(causal_logits(figures), naive(figures), rtol=1e-9, atol=1e-9)


def test_queries_that_are_all_large_cancel() -> None:
    """Only differences between queries count, whatever their size."""
    figures = drawn(0, 20, 4, 1.0)
    moved = figures.double()
    moved[:, :4] += 5000.0
    torch.testing.assert_close(causal_logits(moved), naive(figures), rtol=1e-6, atol=1e-6)


def test_beyond_the_floor_logits_stay_finite() -> None:
    """Queries far below a later one: before it their weights are equal, from it on they have none."""
    figures = drawn(0, 6, 1, 0.0).double()
    figures[3, 0] = -10 * FLOOR
    logits = causal_logits(figures)
    values, residual = figures[:, 1], figures[:, 2]
    torch.testing.assert_close(logits[:3], values[:3].cumsum(0) / torch.arange(1, 4) + residual[:3])
    torch.testing.assert_close(logits[3:], values[3] + residual[3:])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), left=st.booleans())
def test_padding_changes_nothing(seed: int, left: bool) -> None:
    """Sequences in one padded batch have the logits that each has alone, whatever stands in the padding."""
    rng = np.random.default_rng(seed)
    texts = [drawn(seed + i, int(n), 2, 5.0) for i, n in enumerate(rng.integers(1, 12, 3))]
    width = max(map(len, texts))
    batch, real = 100 * torch.randn(3, width, 5), torch.zeros(3, width, dtype=torch.bool)
    for i, text in enumerate(texts):
        at = slice(width - len(text), width) if left else slice(0, len(text))
        batch[i, at], real[i, at] = text, True
    together = causal_logits(batch, real)
    for i, text in enumerate(texts):
        torch.testing.assert_close(together[i, real[i]], naive(text), rtol=1e-9, atol=1e-9)


def test_a_token_does_not_depend_on_those_after_it() -> None:
    """A response that is cut has the logits of its beginning."""
    figures = drawn(1, 30, 4, 8.0)
    for stop in (1, 7, 29):
        torch.testing.assert_close(causal_logits(figures[:stop]), causal_logits(figures)[:stop], rtol=1e-9, atol=1e-9)


def test_tensors_read_what_they_say() -> None:
    """A vector reads projections; a probe the formula, with its biases, off raw residuals."""
    rng = np.random.default_rng(0)
    x, probe = rng.normal(size=(9, 5)), rng.normal(size=(7, 6))
    projections = token_reads(probe[0, :5])(torch.tensor(x, dtype=torch.bfloat16).float())
    assert projections.shape == (9,)
    figures = torch.tensor(x @ probe[:, :5].T + probe[:, 5])
    torch.testing.assert_close(token_reads(probe)(torch.tensor(x)), naive(figures), rtol=1e-5, atol=1e-5)


def recipe(labels: Sequence[bool], **changes: object) -> ProbeRecipe:
    texts = tuple(LabelledText(row=i, side="example", label=label) for i, label in enumerate(labels))
    return ProbeRecipe(source="", fit=texts).model_copy(update=changes)


def planted(seed: int, texts: int, width: int = 48) -> tuple[torch.Tensor, list[int], list[bool]]:
    """Texts of 10 to 30 tokens, half of which have the concept on two tokens, along a direction of a skewed space."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(10, 31, (texts,), generator=generator).tolist()
    labels = [i % 2 == 0 for i in range(texts)]
    x = torch.randn(sum(sizes), width, generator=generator)
    direction = torch.randn(width, generator=torch.Generator().manual_seed(99))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for start, label in zip(starts, labels, strict=True):
        if label:
            x[start + 4 : start + 6] += 6.0 * direction / direction.norm()
    return x * torch.linspace(0.1, 20, width) + torch.linspace(-300, 300, width), sizes, labels


def most(tensor: np.ndarray, x: torch.Tensor, sizes: list[int]) -> np.ndarray:
    return np.array([float(token_reads(tensor)(text).max()) for text in x.split(sizes)])


def test_a_planted_concept_is_found() -> None:
    """Though only two tokens of a text carry it and all are labelled, texts that were not fitted on are told apart."""
    x, sizes, labels = planted(0, 400)
    tensor, losses = fit_probe(x, sizes, labels, recipe(labels))
    assert tensor.shape == (9, 49)
    assert (tensor[:4, -1] == 0).all()
    assert losses[-1] < losses[0]
    held, held_sizes, held_labels = planted(1, 200)
    scores, shows = most(tensor, held, held_sizes), np.array(held_labels)
    auroc = (scores[shows][:, None] > scores[~shows]).mean()
    assert auroc > 0.95, auroc


def test_fitting_twice_gives_the_same_bits() -> None:
    """Whatever the number of threads; another seed gives other weights."""
    made: list[np.ndarray] = []
    threads = torch.get_num_threads()
    for number, seed in ((1, 0), (2, 0), (1, 1)):
        x, sizes, labels = planted(0, 100)
        torch.set_num_threads(number)
        made.append(fit_probe(x, sizes, labels, recipe(labels, epochs=3, seed=seed))[0])
        assert torch.get_num_threads() == number
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).any()


def test_rare_positives_are_balanced() -> None:
    """With one positive text in ten, the weights of the two classes' tokens sum to the same: logits are not all negative."""
    x, sizes, _ = planted(0, 200)
    labels = [i % 20 == 0 for i in range(200)]
    tensor, _ = fit_probe(x.clone(), sizes, labels, recipe(labels))
    raw, *_ = planted(0, 200)
    logits = torch.cat([token_reads(tensor)(text) for text in raw.split(sizes)])
    assert float((logits > 0).double().mean()) == pytest.approx(0.5, abs=0.35)
