"""Every method but DPO: its loss against a few lines of our own, an empty plan against stock TRL, and whole runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, Trainer, set_seed
from trl import KTOConfig, KTOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from tests.runtime.planned import PAIRS, TRAIN, tiny_plan, tiny_rows, tiny_world
from tests.runtime.tiny import tiny_sae_folder, tiny_tokenizer
from tiltc.plan import Action, Apart, ForecastRow, Group, Interval, Member, Plan, PlanConcept
from tiltc.planfile import read_plan, write_plan
from tiltc.spec import Concept, Grpo, Train
from tiltc_runtime.admit import admit
from tiltc_runtime.data import training_rows
from tiltc_runtime.loading import load_model
from tiltc_runtime.methods.grpo import OPEN, Readings, feature_reward, load_reward_model, terms_of
from tiltc_runtime.methods.kto import KtoCollator, TiltedKTOTrainer, kto_rows
from tiltc_runtime.methods.reward import MARGIN, RewardCollator, TiltedRewardTrainer, reward_rows
from tiltc_runtime.methods.sft import SftCollator, TiltedSFTTrainer, sft_rows
from tiltc_runtime.pairs import load_pairs
from tiltc_runtime.record import RunRecord
from tiltc_runtime.sae import load_sae
from tiltc_runtime.settings import trainer_arguments
from tiltc_runtime.train import run
from tiltc_runtime.trainer import OFFSET, WEIGHT
from tiltc_runtime.verification import read_run

NEUTRAL = {"weight": [1.0] * PAIRS, "margin_offset": [0.0] * PAIRS}
#: what each method can obey of the default rows
ROWS: dict[str, dict[str, Any]] = {
    "dpo": {},
    "reward": {},
    "sft": {"margin_offset": [0.0] * PAIRS, "chosen_masked": [[0, 2] if i % 2 else [] for i in range(PAIRS)]},
    "kto": {"margin_offset": [0.0] * PAIRS},
    "grpo": {"weight": [1.0] * PAIRS},
}
METHODS = ("reward", "sft", "kto", "grpo")
GRPO = Grpo(generations=2, max_new_tokens=6)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny matrices gain nothing from threads, and bits can't depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_world(tmp_path_factory.mktemp("world"))
    tiny_sae_folder(folder / "sae")
    return folder


def listed(data: Any) -> list[Any]:
    """The rows of a data set."""
    return list(data)


def rows_of(world: Path, **columns: list[Any]) -> Dataset:
    """The trained rows of a plan with these columns."""
    made, found = training_rows(
        load_pairs("pairs.jsonl", world).pairs, tiny_rows(world, **columns), tiny_tokenizer(), 256
    )
    assert made is not None, list(found)
    return made.dataset


def arguments(method: str, out: Path, **changes: Any) -> dict[str, Any]:
    train = TRAIN.model_copy(update={"method": method, "lora": None, "batch_size": 4, "epochs": 1.0})
    return trainer_arguments(train, out, cuda=False) | {"save_strategy": "no"} | changes


def policy(world: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(world / "model", dtype=torch.float32)


def headed(world: Path) -> Any:
    set_seed(3)
    return AutoModelForSequenceClassification.from_pretrained(world / "model", dtype=torch.float32, num_labels=1)


def reward_trainer(world: Path, out: Path, data: Dataset, **changes: Any) -> TiltedRewardTrainer:
    tokenizer = tiny_tokenizer()
    return TiltedRewardTrainer(
        model=headed(world), args=RewardConfig(**arguments("reward", out, **changes)), train_dataset=data,
        processing_class=tokenizer, data_collator=RewardCollator(tokenizer.pad_token_id),
    )  # fmt: skip


def sft_trainer(world: Path, out: Path, data: Dataset, **changes: Any) -> TiltedSFTTrainer:
    tokenizer = tiny_tokenizer()
    return TiltedSFTTrainer(
        model=policy(world), args=SFTConfig(**arguments("sft", out, **changes)), train_dataset=data,
        processing_class=tokenizer, data_collator=SftCollator(tokenizer.pad_token_id),
    )  # fmt: skip


def kto_trainer(world: Path, out: Path, data: Dataset, **changes: Any) -> TiltedKTOTrainer:
    tokenizer = tiny_tokenizer()
    return TiltedKTOTrainer(
        model=policy(world), args=KTOConfig(**arguments("kto", out, **changes)), train_dataset=data,
        processing_class=tokenizer, data_collator=KtoCollator(tokenizer.pad_token_id, 256),
    )  # fmt: skip


def perturb(model: Any) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=generator))


def loss_and_gradient(trainer: Any, rows: range) -> tuple[float, torch.Tensor]:
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator([trainer.train_dataset[i] for i in rows]))
    return float(loss.detach()), gradient(trainer.model, loss)


def gradient(model: Any, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def agree(ours: tuple[float, torch.Tensor], model: Any, loss: torch.Tensor) -> None:
    theirs = gradient(model, loss)
    # log-probabilities are tens of nats, summed in another order on each kind of processor
    assert ours[0] == pytest.approx(loss.item(), rel=1e-5)
    assert float((ours[1] - theirs).norm() / theirs.norm()) < 1e-5


def logp(model: Any, prompt: list[int], response: list[int]) -> torch.Tensor:
    """log p of each response token (t,), without any of TRL's code."""
    ids = torch.tensor([prompt + response])
    logps = model(input_ids=ids).logits[0].log_softmax(-1)
    return logps[torch.arange(len(prompt) - 1, ids.shape[1] - 1), ids[0, len(prompt) :]]


