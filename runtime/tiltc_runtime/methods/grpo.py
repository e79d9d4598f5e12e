"""GRPO on the prompts of the kept rows, with the plan's reward terms read off the sampled responses.

reward = base - sum over the plan's `reward` actions of strength * score, with the concept's standardised score read by the
frozen start model and the SAE; where a signal's gate is closed, its term is 0. An offset of DPO, strength * gap, moves the
policy as far as taking strength * score off the reward does under a KL term of weight beta: the pairs' offsets say the
same thing of responses that are not sampled here, and are not used. For the same reason a reward is not divided by its
group's sd. `base` is the score of a reward model (`train.grpo.reward`), or 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from scipy.sparse import csc_matrix
from transformers import AutoConfig, AutoModelForSequenceClassification
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from tiltc import detectors
from tiltc.plan import Action, Plan, PlanConcept
from tiltc.readout import concept_scores
from tiltc_runtime.activations import TextReading, read_prompt_features, read_texts
from tiltc_runtime.admit import check_sae
from tiltc_runtime.asked import CONVERSATIONS, Form, Prompt, asked_ids, encode_asked
from tiltc_runtime.loading import LoadedModel, load_model, load_tokenizer
from tiltc_runtime.methods.shared import adapter_of, start_policy
from tiltc_runtime.pairs import Pair, Text
from tiltc_runtime.portable import base_folder
from tiltc_runtime.pretrained import pretrained, pretrained_model
from tiltc_runtime.refused import Refused
from tiltc_runtime.sae import Sae, load_sae
from tiltc_runtime.scoring import gates_read_features, open_gates

if TYPE_CHECKING:
    from pathlib import Path

    from tiltc_runtime.train import Job

#: column: one bool a term, is its gate open on this prompt?
OPEN = "gates_open"

Reward = Callable[..., list[float | None]]


@dataclass(frozen=True)
class Term:
    """One signal's part of the reward: -strength * score of a concept, on prompts that express the gate.

    The score is the sum of coefficient times readout over `parts`: one, or those of what a signal tells its concept apart from
    beside it.
    """

    action: Action
    parts: tuple[tuple[PlanConcept, float], ...]
    gate: str | None


def terms_of(plan: Plan) -> tuple[Term, ...]:
    """The plan's reward actions with what reads them; keeps that compensate are among them."""
    concepts = {concept.name: concept for concept in plan.concepts if concept.role != "gate"}
    rows = {f"{row.verb}: {row.label}": row for row in plan.forecast if row.verb}

    def term(action: Action) -> Term:
        row = rows.get(action.signal)
        others = row.apart.coefficients if row is not None and row.apart is not None else {}
        parts = ((concepts[action.concept], 1.0), *((concepts[name], -b) for name, b in others.items()))
        return Term(action, parts, row.when if row is not None else None)

    return tuple(term(action) for action in plan.actions if action.mechanism == "reward")


@dataclass
class Readings:
    """Reads the responses of a batch once, however many terms ask."""

    model: LoadedModel
    sae: Sae
    max_length: int
    #: how the rows' prompts reach the model
    form: Form = CONVERSATIONS
    #: vectors that concepts are read by, by their key in the plan
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict[str, "np.ndarray"])
    _key: tuple[Any, ...] = ()
    _read: TextReading | None = None

    def of(self, prompts: Sequence[Text], texts: Sequence[str]) -> TextReading:
        """What the frozen model shows of the responses."""
        key = (repr(prompts), tuple(texts))
        if key != self._key or self._read is None:
            with torch.no_grad():
                conversations = [(self.form.asked(p), text) for p, text in zip(prompts, texts, strict=True)]
                reading = read_texts(
                    self.model, self.sae, conversations, max_length=self.max_length, vectors=self.vectors
                )
            self._key, self._read = key, reading
        return self._read


