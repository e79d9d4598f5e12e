"""Files that definitions name: outside of what a spec may read, not there, or nothing to read to its end."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tiltc.diagnostics import Diagnostic, Label
from tiltc.parse.library import leads_out
from tiltc.parse.specfile import Definition, SpecFile
from tiltc.paths import kind, outside
from tiltc.source import Route

#: Bytes of an examples or questions file, which is read whole.
LARGEST_LIST = 256_000_000


def unreadable(file: SpecFile, definition: Definition, text: str, route: Route, missing: str) -> Iterator[Diagnostic]:
    """The finding about a file that a definition names at a route, if there is one.

    Args:
        missing: the code of a file that is not there.
    """
    path, at = definition.path(text), file.definition_at(definition.name, *route)
    if outside(path, file.roots):
        yield leads_out(at, text)
        return
    match kind(path):
        case "other":
            yield Diagnostic("T117", Label(at, f"`{text}` is a pipe or a device"))
        case "file" if (size := path.stat().st_size) > LARGEST_LIST:
            notes = (f"a list of examples or questions may have {LARGEST_LIST:,}",)
            yield Diagnostic("T102", Label(at, f"`{text}` has {size:,} bytes"), notes=notes)
        case "missing" | "folder":
            folder = os.path.dirname(definition.file) or "."  # noqa: PTH120
            notes = (f"looked for in `{folder}`, the folder of `{definition.file}`",)
            yield Diagnostic(missing, Label(at, f"no file `{text}`"), notes=notes)
        case _:
            pass