def test_a_reward_model_learns_the_planned_loss_with_dpos_sign(world: Path, tmp_path: Path) -> None:
    """-w * logsigmoid(r_c - r_r + offset): the offset is added, though TRL's column is subtracted."""
    rows = rows_of(world)
    trainer = reward_trainer(world, tmp_path, reward_rows(rows))
    assert trainer.train_dataset[MARGIN] == [-offset for offset in rows[OFFSET]]
    perturb(trainer.model)
    ours = loss_and_gradient(trainer, range(6))
    model: Any = trainer.model

    def score(ids: list[int]) -> torch.Tensor:
        return model(input_ids=torch.tensor([ids])).logits[0, 0]

    losses = [
        -row[WEIGHT]
        * F.logsigmoid(
            score(row["prompt_ids"] + row["chosen_ids"]) - score(row["prompt_ids"] + row["rejected_ids"]) + row[OFFSET]
        )
        for row in listed(rows)[:6]
    ]
    agree(ours, trainer.model, torch.stack(losses).mean())


def test_supervised_training_weighs_examples_and_leaves_masked_tokens_out(world: Path, tmp_path: Path) -> None:
    """Sum of w * -log p over unmasked tokens of the chosen response, over their number."""
    rows = rows_of(world, margin_offset=NEUTRAL["margin_offset"])
    masked = {row: [0, 3] for row in rows["row_id"][::2]}
    trainer = sft_trainer(world, tmp_path, sft_rows(rows, masked))
    perturb(trainer.model)
    ours = loss_and_gradient(trainer, range(6))
    total, tokens = torch.zeros(()), 0
    for row in listed(rows)[:6]:
        kept = [t for t in range(len(row["chosen_ids"])) if t not in masked.get(row["row_id"], ())]
        total = total - row[WEIGHT] * logp(trainer.model, row["prompt_ids"], row["chosen_ids"])[kept].sum()
        tokens += len(kept)
    agree(ours, trainer.model, total / tokens)


