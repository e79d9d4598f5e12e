"""How close harvest comes to its physical limit, the truncated forward pass, and how far it is from the naive way.

    python -m benchmarks.harvest --pairs 64 --repeats 3

Three ways over the same pairs of the built-in model, interleaved, the median of the repeats:

    bare     each prompt and response once through the layers up to the SAE's, sorted by length, and nothing else
    harvest  what `tiltc harvest` does per shard, files included
    naive    both whole sequences through all layers and the head, in the data's order; dense SAE output is kept

`harvest_share` compares tokens of prompts and responses read per second with `bare`. Harvest puts fewer of them through
the model, since it computes what all prompts begin with once: `harvest_share_computed` counts only those. `times_naive`
compares pairs per second. The figures of harvest and naive are compared too (`largest_difference`).
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tiltc.canonical import canonical_json
from tiltc.plan import SaePin
from tiltc_runtime import embedded
from tiltc_runtime.activations import Reader
from tiltc_runtime.disk import save_residuals, save_spans
from tiltc_runtime.loading import LoadedModel, load_model
from tiltc_runtime.pairs import load_pairs
from tiltc_runtime.passes import Ids, Trunk, batches
from tiltc_runtime.sae import Hook, Sae, SaeConfig, load_sae
from tiltc_runtime.tokens import encode_pair, row_status

MODEL = "builtin:smollm2-135m-instruct"
Items = list[tuple[Ids, tuple[Ids, ...]]]


@dataclass
class World:
    """The model cut at the SAE's layer, the whole model, the SAE and the pairs as token ids."""

    cut: LoadedModel
    whole: LoadedModel
    sae: Sae
    items: Items

    @property
    def read_tokens(self) -> int:
        """Tokens of prompts and responses, each prompt once."""
        prompts = {prompt for prompt, _ in self.items}
        return sum(map(len, prompts)) + sum(len(r) for _, responses in self.items for r in responses)

    @property
    def computed_tokens(self) -> int:
        """Of these, what harvest puts through the model: what all prompts begin with once."""
        prompts = list(dict.fromkeys(prompt for prompt, _ in self.items))
        return self.read_tokens - (len(prompts) - 1) * len(Trunk(self.cut, self.sae.hook).beginning(prompts).ids)


def bare(world: World) -> int:
    """The limit where nothing is shared: the tokens that harvest reads, as prompts and responses of their own."""
    trunk = Trunk(world.cut, world.sae.hook)
    texts = [*dict.fromkeys(p for p, _ in world.items), *(r for _, rs in world.items for r in rs)]
    for chunk in batches([len(t) for t in texts], trunk.budget):
        trunk.sequences([texts[i] for i in chunk])
    return sum(map(len, texts))


def harvested(world: World) -> Any:
    """One shard: read, and written to a temporary folder."""
    reading = Reader(world.cut, world.sae).read(world.items)
    with tempfile.TemporaryDirectory() as folder:
        save_spans(Path(folder), "prompt", reading.prompts)
        save_spans(Path(folder), "response", reading.responses)
        save_residuals(Path(folder), reading.residuals)
    return reading


@torch.inference_mode()
def naive(world: World) -> np.ndarray:
    """(responses, F) max activations, from dense activations of every token that are all kept."""
    kept: list[tuple[int, torch.Tensor]] = []
    for prompt, responses in world.items:
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(prompt + r) for r in responses], batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(prompt + r)) for r in responses], batch_first=True)
        made = world.whole.model(ids, attention_mask=mask, output_hidden_states=True)
        x = made.hidden_states[world.sae.hook.layer + 1]
        acts = world.sae.encode(x)
        kept.extend((len(prompt), acts[i, : len(prompt + r)].clone()) for i, r in enumerate(responses))
    return np.stack([acts[start:].amax(0).numpy() for start, acts in kept])


def timed(call: Callable[[World], Any], world: World) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call(world)
    return time.perf_counter() - began, result


def make_world(data: str, pairs: int, max_length: int) -> World:
    sae = (
        load_sae("builtin:smollm2-135m-instruct-l15")
        if embedded.asset("builtin:sae-smollm2-135m-instruct-l15")
        else random_sae()
    )
    cut = load_model(MODEL, layers=sae.hook.layers, device="cpu")
    rows = load_pairs(data).pairs
    encoded = [(p, encode_pair(cut.tokenizer, p, max_length)) for p in rows[: 2 * pairs]]
    items = [(e.prompt, e.responses) for p, e in encoded if row_status(p, e) == "ok"][:pairs]
    return World(cut, load_model(MODEL, device="cpu"), sae, items)


def random_sae(width: int = 576, features: int = 4096) -> Sae:
    """Stands in for the shipped SAE where it is not there: costs the same, means nothing."""
    generator = torch.Generator().manual_seed(0)
    encoder = torch.randn(width, features, generator=generator) / width**0.5
    tensors = {"W_enc": encoder, "W_dec": encoder.T.contiguous(), "b_enc": torch.zeros(features)}
    tensors |= {"b_dec": torch.zeros(width), "threshold": torch.full((features,), 2.5)}
    config = SaeConfig(architecture="jumprelu", d_in=width, d_sae=features)
    hook = Hook("blocks.15.hook_resid_pre", 14)
    return Sae(SaePin(name="random", digest="", hook=hook.name, width=width, features=features), config, hook, tensors)


def measure(world: World, repeats: int) -> dict[str, Any]:
    ways: dict[str, Callable[[World], Any]] = {"bare": bare, "harvest": harvested, "naive": naive}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(repeats):
        for name, call in ways.items():
            took, results[name] = timed(call, world)
            seconds[name].append(took)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    responses = results["harvest"].responses
    dense = responses.matrix(responses.max, world.sae.config.d_sae).toarray()
    return {
        "pairs": len(world.items),
        "tokens_read": world.read_tokens,
        "tokens_computed": world.computed_tokens,
        "sae": world.sae.pin.name,
        "seconds": seconds,
        "tokens_per_second": {n: round(world.read_tokens / median[n], 1) for n in ("bare", "harvest")},
        "pairs_per_second": {n: round(len(world.items) / median[n], 3) for n in ("harvest", "naive")},
        "harvest_share": round(median["bare"] / median["harvest"], 3),
        "harvest_share_computed": round(
            median["bare"] / median["harvest"] * world.computed_tokens / world.read_tokens, 3
        ),
        "times_naive": round(median["naive"] / median["harvest"], 3),
        "largest_difference": float(np.abs(dense - results["naive"]).max()),
        "largest_activation": float(results["naive"].max()),
    }


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--data", default="builtin:planted", help="preference data (default: %(default)s)")
    flags.add_argument("--pairs", type=int, default=64)
    flags.add_argument("--repeats", type=int, default=3)
    flags.add_argument("--max-length", type=int, default=1024)
    args = flags.parse_args()
    print(canonical_json(measure(make_world(args.data, args.pairs, args.max_length), args.repeats)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
