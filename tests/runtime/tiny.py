"""Tiny random models, a tokenizer and an SAE, made in code: no download, a second to build.

folder = tiny_model_folder(tmp_path / "model", "llama")   # config, safetensors, tokenizer with chat template
sae = tiny_sae_folder(tmp_path / "sae", layer=1)          # SAELens format, JumpReLU, 64 features
data = tiny_data_file(tmp_path / "pairs.jsonl", pairs=12)
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

WIDTH = 32
LAYERS = 3
FEATURES = 64
FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gpt2")

WORDS = ("the", "cat", "in", "a", "winter", "garden", "over", "there", "thinks", "**bold**", "or", "not", "another")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer() -> Any:
    """A byte-level tokenizer with a few merges and a ChatML template; every text round-trips."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("Ġ", "a"), ("Ġ", "the"), ("e", "r"), ("Ċ", "Ċ"), ("*", "*")]
    words = [*symbols, *dict.fromkeys(a + b for a, b in merges)]
    backend = Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>", "additional_special_tokens": ["<|im_start|>"]}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_model(family: str = "llama", *, seed: int = 0, width: int = WIDTH, layers: int = LAYERS) -> Any:
    """A random causal LM of one of `FAMILIES` in eval mode, float32, with weights large enough to matter."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(_config(family, width, layers)).float().eval()


def tiny_model_folder(
    folder: Path, family: str = "llama", *, seed: int = 0, width: int = WIDTH, layers: int = LAYERS
) -> Path:
    """Save a tiny model and its tokenizer where `from_pretrained` finds them."""
    tiny_model(family, seed=seed, width=width, layers=layers).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_sae_folder(
    folder: Path,
    *,
    layer: int = 1,
    width: int = WIDTH,
    features: int = FEATURES,
    seed: int = 0,
    architecture: str = "jumprelu",
    hook: str | None = None,
    model_name: str = "unknown",
) -> Path:
    """Save a random SAE in SAELens format on the output of decoder layer `layer`; under half of its features fire."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    encoder = torch.randn(width, features, generator=generator) / width**0.5
    weights = {
        "W_enc": encoder,
        "W_dec": encoder.T.contiguous() / features**0.5,
        "b_enc": 0.1 * torch.randn(features, generator=generator),
        "b_dec": 0.1 * torch.randn(width, generator=generator),
    }
    if architecture == "jumprelu":
        weights["threshold"] = torch.full((features,), 0.3)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "sae_weights.safetensors")
    metadata = {"hook_name": hook or f"blocks.{layer}.hook_resid_post", "model_name": model_name}
    config = {
        "architecture": architecture, "d_in": width, "d_sae": features, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": metadata,
    }  # fmt: skip
    if architecture == "topk":
        config |= {"k": 8, "rescale_acts_by_decoder_norm": False}
    (folder / "cfg.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    return folder


def tiny_pairs(pairs: int = 12, *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows {prompt, chosen, rejected} as message lists, texts of mixed length, some prompts shared by two rows."""
    rng = random.Random(seed)
    prompts = [_words(rng, 3, 20) + "?" for _ in range(max(1, pairs * 3 // 4))]
    return [
        {
            "prompt": [{"role": "user", "content": prompts[i % len(prompts)]}],
            "chosen": [{"role": "assistant", "content": _words(rng, 2, 30)}],
            "rejected": [{"role": "assistant", "content": _words(rng, 2, 30)}],
        }
        for i in range(pairs)
    ]


def tiny_data_file(path: Path, pairs: int = 12, *, seed: int = 0) -> Path:
    """Write `tiny_pairs` as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny_pairs(pairs, seed=seed)), encoding="utf-8")
    return path


def _words(rng: random.Random, low: int, high: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def _config(family: str, width: int, layers: int) -> Any:
    import transformers

    tokenizer = tiny_tokenizer()
    vocabulary = len(tokenizer) + 8
    special = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    shape = {**special, "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": layers}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 2 * width}
    common = {**shape, **heads, "max_position_embeddings": 2048, "initializer_range": 0.3}
    match family:
        case "llama":
            return transformers.LlamaConfig(**common)
        case "qwen2":
            return transformers.Qwen2Config(**common)
        case "qwen3":
            return transformers.Qwen3Config(**common, head_dim=width // 4)
        case "gemma2":
            return transformers.Gemma2Config(**common, head_dim=width // 4, sliding_window=8, query_pre_attn_scalar=8)
        case "gpt2":
            return transformers.GPT2Config(
                vocab_size=vocabulary,
                n_embd=width,
                n_layer=layers,
                n_head=4,
                n_positions=2048,
                initializer_range=0.3,
                **special,
            )
        case _:
            raise ValueError(f"no tiny model of family {family!r}; there are {', '.join(FAMILIES)}")