def test_kto_weighs_both_responses_of_a_pair(world: Path, tmp_path: Path) -> None:
    """w * (1 - sigmoid(+-(beta * ratio - beta * KL))), KL being the mean log-ratio of the batch's turned responses."""
    rows = rows_of(world, margin_offset=NEUTRAL["margin_offset"])
    trainer = kto_trainer(world, tmp_path, kto_rows(rows, 3))
    data = listed(trainer.train_dataset)[:4]
    assert {example["label"] for example in data} == {True, False}
    perturb(trainer.model)
    ours = loss_and_gradient(trainer, range(4))
    frozen, beta = policy(world), trainer.args.beta

    def ratio(prompt: list[int], response: list[int]) -> torch.Tensor:
        with torch.no_grad():
            reference = logp(frozen, prompt, response).sum()
        return logp(trainer.model, prompt, response).sum() - reference

    turned = [data[i - 1]["completion_ids"] for i in range(4)]
    kl = (
        torch.stack([ratio(e["prompt_ids"], t) for e, t in zip(data, turned, strict=True)]).mean().detach().clamp(min=0)
    )
    losses: list[torch.Tensor] = []
    for example in data:
        z = beta * (ratio(example["prompt_ids"], example["completion_ids"]) - kl)
        losses.append(example[WEIGHT] * (1 - torch.sigmoid(z if example["label"] else -z)))
    assert kl != 0
    agree(ours, trainer.model, torch.stack(losses).mean())


def test_kto_takes_each_response_once_with_its_pairs_weight(world: Path) -> None:
    """Twice as many examples as pairs, in an order that the seed fixes; a row without a rejected response gives one."""
    rows = rows_of(world)
    data = kto_rows(rows, 3)
    assert len(data) == 2 * len(rows)
    assert sum(data["label"]) == len(rows)
    weight = dict(zip(map(tuple, rows["chosen_ids"]), rows[WEIGHT], strict=True))
    weight |= dict(zip(map(tuple, rows["rejected_ids"]), rows[WEIGHT], strict=True))
    assert all(example[WEIGHT] == weight[tuple(example["completion_ids"])] for example in listed(data))
    assert data["completion_ids"] == kto_rows(rows, 3)["completion_ids"] != kto_rows(rows, 4)["completion_ids"]
    assert len(kto_rows(rows, 3, single={rows["row_id"][0]})) == 2 * len(rows) - 1


def numbers(trainer: Any) -> list[dict[str, float]]:
    untimed = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos"}
    return [{k: v for k, v in entry.items() if k not in untimed} for entry in trainer.state.log_history]


def same(stock: Any, ours: Any) -> None:
    stock.train()
    ours.train()
    one, other = stock.model.state_dict(), ours.model.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert numbers(stock) == numbers(ours)


def raw(world: Path) -> Dataset:
    pairs = [pair for i, pair in enumerate(load_pairs("pairs.jsonl", world).pairs) if i != 2]
    return Dataset.from_list(
        [{"prompt": list(p.prompt), "chosen": list(p.chosen), "rejected": list(p.rejected)} for p in pairs]
    )


#: absent, or there and saying nothing
SILENT: list[dict[str, float]] = [{}, {WEIGHT: 1.0}]


def silently(data: Dataset, columns: dict[str, float]) -> Dataset:
    for name, value in columns.items():
        data = data.add_column(name, [value] * len(data))
    return data


@pytest.mark.parametrize("columns", [*SILENT, {WEIGHT: 1.0, MARGIN: 0.0}], ids=str)
def test_an_empty_plan_trains_the_reward_model_of_stock_trl(world: Path, tmp_path: Path, columns: Any) -> None:
    """From raw rows, bit for bit, in TRL's own order."""
    stock = RewardTrainer(
        model=headed(world), train_dataset=raw(world), processing_class=tiny_tokenizer(),
        args=RewardConfig(**arguments("reward", tmp_path / "a", train_sampling_strategy="random")),
    )  # fmt: skip
    data = silently(reward_rows(rows_of(world, **NEUTRAL)), columns)
    same(stock, reward_trainer(world, tmp_path / "b", data, train_sampling_strategy="random"))


