"""Masked tokens, prompts of the policy and steering, against an implementation without any of tiltc's or TRL's code."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from tests.runtime.planned import BENDING, BENT, PAIRS, PROMPTS, forms, tiny_rows, tiny_world
from tests.runtime.test_trainer import config, launch, numbers, perturb, same_bits
from tests.runtime.tiny import FAMILIES, WIDTH, tiny_model_folder, tiny_pairs, tiny_tokenizer
from tiltc_runtime.data import Instructions, training_rows
from tiltc_runtime.loading import decoder_layers
from tiltc_runtime.pairs import Pair, load_pairs
from tiltc_runtime.reference import ReferenceCache
from tiltc_runtime.steering import Bend, Places, Push, pushes
from tiltc_runtime.trainer import COLUMNS, OFFSET_LOSSES, TiltCollator, TiltedDPOTrainer

FORMS = ("tokens", "inoculate", "steer")
#: with an adapter beside the vectors
ALL = ("tokens", "inoculate", "reft")
NEUTRAL = {"keep": [True] * PAIRS, "weight": [1.0] * PAIRS, "margin_offset": [0.0] * PAIRS}
HEADER = "<|im_start|>user\n"


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
    rows = tiny_pairs(PAIRS)
    for row in rows:
        for side in ("chosen", "rejected"):
            # in float32, the error of a log-probability grows with its length
            row[side][0]["content"] = row[side][0]["content"][:12]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def table(world: Path, *names: str, **columns: list[Any]) -> Any:
    return tiny_rows(world, **NEUTRAL | forms(PAIRS, *names) | columns)


def dataset(world: Path, rows: Any, max_length: int = 256, **options: Any) -> Any:
    pairs = load_pairs("pairs.jsonl", world).pairs
    made, found = training_rows(
        pairs, rows, tiny_tokenizer(), max_length, instructions=Instructions(PROMPTS), **options
    )
    assert made is not None, list(found)
    return made.dataset


def adapters(model: Any) -> LoraConfig:
    gpt2 = model.config.model_type == "gpt2"
    return LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn", "c_fc"] if gpt2 else ["q_proj", "down_proj"])


def trainer_of(
    model_folder: Path, args: DPOConfig, data: Any, *, peft: bool = False, steering: Any = None, **more: Any
) -> TiltedDPOTrainer:
    tokenizer = tiny_tokenizer()
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    return TiltedDPOTrainer(
        model=model,
        args=args,
        train_dataset=data,
        processing_class=tokenizer,
        data_collator=TiltCollator(tokenizer.pad_token_id, args.max_length),
        peft_config=adapters(model) if peft else None,
        steering=pushes(BENDING, BENT) if steering is None else steering,
        **more,
    )


def trained(*args: Any, **more: Any) -> TiltedDPOTrainer:
    trainer = trainer_of(*args, **more)
    trainer.train()
    return trainer


def tokens_of(pair: Pair, side: str, instruction: str | None = None) -> tuple[list[int], int, int]:
    """Token ids of one side of a single-turn pair, where its user turn's text starts, and where the response does."""
    tokenizer = tiny_tokenizer()
    asked = pair.prompt[0]["content"] + (f"\n\n{instruction}" if instruction else "")
    answer = getattr(pair, side)[0]["content"]
    before = f"{HEADER}{asked}<|im_end|>\n<|im_start|>assistant\n"
    ids = [tokenizer(text)["input_ids"] for text in (before + answer + "<|im_end|>\n", HEADER, before)]
    return ids[0], len(ids[1]), len(ids[2])


@contextmanager
def moved(model: Any, numbers: list[int], start: int, response: int) -> Generator[None]:
    """Vectors, and what adapters say of it, added to what the layer after the named one reads."""
    layers = decoder_layers(model.get_base_model() if hasattr(model, "peft_config") else model)
    handles = []
    for layer in {BENDING[n].layer for n in numbers}:

        def add(_: Any, inputs: Any, layer: int = layer) -> Any:
            h, out = inputs[0], inputs[0]
            there = (torch.arange(h.shape[1]) >= start).float()[None, :, None]
            for push in (BENDING[n] for n in numbers if BENDING[n].layer == layer):
                tool = torch.tensor(BENT[push.key])
                if push.ends is None:
                    out = out + there * push.size * tool
                    continue
                tokens = list(range(response, h.shape[1]))
                for t in {*tokens[: push.ends], *tokens[-push.ends :]}:
                    code = tool[:, :WIDTH] @ h[0, t] + tool[:, WIDTH]
                    one = torch.zeros(h.shape[1], 1)
                    one[t] = 1
                    out = out + one * (push.size * (tool[:, WIDTH + 1 :].T @ code))
            return (out, *inputs[1:])

        handles.append(layers[layer + 1].register_forward_pre_hook(add))
    yield
    for handle in handles:
        handle.remove()


