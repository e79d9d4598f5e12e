"""Rollouts: the right distribution, the same luck for every policy, and nothing sampled twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.runtime.tiny import tiny_model, tiny_tokenizer
from tiltc.spec import Verify
from tiltc_runtime import rollouts
from tiltc_runtime.prompts import Prompt, read_prompts, schedule
from tiltc_runtime.rollouts import Policy, generate, read_rollouts, rollouts_key, row_seed, sample

TOKENIZER = tiny_tokenizer()
ASKED = [
    [{"role": "user", "content": text}] for text in ("the cat?", "in a winter garden, over there", "not", "or **bold**")
]
PROMPTS = tuple(Prompt((turns[0],)) for turns in ASKED)
VERIFY = Verify(rollouts=10, max_new_tokens=6, seed=1)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("llama", seed=1)


def policy(model: Any, load: Callable[[], tuple[Any, Any]] | None = None) -> Policy:
    return Policy("start", "d", "s", load or (lambda: (model, TOKENIZER)))


def greedy_without_tricks(model: Any, turns: list[dict[str, str]], limit: int) -> tuple[list[int], bool]:
    """One prompt, no padding, no cache."""
    text = TOKENIZER.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    out: list[int] = []
    for _ in range(limit):
        with torch.no_grad():
            token = int(model(torch.tensor([ids + out])).logits[0, -1].argmax())
        if token == TOKENIZER.eos_token_id:
            return out, True
        out.append(token)
    return out, False


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "gpt2"])
def test_batched_greedy_decoding_equals_one_prompt_at_a_time(family: str) -> None:
    """Padding, positions and the cache change nothing about the most likely continuation."""
    model = tiny_model(family, seed=2)
    found = generate(model, TOKENIZER, ASKED, [0] * len(ASKED), 12, 0.0)
    assert found == [greedy_without_tricks(model, turns, 12) for turns in ASKED]


def test_tokens_are_drawn_from_the_softmax(model: Any) -> None:
    """Over 3,000 seeds the first token's frequencies match the model's probabilities at temperature 0.7."""
    n, temperature = 3000, 0.7
    found = generate(model, TOKENIZER, [ASKED[0]] * n, list(range(n)), 1, temperature)
    text = TOKENIZER.apply_chat_template(ASKED[0], tokenize=False, add_generation_prompt=True)
    with torch.no_grad():
        logits = model(**TOKENIZER(text, add_special_tokens=False, return_tensors="pt")).logits[0, -1]
    expected = torch.softmax(logits / temperature, -1).numpy()
    drawn = [tokens[0] if tokens else TOKENIZER.eos_token_id for tokens, _ in found]
    seen = np.bincount(drawn, minlength=len(expected)) / n
    deviation = (seen - expected) / np.sqrt(expected * (1 - expected) / n + 1e-12)
    assert np.abs(deviation[expected > 0.01]).max() < 4
    assert np.abs(seen - expected).sum() < 0.2


def test_a_rollout_does_not_depend_on_its_batch(model: Any) -> None:
    """The same prompt and seed give the same answer alone and among others, in any order."""
    together = generate(model, TOKENIZER, ASKED, [5, 6, 7, 8], 10, 1.0)
    alone = [
        generate(model, TOKENIZER, [turns], [seed], 10, 1.0)[0] for turns, seed in zip(ASKED, (5, 6, 7, 8), strict=True)
    ]
    assert together == alone
    assert generate(model, TOKENIZER, ASKED[::-1], [8, 7, 6, 5], 10, 1.0) == together[::-1]


def test_seeds_make_a_difference(model: Any) -> None:
    """Samples of one prompt differ, and their seeds differ by run seed, prompt and sample."""
    answers = generate(model, TOKENIZER, [ASKED[0]] * 5, [0, 1, 2, 3, 4], 10, 1.0)
    assert len({tuple(tokens) for tokens, _ in answers}) == 5
    assert len({row_seed(s, PROMPTS[p], k) for s in (0, 1) for p in (0, 1) for k in (0, 1)}) == 8


def test_answers_stop_at_the_end_token(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that ends leaves the batch early, is marked as finished, and the others go on undisturbed."""
    without = generate(model, TOKENIZER, ASKED * 3, list(range(12)), 20, 1.0)
    drawn = Counter(token for tokens, _ in without for token in set(tokens))
    common = min(token for token, count in drawn.items() if 3 <= count <= 9)
    monkeypatch.setattr(rollouts, "_end_tokens", lambda model, tokenizer: frozenset({common}))
    found = generate(model, TOKENIZER, ASKED * 3, list(range(12)), 20, 1.0)
    cut = [(tokens[: tokens.index(common)], True) if common in tokens else (tokens, False) for tokens, _ in without]
    assert found == cut
    assert {finished for _, finished in found} == {True, False}