@pytest.mark.parametrize("columns", SILENT, ids=str)
def test_an_empty_plan_fine_tunes_as_stock_trl(world: Path, tmp_path: Path, columns: Any) -> None:
    """From raw prompts and completions, bit for bit, in TRL's own order."""
    data = raw(world).rename_column("chosen", "completion").remove_columns("rejected")
    args = arguments("sft", tmp_path / "a", train_sampling_strategy="random", dataset_kwargs=None)
    stock = SFTTrainer(
        model=policy(world), train_dataset=data, processing_class=tiny_tokenizer(), args=SFTConfig(**args)
    )
    ours = silently(sft_rows(rows_of(world, **NEUTRAL), {}), columns)
    same(stock, sft_trainer(world, tmp_path / "b", ours, train_sampling_strategy="random"))


@pytest.mark.parametrize("columns", SILENT, ids=str)
def test_an_empty_plan_trains_kto_as_stock_trl(world: Path, tmp_path: Path, columns: Any) -> None:
    """From raw responses in the same order, bit for bit."""
    pairs = raw(world)
    sides = [
        {"prompt": p["prompt"], "completion": p[s], "label": s == "chosen"}
        for p in listed(pairs)
        for s in ("chosen", "rejected")
    ]
    order = np.random.default_rng([3]).permutation(len(sides))
    stock = KTOTrainer(
        model=policy(world), train_dataset=Dataset.from_list([sides[i] for i in order]),
        processing_class=tiny_tokenizer(), args=KTOConfig(**arguments("kto", tmp_path / "a")),
    )  # fmt: skip
    ours = silently(kto_rows(rows_of(world, **NEUTRAL), 3), columns)
    same(stock, kto_trainer(world, tmp_path / "b", ours))


def steered(world: Path, folder: Path, train: Train, *, gate: bool = False) -> Plan:
    """A plan that suppresses one concept and amplifies another by reward terms, the second behind a gate if asked."""
    sae = load_sae("sae", folder=world).pin
    tiny_plan(world, folder, train=train, rows=tiny_rows(world, **ROWS["grpo"]), sae=sae)
    loaded, _ = read_plan(folder)
    assert loaded is not None

    def group(*features: int) -> Group:
        return Group(members=tuple(Member(feature=f, weight=0.5, scale=20.0) for f in features), mean=0.2, sd=0.3)

    shout = Concept(about="Says the.", words=("the",))
    concepts = [
        PlanConcept(name="bold", role="declared", definition=shout, status="resolved", readout="sae", group=group(1, 5, 9)),
        PlanConcept(
            name="cats", role="declared", definition=Concept(about="e", pattern="e"), status="resolved",
            readout="detector", detector_mean=0.25, detector_sd=0.5,
        ),
        PlanConcept(
            name="winter", role="gate", definition=Concept(about="w", words=("winter",)), status="resolved",
            readout="detector",
        ),
    ]  # fmt: skip
    when = "winter" if gate else None
    zero = Interval(value=0, low=0, high=0)
    figures: dict[str, Any] = {
        "kind": "declared",
        "plain": zero,
        "tilted": zero,
        "simulated_plain": 0,
        "simulated_tilted": 0,
    }
    forecast = (
        ForecastRow(name="bold", verb="suppress", **figures),
        ForecastRow(name="cats", verb="amplify", when=when, **figures),
    )
    amplify = "amplify: cats when winter" if gate else "amplify: cats"
    actions = tuple(
        Action(mechanism="reward", signal=s, concept=c, strength=x, rows_touched=1, because="")
        for s, c, x in (("suppress: bold", "bold", 0.8), (amplify, "cats", -1.5))
    )
    plan = loaded.plan.model_copy(update={"concepts": tuple(concepts), "actions": actions, "forecast": forecast})
    return write_plan(plan, loaded.rows, folder)


