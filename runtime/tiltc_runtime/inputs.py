"""What a harvest reads, with what it reads it, and the name that follows from both."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tiltc.canonical import canonical_json, sha256_text
from tiltc.diagnostics import Diagnostics, Span
from tiltc.evidence import Example, Manifest, evidence_request, examples_digest, read_examples
from tiltc.evidence.examples import examples_file
from tiltc.evidence.find import manifests
from tiltc.parse import SpecFile
from tiltc.plan import DataPin, ModelPin
from tiltc.spec import NO_SAE, Spec
from tiltc_runtime.asked import Form, check_form
from tiltc_runtime.loading import (
    LoadedModel,
    embedding_rows,
    load_model,
    load_tokenizer,
    model_folder,
    model_pin,
    settings_key,
    template_digest,
    tokenizer_digest,
)
from tiltc_runtime.pairs import Pair, Pairs, load_pairs
from tiltc_runtime.prompts import read_prompts
from tiltc_runtime.refused import Refused, refuse
from tiltc_runtime.sae import Sae, check_fits, load_sae
from tiltc_runtime.sae_settings import check_settings
from tiltc_runtime.templates import TODAY, asks_for_the_date
from tiltc_runtime.tokens import READ, Encoded, Ids, encode_pair, row_status
from tiltc_runtime.vocabulary import beyond, check_ids

#: pairs in a shard; batches never reach across shards
SHARD = 256


@dataclass(frozen=True)
class Inputs:
    """What is harvested, with what. The model's weights are loaded only when something is missing."""

    spec: Spec
    folder: Path
    data: Pairs
    sae: Sae
    model: ModelPin
    tokenizer: Any
    contrasts: dict[str, list[Example]]
    device: str
    dtype: str

    @classmethod
    def read(cls, spec_file: SpecFile, device: str, dtype: str | None) -> Inputs:
        """Read everything that is cheap to read. Raises Refused, with findings at their places in the spec."""
        spec, folder = spec_file.spec, spec_file.folder
        contrasts = {} if spec.sae == NO_SAE else contrast_sets(spec_file)
        with placed(spec_file.at(("data",))):
            data = load_pairs(spec.data, folder)
        with placed(spec_file.at(("model",))):
            place = model_folder(spec.model, folder)
            pin, tokenizer = model_pin(spec.model, place), load_tokenizer(place)
        with placed(spec_file.at(("sae",))):
            sae = load_sae(spec.sae, device=device, folder=folder, model=place)
            # the name of a local folder says nothing about what is in it
            if misfits := check_fits(sae, pin, not isinstance(spec.model, str) or spec.model.startswith("builtin:")):
                raise Refused(misfits)
        dtype = dtype or ("bfloat16" if device.startswith("cuda") else "float32")
        return cls(spec, folder, data, sae, pin, tokenizer, contrasts, device, dtype)

    @cached_property
    def form(self) -> Form:
        """How the rows' prompts reach the model, and so how contrasts are asked."""
        return Form.of(self.data.pairs)

    @cached_property
    def request(self) -> dict[str, str | int | None]:
        return evidence_request(self.spec)

    @cached_property
    def key(self) -> str:
        """Two harvests with the same key would write the same bytes (on the same machine)."""
        return self._key(self.data.pin)

    def place(self, store: Path) -> Path:
        """The evidence folder of these inputs: one of the same rows, if the data file was only written anew."""
        place = store / self.key
        if self.data.pin.file_sha256 is None or place.exists():
            return place
        there = (
            path
            for path, m in manifests(store)
            if m.data.digest == self.data.pin.digest and self._key(m.data) == path.name
        )
        return next(there, place)

    def _key(self, data: DataPin) -> str:
        names = {k: v for k, v in self.request.items() if k != "data" or data.file_sha256 is None}
        parts = [self.model, self.sae.pin, data.model_copy(update={"name": ""})]
        pins = [part.model_dump(mode="json") for part in parts]
        rest: list[Any] = [self.template, self.vocabulary, self.spec.train.max_length, self.dtype, SHARD]
        if self.form.matters(self.tokenizer):
            # contrast sets are read as the rows are
            rest.append(self.form.model_dump(mode="json", include={"text", "begins", "ends", "arguments"}))
        return sha256_text(canonical_json([Manifest.model_fields["format"].default, names, pins, rest]))[:20]

    @cached_property
    def template(self) -> str:
        return template_digest(self.tokenizer)

    @cached_property
    def settings(self) -> str:
        """sha256 of what beside the weights decides what the model answers."""
        return settings_key(model_folder(self.spec.model, self.folder), self.tokenizer)

    @cached_property
    def vocabulary(self) -> str:
        return tokenizer_digest(self.tokenizer)

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        return [encode_pair(self.tokenizer, pair, self.spec.train.max_length) for pair in pairs]

    def differing(self, spec_file: SpecFile) -> Diagnostics:
        """T572, at the spec's `sae`, for what the SAE was trained on and is not read on here."""
        token, found = self.tokenizer.bos_token_id, Diagnostics()
        first = next(iter(self.encode(self.data.pairs[:1])), None)
        begins = None if token is None or first is None else (first.prompt or first.responses[0])[:1] == (token,)
        said = check_settings(self.sae.pin.name, self.sae.config.training, centred=self.sae.centred, begins=begins)
        for d in said:
            found.add(d.code, spec_file.at(("sae",)), d.primary.text, notes=d.notes)
        return found

    @property
    def lines(self) -> list[str]:
        """What was decided about prompts and templates without being asked."""
        day = f"the chat template asks for the date and is told {TODAY:%d %b %Y}"
        return [line for line in (self.form.line, day if asks_for_the_date(self.tokenizer) else "") if line]

    def asked_otherwise(self, spec_file: SpecFile) -> Diagnostics:
        """At the spec's `verify.prompts`: T651 where they can't be read, T566 where not asked as the rows will be trained."""
        prompts, found = read_prompts(self.spec.verify.prompts, self.folder)
        if prompts is None:
            return at_place(found, spec_file.at(("verify", "prompts")))
        return check_form(self.form, prompts, spec_file.at(("verify", "prompts")))

    def check_tokens(self) -> None:
        """Raises Refused (T565) where rows have tokens that the model's embedding has no row for."""
        rows = embedding_rows(model_folder(self.spec.model, self.folder))
        if rows is not None and beyond(self.tokenizer, rows):
            pairs = self.data.pairs
            encoded = zip(pairs, self.encode(pairs), strict=True)
            texts = ((f"row {pair.row_id}", sum(e.responses, e.prompt)) for pair, e in encoded)
            check_ids(self.tokenizer, texts, rows, self.model.name)

    @cached_property
    def shards(self) -> dict[str, list[Pair]]:
        """The pairs of every shard by its name."""
        pairs = self.data.pairs
        return {f"{at // SHARD:05d}": pairs[at : at + SHARD] for at in range(0, len(pairs), SHARD)}

    def first_row(self, shard: str) -> int:
        """The number of a shard's first pair, counted from 1."""
        return int(shard) * SHARD + 1

    def usable(self, pairs: Sequence[Pair]) -> list[tuple[Ids, tuple[Ids, ...]]]:
        """(prompt, responses) of the pairs that are read through the model."""
        encoded = self.encode(pairs)
        return [(e.prompt, e.responses) for p, e in zip(pairs, encoded, strict=True) if row_status(p, e) in READ]

    @cached_property
    def loaded(self) -> LoadedModel:
        model, layers = self.spec.model, self.sae.hook.layers
        return self._same(load_model(model, dtype=self.dtype, layers=layers, device=self.device, folder=self.folder))

    def load_whole(self) -> LoadedModel:
        """The model with all layers and its head; the part of it that was loaded before makes room."""
        vars(self).pop("loaded", None)
        return self._same(load_model(self.spec.model, dtype=self.dtype, device=self.device, folder=self.folder))

    def _same(self, loaded: LoadedModel) -> LoadedModel:
        """What is written is named after the model as it was when the harvest began. Raises Refused (T507)."""
        if (loaded.pin, loaded.settings) != (self.model, self.settings):
            refuse("T507", f"{self.model.name} changed while it was harvested with", helps=("harvest again",))
        return loaded


