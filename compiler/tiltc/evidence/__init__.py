"""Evidence: what one pass of the frozen model over the data saw. `layout.py` says how it lies on disk."""

from __future__ import annotations

from tiltc.evidence.attention import AttentionProbe, LabelledText, ProbePin, ProbeRecipe, read_probe
from tiltc.evidence.examples import Example, contrast_digest, examples_digest, read_examples
from tiltc.evidence.find import answers, evidence_request, find_evidence, local_path
from tiltc.evidence.hashed import file_sha256
from tiltc.evidence.layout import (
    CONTRAST_SCHEMA,
    LIKELIHOOD_SCHEMA,
    ROW_SCHEMA,
    SPANS,
    ContrastManifest,
    LikelihoodManifest,
    Manifest,
    Reconstruction,
    ShardPin,
)
from tiltc.evidence.likelihood import CLEAN, Adapted, Instructed, Request, Steered, prompt_key, steer_key
from tiltc.evidence.open import open_evidence
from tiltc.evidence.read import ContrastSet, Evidence, Shard
from tiltc.evidence.reft import Adapter, AdapterPin, AdapterRecipe, read_adapter
from tiltc.evidence.sampled import Answer, Recipe, SampledManifest, recipe_of
from tiltc.evidence.settings import json_digest, settings_digests, settings_notes
from tiltc.evidence.token_scores import SIDES, AttentionTool, TokenPin, TokenScores, TokenTool, Tool, token_scores
from tiltc.evidence.weights import Unsealed, adapted_digest, weights_digest

__all__ = [
    "CLEAN",
    "CONTRAST_SCHEMA",
    "LIKELIHOOD_SCHEMA",
    "ROW_SCHEMA",
    "SIDES",
    "SPANS",
    "Adapted",
    "Adapter",
    "AdapterPin",
    "AdapterRecipe",
    "Answer",
    "AttentionProbe",
    "AttentionTool",
    "ContrastManifest",
    "ContrastSet",
    "Evidence",
    "Example",
    "Instructed",
    "LabelledText",
    "LikelihoodManifest",
    "Manifest",
    "ProbePin",
    "ProbeRecipe",
    "Recipe",
    "Reconstruction",
    "Request",
    "SampledManifest",
    "Shard",
    "ShardPin",
    "Steered",
    "TokenPin",
    "TokenScores",
    "TokenTool",
    "Tool",
    "Unsealed",
    "adapted_digest",
    "answers",
    "contrast_digest",
    "evidence_request",
    "examples_digest",
    "file_sha256",
    "find_evidence",
    "json_digest",
    "local_path",
    "open_evidence",
    "prompt_key",
    "read_adapter",
    "read_examples",
    "read_probe",
    "recipe_of",
    "settings_digests",
    "settings_notes",
    "steer_key",
    "token_scores",
    "weights_digest",
]