def test_every_prompt_is_asked_before_any_twice() -> None:
    """Rollouts cycle through the prompts, with a new sample number each time round."""
    assert schedule(3, 7) == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)]
    assert schedule(5, 2) == [(0, 0), (1, 0)]


def test_sampling_is_kept_and_never_repeated(model: Any, tmp_path: Path) -> None:
    """A second call reads the file and does not even load the model."""
    first = sample(policy(model), PROMPTS, VERIFY, tmp_path / "r.jsonl").rollouts
    assert [(r.prompt, r.sample) for r in first] == schedule(len(PROMPTS), 10)

    def never() -> tuple[Any, Any]:
        raise AssertionError("loaded")

    assert sample(policy(model, never), PROMPTS, VERIFY, tmp_path / "r.jsonl").rollouts == first


def test_a_killed_sampling_goes_on_where_it_was(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill in the middle, with a torn last line, the finished batches stand and the result is the same."""
    monkeypatch.setattr(rollouts, "BATCH", 3)
    whole = sample(policy(model), PROMPTS, VERIFY, tmp_path / "whole.jsonl").rollouts

    def kill(done: int, total: int) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(policy(model), PROMPTS, VERIFY, tmp_path / "r.jsonl", kill)
    with open(tmp_path / "r.jsonl", "a", encoding="utf-8") as file:
        file.write('{"prompt": 1, "sam')
    kept, broken = read_rollouts(tmp_path / "r.jsonl")
    assert (len(kept), broken) == (6, 0)
    reported: list[int] = []
    again = sample(policy(model), PROMPTS, VERIFY, tmp_path / "r.jsonl", lambda done, _: reported.append(done))
    assert again.rollouts == whole
    assert reported == [9, 10]
    lines = (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines()
    assert len([json.loads(line) for line in lines]) == 10


def test_nearly_equal_policies_give_nearly_the_same_rollouts() -> None:
    """Common random numbers: a slightly changed model draws the same first token far more often than by chance."""
    start, tilted = tiny_model("llama", seed=1), tiny_model("llama", seed=1)
    with torch.no_grad():
        for parameter in tilted.parameters():
            parameter.add_(
                0.005 * parameter.std() * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
            )
    n = 200
    one = generate(start, TOKENIZER, [ASKED[0]] * n, list(range(n)), 1, 1.0)
    paired = generate(tilted, TOKENIZER, [ASKED[0]] * n, list(range(n)), 1, 1.0)
    unpaired = generate(tilted, TOKENIZER, [ASKED[0]] * n, list(range(n, 2 * n)), 1, 1.0)
    same = np.mean([a == b for a, b in zip(one, paired, strict=True)])
    by_chance = np.mean([a == b for a, b in zip(one, unpaired, strict=True)])
    assert same > 0.9
    assert by_chance < 0.5


def test_the_key_changes_with_everything_that_matters() -> None:
    """Weights, template, prompts, settings and dtype each make another file; the prompt set's name does not."""

    def key(digest: str = "d", settings: str = "s", prompts: int = 4, dtype: str = "float32", **asked: object) -> str:
        used = Policy("start", digest, settings, lambda: (None, None))
        return rollouts_key(used, PROMPTS[:prompts], VERIFY.model_copy(update=asked), dtype)

    changed = [key("e"), key(settings="t"), key(prompts=3), key(seed=2), key(temperature=0.5), key(dtype="bfloat16")]
    assert len({key(), *changed}) == 7
    named = VERIFY.model_copy(update={"prompts": "x.jsonl"})
    assert rollouts_key(Policy("plain", "d", "s", lambda: (None, None)), PROMPTS, named, "float32") == key()


def test_a_line_counts_under_its_own_key_alone(model: Any, tmp_path: Path) -> None:
    """A changed line, one from another file, and what is no line at all are sampled again, and counted."""
    file = tmp_path / "r.jsonl"
    whole = sample(policy(model), PROMPTS, VERIFY, file).rollouts
    other = sample(
        Policy("tilted", "e", "s", lambda: (tiny_model("llama", seed=2), TOKENIZER)),
        PROMPTS,
        VERIFY,
        tmp_path / "s.jsonl",
    )
    assert other.rollouts != whole
    lines, theirs = file.read_bytes().splitlines(), (tmp_path / "s.jsonl").read_bytes().splitlines()
    lines[0] = lines[0].replace(b'"tokens": ', b'"tokens": 1')
    lines[1] = theirs[1]
    lines[2] = b"\xff\x00[[[["
    file.write_bytes(b"\n".join(lines) + b"\n")
    again = sample(policy(model), PROMPTS, VERIFY, file)
    assert (again.rollouts, again.broken) == (whole, 3)
    (tmp_path / "s.jsonl").replace(file)
    again = sample(policy(model), PROMPTS, VERIFY, file)
    assert (again.rollouts, again.broken) == (whole, 10)


@pytest.mark.parametrize(("name", "least"), [("builtin:general", 200), ("builtin:safety", 40)])
def test_builtin_prompts(name: str, least: int) -> None:
    """The builtin sets are there, large enough, and without repeats."""
    prompts, found = read_prompts(name)
    assert not found
    assert prompts is not None
    assert len(prompts) >= least
    assert len({p.text.lower() for p in prompts}) == len(prompts)


def test_prompts_are_read_from_files(tmp_path: Path) -> None:
    """Strings, messages and conversations that end in an answer; repeats count once; both formats agree."""
    system = {"role": "system", "content": "Be brief."}
    user = {"role": "user", "content": "Hi\u2028there"}
    rows = [
        {"prompt": "Hi"},
        {"prompt": "Hi"},
        {"messages": [system, user, {"role": "assistant", "content": "Hello."}]},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    prompts, found = read_prompts(str(tmp_path / "p.jsonl"))
    assert not found
    assert prompts == (Prompt(({"role": "user", "content": "Hi"},)), Prompt((system, user)))
    pq.write_table(pa.table({"prompt": ["Hi", "Ho"]}), tmp_path / "p.parquet")
    from_parquet, _ = read_prompts(str(tmp_path / "p.parquet"))
    assert from_parquet is not None
    assert [p.text for p in from_parquet] == ["Hi", "Ho"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.jsonl", None),
        ("bad.jsonl", "{"),
        ("list.jsonl", "[1]"),
        ("empty.jsonl", ""),
        ("blank.jsonl", '{"prompt": " "}'),
        ("answer.jsonl", '{"messages": [{"role": "assistant", "content": "x"}]}'),
        ("other.jsonl", '{"question": "x"}'),
        ("p.txt", "Hi"),
        ("p.parquet", "Hi"),
        ("builtin:nothing", None),
    ],
)
def test_unreadable_prompts_are_a_finding(name: str, content: str | None, tmp_path: Path) -> None:
    """Whatever is wrong with a prompt file is T651, never an exception."""
    place = name if name.startswith("builtin:") else str(tmp_path / name)
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    prompts, found = read_prompts(place)
    assert prompts is None
    assert [d.code for d in found] == ["T651"]