def test_a_term_that_is_told_apart_takes_the_others_out(world: Path, tmp_path: Path) -> None:
    """The reward of `cats` apart from `bold` is that of `cats` less coefficient times that of `bold`, at the same strength."""
    plan = steered(world, tmp_path / "plan", TRAIN)
    apart = Apart(coefficients={"bold": 0.7}, explained=0.2)
    row = plan.forecast[1].model_copy(update={"apart": apart})
    action = plan.actions[1].model_copy(update={"signal": f"amplify: {row.label}"})
    told = plan.model_copy(update={"forecast": (plan.forecast[0], row), "actions": (plan.actions[0], action)})
    model, sae = load_model("model", folder=world, layers=2), load_sae("sae", folder=world)
    prompts = [[{"role": "user", "content": "over there"}]] * 2
    completions = [[{"role": "assistant", "content": text}] for text in ("the garden thinks", "or not a cat")]

    def rewards(read: Plan) -> list[np.ndarray]:
        terms, readings = terms_of(read), Readings(model, sae, 256)
        asked = {"prompts": prompts, "completions": completions, OPEN: [[True, True]] * 2}
        return [np.array(feature_reward(term, i, readings)(**asked)) for i, term in enumerate(terms)]

    (bold, cats), (same, rest) = rewards(plan), rewards(told)
    assert same == pytest.approx(bold)
    # bold's strength is 0.8, that of cats -1.5
    assert rest == pytest.approx(cats - 0.7 * bold * (-1.5 / 0.8))
    assert rest != pytest.approx(cats)


def test_a_reward_term_is_strength_times_score_against_the_signal(world: Path, tmp_path: Path) -> None:
    """suppress takes strength * standardised score off, amplify adds it, and a closed gate gives nothing."""
    plan = steered(world, tmp_path / "plan", TRAIN, gate=True)
    terms = terms_of(plan)
    assert [term.gate for term in terms] == [None, "winter"]
    model, sae = load_model("model", folder=world, layers=2), load_sae("sae", folder=world)
    readings = Readings(model, sae, 256)
    prompts = [[{"role": "user", "content": "a cat in winter"}], [{"role": "user", "content": "over there"}]]
    texts = ["the garden thinks", "or not a cat"]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    columns = {OPEN: [[True, True], [True, False]]}
    first, second = (
        feature_reward(term, i, readings)(prompts=prompts, completions=completions, **columns)
        for i, term in enumerate(terms)
    )
    expected: list[float] = []
    for prompt, text in zip(prompts, texts, strict=True):
        template = model.tokenizer.apply_chat_template
        start = len(template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"])
        ids = template([*prompt, {"role": "assistant", "content": text}], return_dict=True)["input_ids"]
        residual = policy(world)(torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0, start:]
        highest = sae.encode(residual).amax(0)[[1, 5, 9]]
        expected.append(-0.8 * (float((0.5 * (highest / 20).clamp(max=1)).sum()) - 0.2) / 0.3)
    assert first == pytest.approx(expected, rel=1e-4)
    assert first[0] != pytest.approx(first[1], rel=1e-2)
    assert second == pytest.approx([1.5 * (float("e" in texts[0]) - 0.25) / 0.5, 0.0])


def test_grpo_climbs_the_advantage_of_the_plans_reward(world: Path, tmp_path: Path) -> None:
    """The gradient is that of -A * log p a token over the length allowed; A is the reward less its group's mean."""
    train = TRAIN.model_copy(update={"method": "grpo", "lora": None, "batch_size": 4, "grpo": GRPO})
    steered(world, tmp_path / "plan", train)
    trainer, _ = made_trainer(world, tmp_path)
    trainer.current_gradient_accumulation_steps = 1
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    seen: list[Any] = []
    scored = trainer._calculate_rewards
    trainer._calculate_rewards = lambda *a: seen.append(scored(*a)) or seen[-1]
    inputs = trainer._prepare_inputs(batch)
    rewards = seen[0].sum(1)
    advantages = (rewards.view(-1, 2) - rewards.view(-1, 2).mean(1, keepdim=True)).flatten()
    assert rewards.std() > 0
    assert torch.allclose(inputs["advantages"].sort().values, advantages.sort().values, atol=1e-5)
    loss = trainer.compute_loss(trainer.model, inputs)
    ours = gradient(trainer.model, loss)
    total = torch.zeros(())
    for i, advantage in enumerate(inputs["advantages"]):
        prompt = inputs["prompt_ids"][i][inputs["prompt_mask"][i].bool()].tolist()
        response = inputs["completion_ids"][i][inputs["completion_mask"][i].bool()].tolist()
        total = total - advantage * logp(trainer.model, prompt, response).sum() / GRPO.max_new_tokens
    theirs = gradient(trainer.model, total / len(inputs["advantages"]))
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-4


def made_trainer(world: Path, folder: Path) -> tuple[Any, Any]:
    """What `run` would train, caught before it does."""
    import tiltc_runtime.train as module

    class Caught(Exception):
        pass

    made = module.make_trainer
    caught: list[Any] = []

    def catch(job: Any) -> Any:
        caught.extend((made(job), job))
        raise Caught

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module, "make_trainer", catch)
        with pytest.raises(Caught):
            run(folder / "plan", folder / "run", root=world)
    return caught[0], caught[1]


