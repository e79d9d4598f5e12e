"""Specs that are read by detectors alone need no SAE; everything else does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tiltc.detectors import has_detector
from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.specfile import SpecFile
from tiltc.source import Route
from tiltc.spec import NO_SAE, Keep, Signal


def without_sae(file: SpecFile) -> SpecFile:
    """The spec with `sae: none` where it names no SAE and needs none.

    Built-in models keep the built-in SAE, which was made for them.
    """
    spec = file.spec
    named = "sae" in spec.model_fields_set or not spec.signals
    if named or (isinstance(spec.model, str) and spec.model.startswith("builtin:")) or any(_needing(file)):
        return file
    return replace(file, spec=spec.model_copy(update={"sae": NO_SAE}))


def features_without_sae(file: SpecFile) -> Iterator[Diagnostic]:
    """What reads features, or the place in the model that an SAE names, in a spec that says `sae: none`."""
    if file.spec.sae != NO_SAE:
        return
    for route, text, name in _needing(file):
        known = name in file.library and has_detector(file.library[name].concept)
        detects = ("say `readout: detector`",) if known and route[-1] in ("readout", *_VERBS) else ()
        yield Diagnostic("T169", Label(file.at(route), text), helps=(*detects, "name an SAE of the model: `sae: ...`"))


_VERBS = ("suppress", "keep", "amplify")


def _needing(file: SpecFile) -> Iterator[tuple[Route, str, str]]:
    """(place, what needs an SAE there, concept)."""
    for i, signal in enumerate(file.spec.signals):
        name = signal.concept
        readout = _readout(file, name)
        if readout != "detector":
            route = ("signals", i, "readout" if signal.readout is not None else signal.verb)
            by = "features of an SAE" if readout == "sae" else f"`{readout}`, where an SAE reads the model"
            yield route, f"`{name}` is read by {by}", name
        elif (kind := _kind(file, name)) is not None:
            yield ("signals", i, "readout"), f"`{name}` is defined by `{kind}`, which no detector finds", name
        if not isinstance(signal, Keep) and signal.with_ == "steer":
            yield ("signals", i, "with"), "the model is steered where an SAE reads it", name
        if signal.when in file.library and file.library[signal.when].concept.audit is not None:
            yield ("signals", i, "when"), f"`{signal.when}` is a cluster of features", signal.when
        yield from _apart(file, i, signal)


def _apart(file: SpecFile, i: int, signal: Signal) -> Iterator[tuple[Route, str, str]]:
    for name in file.apart(signal):
        if (kind := _kind(file, name)) is not None and getattr(signal, "apart_from", None) != "siblings":
            yield ("signals", i, "apart_from"), f"`{name}` is defined by `{kind}`, which no detector finds", name


def _readout(file: SpecFile, name: str) -> str:
    """What a concept is read by in the whole spec: as one of its signals asks, and a length by counting."""
    asked = next((s.readout for s in file.spec.signals if s.concept == name and s.readout), None)
    if name in file.library and file.library[name].concept.surface == "length" and asked in (None, "sae"):
        return "detector"
    return asked or "sae"


def _kind(file: SpecFile, name: str) -> str | None:
    """How a concept without a detector is defined."""
    concept = file.library[name].concept if name in file.library else None
    return None if concept is None or has_detector(concept) else concept.kind