def token_logps(model: Any, ids: list[int], start: int, masked: list[int]) -> torch.Tensor:
    logps = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    kept = [t for t in range(start, len(ids)) if t - start not in masked]
    return torch.stack([logps[t - 1, ids[t]] for t in kept]) if kept else logps[:0, 0]


def independent_loss(model: Any, frozen: Any, pair: Pair, row: dict[str, Any], args: DPOConfig) -> torch.Tensor:
    sides: list[torch.Tensor] = []
    for side in ("chosen", "rejected"):
        ids, _, start = tokens_of(pair, side)
        with torch.no_grad():
            reference = token_logps(frozen, ids, start, row[f"{side}_masked"])
        prompt = row["chosen_prompt"] if side == "chosen" else -1
        ids, turn, start = tokens_of(pair, side, PROMPTS[prompt] if prompt >= 0 else None)
        with moved(model, row[f"{side}_steered"], turn, start):
            ratios = token_logps(model, ids, start, row[f"{side}_masked"]) - reference
        sides.append(ratios.sum() / max(1, len(ratios)) if args.loss_type == ["sigmoid_norm"] else ratios.sum())
    z = args.beta * (sides[0] - sides[1]) + row["margin_offset"]
    match args.loss_type:
        case ["hinge"]:
            return row["weight"] * (1 - z).clamp(min=0)
        case ["robust"]:
            e = args.label_smoothing
            return row["weight"] * (-(1 - e) * F.logsigmoid(z) + e * F.logsigmoid(-z)) / (1 - 2 * e)
        case _:
            return -row["weight"] * F.logsigmoid(z)


def flat(gradients: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([gradients[name].flatten() for name in sorted(gradients)])


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def compare(
    world: Path, model_folder: Path, args: DPOConfig, rows: Any, *, peft: bool, recompute: bool = False
) -> None:
    trainer = trainer_of(model_folder, args, dataset(world, rows), peft=peft)
    perturb(trainer.model)
    trainer.model.train()
    if recompute:
        trainer.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(PAIRS)])
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    ours = gradients(trainer.model)

    if recompute:
        trainer.model.gradient_checkpointing_disable()
    trainer.model.eval()
    frozen = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    pairs = load_pairs("pairs.jsonl", world).pairs
    losses = [
        independent_loss(trainer.model, frozen, *both, args) for both in zip(pairs, rows.to_pylist(), strict=True)
    ]
    torch.stack(losses).mean().backward()
    theirs = gradients(trainer.model)
    # log-probabilities are tens of nats, summed in another order on each kind of processor
    assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    assert ours.keys() == theirs.keys()
    assert ((flat(ours) - flat(theirs)).norm() / flat(theirs).norm()).item() < 2e-5


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("names", [*((name,) for name in (*FORMS, "reft")), FORMS, ALL], ids="-".join)
def test_each_form_equals_an_independent_implementation(
    world: Path, tmp_path: Path, names: tuple[str, ...], peft: bool, recompute: bool
) -> None:
    """Loss and gradient on a moved policy, each form on its own and all together."""
    compare(world, world / "model", config(tmp_path), table(world, *names), peft=peft, recompute=recompute)


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_all_forms_together_on_every_architecture(world: Path, tmp_path: Path, family: str) -> None:
    """Layers and their outputs are found in each family; sliding windows and learned positions change nothing."""
    model_folder = tiny_model_folder(tmp_path / "model", family)
    compare(world, model_folder, config(tmp_path / "out"), table(world, *ALL), peft=False)
    compare(world, model_folder, config(tmp_path / "out"), table(world, *FORMS), peft=True, recompute=True)
    compare(world, model_folder, config(tmp_path / "out"), table(world, *ALL), peft=True, recompute=True)