def planned(world: Path, folder: Path, method: str, **changes: Any) -> Path:
    train = TRAIN.model_copy(update={"method": method, "max_steps": 4, "grpo": GRPO, "learning_rate": 1e-2, **changes})
    if method == "grpo":
        steered(world, folder, train)
    else:
        tiny_plan(world, folder, train=train, rows=tiny_rows(world, **ROWS[method]))
    return folder


def finished(world: Path, plan: Path, out: Path, **options: Any) -> RunRecord:
    record, found = run(plan, out, root=world, **options)
    assert record is not None, list(found)
    return record


class Stop(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("method", METHODS)
def test_a_run_with_adapters_goes_on_bit_for_bit(world: Path, tmp_path: Path, method: str) -> None:
    """Trained, recorded, and when stopped within the fourth step, continued from the second to the same weights."""
    plan = planned(world, tmp_path / "plan", method)
    done = finished(world, plan, tmp_path / "done")
    assert (done.kind, done.steps, done.rows.trained) == ("adapter", 4, PAIRS - 1)
    original = Trainer.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 3:
            raise Stop
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Trainer, "training_step", training_step)
        with pytest.raises(Stop):
            run(plan, tmp_path / "again", root=world)
    again = finished(world, plan, tmp_path / "again")
    assert [session.from_step for session in again.sessions] == [0, 2]
    assert again.weights == done.weights
    assert [e["loss"] for e in again.history] == [e["loss"] for e in done.history]


@pytest.mark.parametrize("method", METHODS)
def test_full_training_saves_a_whole_model(world: Path, tmp_path: Path, method: str) -> None:
    """Without `lora`, all weights are trained; the plan changes what comes out, where a plain run can be had."""
    plan = planned(world, tmp_path / "plan", method, lora=None, max_steps=2)
    record = finished(world, plan, tmp_path / "full")
    kind = AutoModelForSequenceClassification if method == "reward" else AutoModelForCausalLM
    kind.from_pretrained(tmp_path / "full" / "model")
    assert record.kind == "full"
    if method != "grpo":
        assert finished(world, plan, tmp_path / "plain", plain=True).weights != record.weights


@pytest.mark.parametrize("lora", [True, False], ids=["adapter", "full"])
def test_a_reward_model_made_here_is_grpos_base(world: Path, tmp_path: Path, lora: bool) -> None:
    """Its score is that of the trained model; with it a plain run has something to reward, and a folder has one base."""
    more = {} if lora else {"lora": None}
    finished(world, planned(world, tmp_path / "reward-plan", "reward", **more), tmp_path / "reward")
    base = tmp_path / "reward" / "model"
    model = load_reward_model(base)
    assert model.score.weight.shape[0] == 1
    grpo = GRPO.model_copy(update={"reward": str(base)})
    plan = planned(world, tmp_path / "plan", "grpo", grpo=grpo, max_steps=2)
    plain = finished(world, plan, tmp_path / "plain", plain=True)
    assert any(entry["rewards/base/std"] > 0 for entry in plain.history)
    tilted = finished(world, plan, tmp_path / "tilted")
    assert math.isfinite(tilted.history[0]["rewards/suppress: bold/mean"])
    other = tmp_path / "reward" / "other"
    headed(world).save_pretrained(other)
    base.rename(tmp_path / "reward" / "moved")
    other.rename(base)
    _, found = run(plan, tmp_path / "tilted", root=world)
    assert [d.code for d in found] == ["T530"]


