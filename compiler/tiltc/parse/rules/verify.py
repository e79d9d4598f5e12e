"""What `verify:` asks with must be there before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.specfile import SpecFile
from tiltc.parse.suggest import did_you_mean
from tiltc.paths import found_at, kind, leads_outside
from tiltc.questions import BUILTIN_QUESTIONS, is_builtin


def missing_prompts(file: SpecFile) -> Iterator[Diagnostic]:
    """`verify.prompts` names no builtin set, or a file that is not there. Of what is outside of the repository nothing is told."""
    text, at = file.spec.verify.prompts, ("verify", "prompts")
    if is_builtin(text):
        if text not in BUILTIN_QUESTIONS:
            helps = tuple(did_you_mean(text, BUILTIN_QUESTIONS)) or (f"there is {', '.join(BUILTIN_QUESTIONS)}",)
            yield Diagnostic("T651", Label(file.at(at), f"there is no `{text}`"), helps=helps)
    elif leads_outside(text, file.folder, file.roots):
        return
    elif kind(found_at(text, file.folder)) == "missing":
        notes = (f"looked for in `{file.folder}`, the folder of the spec, and in the working directory",)
        yield Diagnostic("T651", Label(file.at(at), f"no file `{text}`"), notes=notes)
    elif kind(found_at(text, file.folder)) == "other":
        yield Diagnostic("T117", Label(file.at(at), f"`{text}` is a pipe or a device"))
