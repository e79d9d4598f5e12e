"""Contrast sets as evidence: one folder a set, named by the digest of its rows."""

from __future__ import annotations

from pathlib import Path

from tiltc.canonical import canonical_json, digest
from tiltc.evidence import CONTRAST_SCHEMA, ContrastManifest, Example
from tiltc.files import write_whole
from tiltc_runtime.activations import TextReading, read_texts
from tiltc_runtime.disk import hashes, save_residuals, save_spans, save_table
from tiltc_runtime.inputs import Inputs
from tiltc_runtime.refused import refuse
from tiltc_runtime.spans import Sparse


def write_contrast(inputs: Inputs, folder: Path, examples: list[Example]) -> None:
    """Read a contrast set through model and SAE and make its folder appear.

    Raises:
        Refused: T513, T516.
        OSError: as the file system says.
    """
    texts = [(inputs.form.asked(e.prompt), e.response) for e in examples]
    reading = read_texts(inputs.loaded, inputs.sae, texts, max_length=inputs.spec.train.max_length)
    if reading.bad:
        names = ", ".join(str(i + 1) for i in reading.bad[:5])
        refuse(
            "T513", f"activations of examples {names} of contrast set {folder.name[:12]} are not finite or exceed 65504"
        )
    write_whole(folder, lambda work: _fill(work, examples, reading))


def _fill(folder: Path, examples: list[Example], reading: TextReading) -> None:
    rows = [
        {"label": e.label, "pair": e.pair, "prompt": e.prompt, "response": e.response, "tokens": int(tokens)}
        for e, tokens in zip(examples, reading.tokens, strict=True)
    ]
    save_table(folder, rows, CONTRAST_SCHEMA)
    most = reading.max
    save_spans(
        folder, "response", Sparse(most.indptr, most.indices, most.data, reading.counts.data, reading.peaks.data)
    )
    save_residuals(folder, reading.residuals)
    positives = sum(e.label for e in examples)
    manifest = ContrastManifest(rows=len(rows), positives=positives, files=hashes(folder), digest="")
    manifest = manifest.model_copy(update={"digest": digest(manifest)})
    (folder / "manifest.json").write_text(canonical_json(manifest), encoding="utf-8")
