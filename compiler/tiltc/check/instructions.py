"""What a model is told in training: concepts without a way to ask for them, and controls that are none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tiltc.detectors import PatternTimeout, has_detector, shows
from tiltc.diagnostics import Diagnostics
from tiltc.spec import Keep

if TYPE_CHECKING:
    from tiltc.parse import SpecFile
    from tiltc.spec import Concept


def no_instructions(spec_file: SpecFile, found: Diagnostics) -> None:
    """T320: `inoculate` adds one of the concept's instructions to the user's turn."""
    for i, signal in enumerate(spec_file.spec.signals):
        if isinstance(signal, Keep) or signal.with_ != "inoculate":
            continue
        definition = spec_file.library[signal.concept]
        if not any(text.strip() for text in definition.concept.instructions):
            found.add(
                "T320",
                spec_file.at(("signals", i, "with")),
                f"`{signal.concept}` has no `instructions`",
                helps=["give its definition two or three: `instructions: ['Please ...', 'Your answer should ...']`"],
            )


def idle_control(spec_file: SpecFile, found: Diagnostics) -> None:
    """T329: what stands in for the instructions in the control run must say something, and something else; and be said."""
    inoculated = [s for s in spec_file.spec.signals if not isinstance(s, Keep) and s.with_ == "inoculate"]
    asking = {
        _words(text): signal.concept
        for signal in inoculated
        for text in spec_file.library[signal.concept].concept.instructions
    }
    for i, signal in enumerate(spec_file.spec.signals):
        if isinstance(signal, Keep) or signal.control is None:
            continue
        at = spec_file.at(("signals", i, "control"))
        concept = spec_file.library[signal.concept].concept
        for text in signal.control:
            if not _words(text):
                said = "says nothing"
            elif _words(text) in asking:
                said = f"is one of the instructions of `{asking[_words(text)]}`"
            elif _shows(concept, text):
                said = f"shows `{signal.concept}` itself"
            else:
                continue
            helps = ["give sentences that have nothing to do with the concept, or leave `control` out"]
            found.add("T329", at, f"`{text}` {said}", helps=helps)
        said, asked = len({_words(text) for text in signal.control}), len(concept.instructions)
        if signal in inoculated and signal.form == "forward" and 0 < asked != said:
            text = f"{said} different {'sentence' if said == 1 else 'sentences'}, `{signal.concept}` has {asked} `instructions`"
            helps = ["give one for each of the concept's `instructions`; they are matched by length"]
            found.add("T329", at, text, helps=helps)


def _shows(concept: Concept, text: str) -> bool:
    # every text has a length
    if not has_detector(concept) or concept.surface == "length":
        return False
    try:
        return shows(concept, text)
    except PatternTimeout:
        # compiling refuses the pattern, with its place
        return False


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