@pytest.mark.parametrize("loss", sorted(OFFSET_LOSSES))
def test_all_forms_with_weights_and_offsets_under_every_loss(world: Path, tmp_path: Path, loss: str) -> None:
    """`sigmoid_norm` divides by the tokens that carry loss."""
    tilt = {"weight": [0.5 + i % 3 for i in range(PAIRS)], "margin_offset": [0.3 * (i % 5 - 2) for i in range(PAIRS)]}
    args = config(tmp_path, loss_type=[loss], label_smoothing=0.1 if loss == "robust" else 0.0)
    compare(world, world / "model", args, table(world, *FORMS, **tilt), peft=False)
    compare(world, world / "model", args, table(world, *ALL, **tilt), peft=False)


@pytest.mark.parametrize("loss", ["sigmoid", "sigmoid_norm"])
def test_a_side_masked_as_a_whole_counts_nothing(world: Path, tmp_path: Path, loss: str) -> None:
    """Its log-ratio is 0 and no number is NaN; a pair masked as a whole gives log 2 and no gradient."""
    data = dataset(world, table(world))
    masks = {
        "chosen_masked": [list(range(len(ids))) if i in (0, 1) else [] for i, ids in enumerate(data["chosen_ids"])],
        "rejected_masked": [list(range(len(ids))) if i == 1 else [] for i, ids in enumerate(data["rejected_ids"])],
    }
    compare(world, world / "model", config(tmp_path, loss_type=[loss]), table(world, **masks), peft=False)
    trainer = trainer_of(world / "model", config(tmp_path, loss_type=[loss]), dataset(world, table(world, **masks)))
    perturb(trainer.model)
    trainer.model.train()
    loss_of_one = trainer.compute_loss(trainer.model, trainer.data_collator([trainer.train_dataset[1]]))
    loss_of_one.backward()
    assert loss_of_one.item() == pytest.approx(math.log(2), rel=1e-6)
    assert not flat(gradients(trainer.model)).any()


SETTINGS = {
    "checkpointing": {"gradient_checkpointing": True},
    "accumulation": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
    "precomputed": {"precompute_ref_log_probs": True},
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=list(SETTINGS))
@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_memory_settings_leave_the_training_as_it_is(
    world: Path, tmp_path: Path, changes: dict[str, Any], peft: bool
) -> None:
    """An epoch under all forms takes the same steps however it is computed, to 1e-4 of the way."""
    # SGD, so that a wrong scale of the gradient can't hide behind Adam's normalisation
    common = {"optim": "sgd", "learning_rate": 1e-2, "max_grad_norm": 1e9}
    data = dataset(world, table(world, *ALL, weight=[0.5 + i % 2 for i in range(PAIRS)]))
    plain = trained(world / "model", config(tmp_path / "a", **common), data, peft=peft)
    cache = {"reference": ReferenceCache(tmp_path / "reference", "t")}
    changed = trained(world / "model", config(tmp_path / "b", **common, **changes), data, peft=peft, **cache)
    start = trainer_of(world / "model", config(tmp_path / "c"), data, peft=peft).model.state_dict()
    ours, theirs = plain.model.state_dict(), changed.model.state_dict()
    assert (flat(ours) - flat(theirs)).norm() < 1e-4 * (flat(ours) - flat(start)).norm()


def test_no_strength_is_bit_for_bit_no_form(world: Path, tmp_path: Path) -> None:
    """Empty masks, no prompt, vectors and adapters of size 0 train every bit that stock TRL trains."""
    data = dataset(world, table(world))
    assert not set(COLUMNS) & set(data.column_names)
    n = len(data)
    empty: list[list[int]] = [[] for _ in range(n)]
    idle = data
    for name in ("chosen_masked", "rejected_masked", "instructed_ids", "rejected_steered"):
        idle = idle.add_column(name, empty)
    idle = idle.add_column("chosen_steered", [[0]] * n).add_column("steered_from", [3] * n)
    nothing = [Push(1, torch.zeros(WIDTH))]
    still = [Bend(1, torch.tensor(BENT["calm"]), 0.0, 4)]
    model = AutoModelForCausalLM.from_pretrained(world / "model", dtype=torch.float32)
    raw = [{k: list(getattr(pair, k)) for k in ("prompt", "chosen", "rejected")} for pair in pairs_of(world)]
    stock = DPOTrainer(
        model=model, args=config(tmp_path / "a"), train_dataset=type(data).from_list(raw),
        processing_class=tiny_tokenizer(),
    )  # fmt: skip
    stock.train()
    for number, (rows, steering) in enumerate([(data, ()), (idle, nothing), (idle, still)]):
        ours = trained(world / "model", config(tmp_path / f"b{number}"), rows, steering=steering)
        assert same_bits(stock, ours)
        assert numbers(stock) == numbers(ours)