def feature_reward(term: Term, index: int, readings: Readings) -> Reward:
    """A reward function for TRL. A pattern that runs away on a response gives no reward to its batch."""

    def reward(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        asked, texts = [_text(prompt) for prompt in prompts], [_answer(c) for c in completions]
        try:
            reading = readings.of(asked, texts)
            features = csc_matrix(reading.max)
            each = [b * concept_scores(c, texts, features, reading.projections) for c, b in term.parts]
        except detectors.PatternTimeout:
            return [None] * len(texts)
        is_open = np.array([row[index] for row in columns[OPEN]], dtype=bool)
        # 0 - x, so that no score gives a reward of 0 and not of -0
        return (0.0 - term.action.strength * np.where(is_open, np.sum(each, axis=0), 0.0)).tolist()

    reward.__name__ = term.action.signal
    return reward


def base_reward(folder: Path, tokenizer: Any, form: Form, max_length: int) -> Reward:
    """The score of a reward model on tokens as it was trained on: prompt and response in the tokenizer's template."""
    device = PartialState().device
    model = load_reward_model(folder).to(device)
    pad = tokenizer.pad_token_id or tokenizer.eos_token_id or 0
    model.config.get_text_config().pad_token_id = pad

    def reward(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        encoded = [
            encode_asked(tokenizer, form.asked(_text(p)), _answer(c), max_length)
            for p, c in zip(prompts, completions, strict=True)
        ]
        rows = [torch.tensor([*e.prompt, *(e.responses[0] if e.responses else ())]) for e in encoded]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad).to(device)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(device)
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()

    reward.__name__ = "base"
    return reward


def load_reward_model(folder: Path) -> Any:
    """A reward model in eval mode, whole or as an adapter on the model that it names."""
    if not (folder / "adapter_config.json").is_file():
        whole = pretrained_model(AutoModelForSequenceClassification, folder, num_labels=1)
        return whole.eval().requires_grad_(False)
    from peft import PeftModel

    place = base_folder(folder)
    config = pretrained(AutoConfig, place, num_labels=1)
    base: Any = pretrained_model(AutoModelForSequenceClassification, place, config=config)
    adapted: Any = PeftModel.from_pretrained(base, str(folder))
    return adapted.merge_and_unload().eval().requires_grad_(False)


def grpo_rows(pairs: Sequence[Pair], gates: np.ndarray) -> Dataset:
    """Prompts, one a pair, with the terms' gates (pairs, terms). Prompts that several pairs share come as often."""
    prompts = [pair.prompt if isinstance(pair.prompt, str) else list(pair.prompt) for pair in pairs]
    return Dataset.from_dict({"prompt": prompts, OPEN: gates.tolist()})


class TiltedGRPOTrainer(GRPOTrainer):
    """TRL's GRPOTrainer, without a word to anybody, on prompts as other methods read them.

    Args:
        form: how the rows' prompts reach the model.
    """

    def __init__(self, *args: Any, form: Form = CONVERSATIONS, **kwargs: Any) -> None:
        self._form = form
        super().__init__(*args, **kwargs)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        asked = (self._form.asked(_text(prompt)) for prompt in prompts)
        return [list(asked_ids(self.processing_class, prompt)) for prompt in asked], None, {}

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No card: the run's record says what was trained, and from what."""

    def _send_telemetry(self) -> None:
        """A run reports to nobody."""


def make(job: Job, arguments: dict[str, Any]) -> TiltedGRPOTrainer:
    """The trainer of a job."""
    terms = () if job.mode == "plain" else terms_of(job.admitted.plan)
    pairs = _trained_pairs(job)
    form = Form.of(job.admitted.pairs)
    gates = np.ones((len(pairs), len(terms)), dtype=bool)
    rewards: list[Any] = []
    if job.admitted.reward is not None:
        tokenizer, length = load_tokenizer(job.admitted.reward), job.admitted.plan.train.max_length
        rewards.append(base_reward(job.admitted.reward, tokenizer, form, length))
    if terms:
        readings = _readings(job, form)
        gates = _gates(job.admitted.plan, terms, pairs, readings)
        rewards += [feature_reward(term, i, readings) for i, term in enumerate(terms)]
    model = start_policy(job)
    return TiltedGRPOTrainer(
        model=model,
        args=GRPOConfig(**arguments),
        reward_funcs=rewards,
        train_dataset=grpo_rows(pairs, gates),
        processing_class=job.admitted.tokenizer,
        peft_config=adapter_of(job, model),
        form=form,
    )


def _trained_pairs(job: Job) -> list[Pair]:
    by_id = {pair.row_id: pair for pair in job.admitted.pairs}
    return [by_id[row] for row in job.rows.dataset["row_id"]]


def _readings(job: Job, form: Form) -> Readings:
    """The frozen start model up to the SAE's layer: another copy than the one that is trained."""
    plan, device = job.admitted.plan, str(PartialState().device)
    sae = load_sae(plan.sae, folder=job.root, device=device, model=job.admitted.model_folder)
    found = check_sae(plan, sae.pin)
    if found.failed:
        raise Refused(found)
    model = load_model(plan.model, layers=sae.hook.layers, device=device, folder=job.root)
    projections = (c.projection.key for c in plan.concepts if c.projection is not None)
    vectors = {key: job.admitted.loaded.tools[key] for key in projections}
    return Readings(model, sae, plan.pins.max_length, form, vectors)


def _gates(plan: Plan, terms: Sequence[Term], pairs: Sequence[Pair], readings: Readings) -> np.ndarray:
    texts = [readings.form.asked(pair.prompt) for pair in pairs]
    read = None
    if gates_read_features(plan):
        features = read_prompt_features(readings.model, readings.sae, texts, max_length=readings.max_length)
        read = csc_matrix(features)
    is_open = open_gates(plan, [Prompt.of(pair.prompt) for pair in pairs], read)
    columns = [np.ones(len(pairs), dtype=bool) if t.gate is None else is_open[t.gate] for t in terms]
    return np.stack(columns, axis=1)


def _text(prompt: Any) -> Text:
    return prompt if isinstance(prompt, str) else tuple(prompt)


def _answer(completion: Any) -> str:
    """TRL gives text for text prompts, and one message for conversations."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])
