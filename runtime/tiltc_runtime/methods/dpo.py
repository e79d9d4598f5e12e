"""DPO: weight and margin offset of a pair, see `trainer.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trl.trainer.dpo_config import DPOConfig

from tiltc.canonical import canonical_json, sha256_text
from tiltc.evidence import settings_digests
from tiltc_runtime.methods.shared import adapter_of, start_policy
from tiltc_runtime.progress import ReferenceProgress
from tiltc_runtime.reference import ReferenceCache
from tiltc_runtime.steering import pushes
from tiltc_runtime.trainer import TiltCollator, TiltedDPOTrainer

if TYPE_CHECKING:
    from tiltc_runtime.train import Job


def make(job: Job, arguments: dict[str, Any]) -> TiltedDPOTrainer:
    """The trainer of a job, with reference log-probabilities in place."""
    plan, tokenizer = job.admitted.plan, job.admitted.tokenizer
    config = DPOConfig(**arguments)
    model = start_policy(job)
    settings = canonical_json(settings_digests(job.admitted.model_folder))
    key = sha256_text(f"{plan.pins.model.digest} {plan.train.precision} {settings}")
    return TiltedDPOTrainer(
        model=model,
        args=config,
        train_dataset=job.rows.dataset,
        processing_class=tokenizer,
        data_collator=TiltCollator(tokenizer.pad_token_id, plan.train.max_length),
        peft_config=adapter_of(job, model),
        reference=ReferenceCache(job.reference, key, ReferenceProgress(job.say)),
        steering=() if job.mode == "plain" else pushes(plan.steering, job.admitted.loaded.tools),
    )