def pairs_of(world: Path) -> list[Pair]:
    return load_pairs("pairs.jsonl", world).pairs


def test_no_hook_is_left(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither between the steps, where checkpoints are written and callbacks generate, nor in the end."""
    left: list[int] = []
    step = TiltedDPOTrainer.training_step

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = step(self, *args, **kwargs)
        left.append(sum(len(module._forward_hooks) for module in self.model.modules()))
        return loss

    monkeypatch.setattr(TiltedDPOTrainer, "training_step", watched)
    trainer = trained(world / "model", config(tmp_path), dataset(world, table(world, "reft")))
    assert left == [0] * trainer.state.global_step
    saved = AutoModelForCausalLM.from_pretrained(world / "model")
    trainer.save_model(str(tmp_path / "saved"))
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    ids = torch.tensor([tokens_of(pairs_of(world)[0], "chosen")[0]])
    assert torch.equal(saved.eval()(ids).logits, trainer.model.eval()(ids).logits)


def test_a_hook_that_meets_an_error_is_gone(world: Path) -> None:
    """Steering ends with the block, however the block ends."""
    from tiltc_runtime.steering import pushed

    model = AutoModelForCausalLM.from_pretrained(world / "model")
    places = Places(torch.zeros(1), torch.zeros(1, 2))
    with pytest.raises(KeyError), pushed(model, pushes(BENDING, BENT), torch.ones(1, 3), places):
        raise KeyError
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("precompute", [False, True], ids=["live", "cached"])
@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_the_reference_reads_the_pair_as_it_is(world: Path, tmp_path: Path, peft: bool, precompute: bool) -> None:
    """Prompted or steered before any training, policy and reference differ; masked alone, they do not."""
    losses: dict[str, float] = {}
    for name in FORMS:
        args = config(tmp_path / name, per_device_train_batch_size=PAIRS, precompute_ref_log_probs=precompute)
        data = dataset(world, table(world, name))
        cache = ReferenceCache(tmp_path / "reference", "t")
        losses[name] = trained(world / "model", args, data, peft=peft, reference=cache).state.log_history[0]["loss"]
    assert losses["tokens"] == pytest.approx(math.log(2), rel=1e-5)
    assert abs(losses["inoculate"] - math.log(2)) > 1e-3
    assert abs(losses["steer"] - math.log(2)) > 1e-3


def test_evaluation_is_without_any_form(world: Path, tmp_path: Path) -> None:
    """Evaluated on the rows of the plan, the loss and every metric are those of rows without one."""
    found: list[dict[str, float]] = []
    for names in ((), ALL):
        data = dataset(world, table(world, *names))
        trainer = trainer_of(world / "model", config(tmp_path), data, eval_dataset=data)
        perturb(trainer.model)
        untimed = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second", "eval_model_preparation_time")
        found += [
            {k: v for k, v in metrics.items() if k not in untimed}
            for metrics in (trainer.evaluate(), trainer.evaluate(data))
        ]
    assert all(one == found[0] for one in found)


def test_masked_rows_are_not_served_unmasked_values(world: Path, tmp_path: Path) -> None:
    """One cache, first without masks, then with: masked rows are computed again, and the others come from the cache."""
    cache = ReferenceCache(tmp_path / "reference", "t")
    args = config(tmp_path / "a", precompute_ref_log_probs=True, precompute_ref_batch_size=1)
    own = [
        row["ref_chosen_logps"]
        for row in trainer_of(world / "model", args, dataset(world, table(world)), reference=cache).train_dataset
    ]
    before = set(cache.folder.iterdir())
    half = {"chosen_masked": [[0] if i == 0 else [] for i in range(PAIRS)]}
    masked = trainer_of(world / "model", args, dataset(world, table(world, **half)), reference=cache).train_dataset
    assert len(set(cache.folder.iterdir()) - before) == 1
    values = [row["ref_chosen_logps"] for row in masked]
    assert values[1:] == own[1:]
    model = AutoModelForCausalLM.from_pretrained(world / "model", dtype=torch.float32).eval()
    ids, _, start = tokens_of(pairs_of(world)[0], "chosen")
    assert values[0] == pytest.approx(token_logps(model, ids, start, [0]).sum().item(), rel=1e-5)
    assert values[0] != pytest.approx(own[0], rel=1e-3)


def test_the_ends_of_a_response_are_those_that_are_trained(world: Path) -> None:
    """Of a response that is cut, under an instruction or not: an adapter works on its first and last trained tokens."""
    limit = 60
    data = dataset(world, table(world, "inoculate", "reft"), limit)
    batch = TiltCollator(tiny_tokenizer().pad_token_id, limit)([data[i] for i in range(len(data))])
    cut = 0
    for ids, mask, (first, stop) in zip(
        batch["policy_input_ids"], batch["policy_completion_mask"], batch["steered_response"].tolist(), strict=True
    ):
        assert mask.nonzero()[:, 0].tolist() == list(range(first, stop))
        cut += len(ids) >= limit
    assert cut


def test_an_instruction_cuts_no_token_of_the_response(world: Path, tmp_path: Path) -> None:
    """At a `max_length` that cuts most responses, the trained tokens are those without the instruction."""
    limit = 60
    plain, asked = (dataset(world, table(world, *names), limit) for names in ((), ("inoculate",)))
    assert plain["chosen_ids"] == asked["chosen_ids"]
    collator = TiltCollator(tiny_tokenizer().pad_token_id, limit)
    batch = collator([asked[i] for i in range(len(asked))])
    assert batch["input_ids"].shape[1] == limit < batch["policy_input_ids"].shape[1]
    for ours, theirs in (("input_ids", "completion_mask"), ("policy_input_ids", "policy_completion_mask")):
        chosen = [ids[mask.bool()].tolist() for ids, mask in zip(batch[ours], batch[theirs], strict=True)]
        assert chosen == [*plain["chosen_ids"], *plain["rejected_ids"]]


def test_steering_that_the_trainer_lacks_is_refused(world: Path, tmp_path: Path) -> None:
    """A number without a vector ends before the training."""
    with pytest.raises(ValueError, match="steered by number 1 and `steering` has 1 entries"):
        trainer_of(
            world / "model",
            config(tmp_path),
            dataset(world, table(world, "steer")),
            steering=[Push(0, torch.zeros(WIDTH))],
        )


@pytest.mark.parametrize(
    "changes", [{"loss_type": ["apo_zero"]}, {"ld_alpha": 0.5}, {"truncation_mode": "keep_end"}], ids=str
)
@pytest.mark.parametrize("name", [*FORMS, "reft"])
def test_settings_that_would_bend_a_form_are_refused(
    world: Path, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    """As for weights and offsets."""
    with pytest.raises(ValueError, match="exact under"):
        trainer_of(world / "model", config(tmp_path, **changes), dataset(world, table(world, name)))


DISTRIBUTED = """
from tests.runtime.test_forms import *
out, world = Path({out!r}), Path({folder!r})
data = dataset(world, table(world, *ALL)).select(range(8))
args = config(out, per_device_train_batch_size={batch}, optim="sgd", learning_rate=1e-2, max_grad_norm=1e9,
              train_sampling_strategy="sequential", precompute_ref_log_probs=True)
trainer = trained(world / "model", args, data, peft={peft}, reference=ReferenceCache(out / "reference", "t"))
rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
torch.save({{n: p.detach() for n, p in trainer.model.named_parameters()}}, out / f"weights-{{rank}}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("peft", [False, True], ids=["full", "lora"])
def test_two_processes_train_as_one(world: Path, tmp_path: Path, peft: bool) -> None:
    """Under all forms, two gloo ranks with half the batch hold equal weights: those of one process with all of it."""
    script = DISTRIBUTED.replace("{peft}", str(peft))
    one = launch(world, tmp_path / "one", 1, 4, script)[0]
    two, twin = launch(world, tmp_path / "two", 2, 2, script)
    args = config(tmp_path / "start")
    start = dict(trainer_of(world / "model", args, dataset(world, table(world)), peft=peft).model.named_parameters())
    assert all(torch.equal(two[k], twin[k]) for k in two)
    step = flat(one) - flat(start)
    assert step.norm() > 1e-4
    assert (flat(one) - flat(two)).norm() < 1e-4 * step.norm()
