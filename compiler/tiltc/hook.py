"""Names of places on the residual stream."""

from __future__ import annotations

import re


def hook_layer(hook: str) -> int:
    """The decoder layer whose output a hook reads, from 0; -1 for what enters layer 0.

    Raises:
        ValueError: the hook is not on the residual stream.
    """
    lens = re.fullmatch(r"blocks\.(\d+)\.hook_resid_(pre|post)", hook)
    plain = re.fullmatch(r"(?:model\.|language_model\.|transformer\.)*(?:layers|h)\.(\d+)", hook)
    if lens:
        return int(lens[1]) - (lens[2] == "pre")
    if plain:
        return int(plain[1])
    raise ValueError(f"`{hook}` is not on the residual stream")