def contrast_sets(spec_file: SpecFile) -> dict[str, list[Example]]:
    """The examples of every contrast set within reach of the spec, and of all that ship with tiltc, by digest.

    Raises:
        Refused: T519, with all findings of all files.
    """
    found = Diagnostics()
    sets: dict[str, list[Example]] = {}
    names = {**spec_file.reached(), **{n: d for n, d in spec_file.library.items() if not d.own}}
    for name, definition in sorted(names.items()):
        if definition.concept.kind == "examples":
            examples, said = read_examples(examples_file(definition), spec_file.definition_at(name, "examples"))
            found.extend(said)
            if examples is not None:
                sets[examples_digest(examples)] = examples
    if found.failed:
        raise Refused(found)
    return sets


@contextmanager
def placed(span: Span | None) -> Generator[None, None, None]:
    """Findings that have no place of their own get this one."""
    try:
        yield
    except Refused as refused:
        raise Refused(at_place(refused.diagnostics, span)) from None


def at_place(found: Diagnostics, span: Span | None) -> Diagnostics:
    """Findings with a place for those that have none of their own."""
    placed = Diagnostics()
    for d in found:
        placed.add(d.code, d.primary.span or span, d.primary.text, labels=d.labels, notes=d.notes, helps=d.helps)
    return placed
