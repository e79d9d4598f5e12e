"""Names for the groups that the data itself holds together, made as an audit names its clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from scipy import sparse

from tiltc.groups import saturate
from tiltc.plan import Discovered, Group
from tiltc.resolve.world import World, discovered_groups

if TYPE_CHECKING:
    from tiltc.parse import Definition

#: pairs whose texts are read for names
READ = 1000


class _Titles(BaseModel):
    titles: tuple[str, ...]


def named_groups(world: World, library: Mapping[str, Definition]) -> tuple[Discovered, ...]:
    """The discovered groups, each with a title and the id that a spec may name it by."""
    groups = discovered_groups(world)
    if not groups:
        return ()
    key = ["group-titles", {name: definition.concept.meaning for name, definition in library.items()}]
    found = world.derived.model(key, _Titles, lambda: _Titles(titles=_titles(world, groups, library)))
    return tuple(
        g.model_copy(update={"title": title, "audit": group_id(g.group)})
        for g, title in zip(groups, found.titles, strict=True)
    )


def group_id(group: Group) -> str:
    from tiltc.audit.assemble import cluster_id

    return cluster_id("g", np.array([m.feature for m in group.members], dtype=np.int64))


def _titles(world: World, groups: Sequence[Discovered], library: Mapping[str, Definition]) -> tuple[str, ...]:
    from tiltc.audit.describe import loudest
    from tiltc.audit.names import Vocabulary, distinctive, library_presence, make_label, nearest
    from tiltc.audit.rows import spaced

    usable = np.flatnonzero(world.pairs.usable)
    read = usable[spaced(len(usable), READ)]
    texts = [side[i] for side in (world.chosen, world.rejected) for i in read]
    activity = _activity(world, groups, np.concatenate([read, len(world.prompts) + read]))
    terms = distinctive(Vocabulary(texts), loudest(activity))
    near = nearest(activity, library_presence(library, texts, "response"))
    return tuple(make_label(said, known, (), ()).title for said, known in zip(terms, near, strict=True))


def _activity(world: World, groups: Sequence[Discovered], at: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """(texts, groups) the groups' scores in some of the responses, 0 where none of their features fires."""
    read = sparse.csc_matrix(world.responses[at])
    columns = [_score(read, g.group) for g in groups]
    return np.column_stack(columns).astype(np.float32) if columns else np.zeros((len(at), 0), np.float32)


def _score(responses: sparse.csc_matrix, group: Group) -> npt.NDArray[np.float64]:
    features = np.array([m.feature for m in group.members], dtype=np.int64)
    weight, scale = (np.array([getattr(m, key) for m in group.members]) for key in ("weight", "scale"))
    return saturate(responses, features, scale) @ weight
