"""What clusters are called on a page: their labels, with a piece of the id where several of a kind have the same."""

from __future__ import annotations

from collections import Counter

from tiltc.audit.model import Audit


def titles(audit: Audit) -> dict[str, str]:
    """By id of every response cluster and context."""
    clusters = {c.id: c.label.title for c in (*audit.responses, *audit.contexts)}
    # an id begins with the letter of its kind
    shared = Counter((key[0], title) for key, title in clusters.items())
    return {key: f"{title} #{key[2:6]}" if shared[key[0], title] > 1 else title for key, title in clusters.items()}