def refusals(world: Path, folder: Path, **options: Any) -> list[str]:
    admitted, found = admit(folder, root=world, **options)
    assert admitted is None
    return [d.code for d in found]


@pytest.mark.parametrize(
    ("method", "column"),
    [
        ("sft", {"margin_offset": [0.1] * PAIRS}),
        ("kto", {"margin_offset": [0.1] * PAIRS}),
        ("kto", {"chosen_masked": [[1]] * PAIRS}),
        ("reward", {"rejected_masked": [[1]] * PAIRS}),
        ("sft", {"chosen_prompt": [0] * PAIRS}),
        ("sft", {"chosen_masked": [[]] * PAIRS, "rejected_masked": [[1]] * PAIRS}),
    ],
)
def test_rows_that_a_method_would_leave_out_are_refused(world: Path, tmp_path: Path, method: str, column: Any) -> None:
    """What has no place in the method is a finding; a plain run uses no rows, so it is admitted."""
    train = TRAIN.model_copy(update={"method": method})
    tiny_plan(world, tmp_path / "plan", train=train, rows=tiny_rows(world, **ROWS[method] | column))
    # that the plan has no such prompt is a finding of its own
    assert set(refusals(world, tmp_path / "plan")) - {"T536"} == {"T544"}
    assert admit(tmp_path / "plan", root=world, plain=True)[0] is not None


def test_kto_needs_two_responses_a_batch(world: Path, tmp_path: Path) -> None:
    """Refused at admission, and not by TRL after the model was loaded."""
    train = TRAIN.model_copy(update={"method": "kto", "batch_size": 1})
    tiny_plan(world, tmp_path / "plan", train=train, rows=tiny_rows(world, **ROWS["kto"]))
    assert refusals(world, tmp_path / "plan") == ["T531"]


def test_grpo_needs_something_to_reward_and_groups_that_fit(world: Path, tmp_path: Path) -> None:
    """Weights, a plain run without a reward model, groups that a step can't hold, a folder that is none."""
    train = TRAIN.model_copy(update={"method": "grpo", "grpo": GRPO})
    steered(world, tmp_path / "plan", train)
    assert refusals(world, tmp_path / "plan", plain=True) == ["T531"]
    tiny_plan(world, tmp_path / "weighted", train=train)
    assert refusals(world, tmp_path / "weighted") == ["T531", "T544"]
    steered(world, tmp_path / "groups", train.model_copy(update={"grpo": Grpo(generations=8)}))
    assert refusals(world, tmp_path / "groups") == ["T531"]
    steered(world, tmp_path / "nowhere", train.model_copy(update={"grpo": Grpo(generations=2, reward="nowhere")}))
    assert refusals(world, tmp_path / "nowhere") == ["T507"]


def test_a_reward_model_has_no_policy_to_verify(world: Path, tmp_path: Path) -> None:
    """`verify` says so before it samples anything."""
    finished(world, planned(world, tmp_path / "plan", "reward", max_steps=1), tmp_path / "run")
    read, found = read_run(tmp_path / "run", "tilted")
    assert read is None
    assert [d.code for d in found] == ["T653"]
    assert any("no policy to sample" in note for d in found for note in d.notes)


def test_data_of_single_responses_can_be_fine_tuned_on(tmp_path: Path) -> None:
    """Rows without a rejected response: a plan for them trains on every response, and on nothing else."""
    world = tiny_world(tmp_path, 6)
    rows = [json.loads(line) for line in (world / "pairs.jsonl").read_text().splitlines()]
    singles = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    (world / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in singles))
    train = TRAIN.model_copy(update={"method": "sft", "max_steps": 2})
    neutral = {"keep": [True] * 6, "margin_offset": [0.0] * 6}
    tiny_plan(world, world / "plan", train=train, rows=tiny_rows(world, **neutral))
    assert finished(world, world / "plan", world / "run").rows.trained == 6
