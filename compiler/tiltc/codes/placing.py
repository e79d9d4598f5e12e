"""T585-T588: places that a verb does not write to, or left unfinished. Part of the T5xx family, see `stale.py`."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.diagnostics import Severity

PLACING: tuple[Code, ...] = (
    Code(
        "T585",
        "folder of something else",
        Severity.ERROR,
        """A verb writes into a folder that is new, empty or its own. This one holds something else: a model, data, another
kind of tiltc's folders, a home folder. What lies there under the names of the new files would be lost, and `--fresh` would
remove it. Nothing was written or removed.

A run and an evidence store are known by the file `.tiltc-folder`, a plan, an audit and the caches beside a store by what they
hold. Files of yours in a plan's folder stay when the plan is compiled again; `run --fresh` refuses where there are any in
the folders that it would remove.

Example: `tiltc run plan -o .` in a folder with the base model in `model/`.

What to do: name another folder. One that an interrupted copy or a merge left unreadable can be removed by hand.""",
    ),
    Code(
        "T586",
        "output over an input",
        Severity.ERROR,
        """What would be written, or removed before, is what the verb reads, or holds it. The input would be gone, for good if
the verb then fails. Nothing was written or removed.

Example:

    error[T586]: output over an input: first/model would be written over, and first/model is read

from `tiltc run plan -o first --fresh`, where the plan trains on what the run in `first` has trained.

What to do: write to another place.""",
    ),
    Code(
        "T587",
        "file of something else",
        Severity.ERROR,
        """A file is there already, and it is not an older one of what would be written: a file of a plan, of a run or of
evidence, or one of yours. Nothing was written.

`tiltc export` replaces its own exports, which have the columns `keep`, `weight` and `margin`, and empty files.

Example: `tiltc export plan -o plan/rows.parquet`.

What to do: name another file, or move this one away first.""",
    ),
    Code(
        "T588",
        "unfinished replacement",
        Severity.ERROR,
        """The files of a plan are replaced as one set: a complete new set lies in `.tiltc-ready`, and is then moved over the older
one. Here such a set still waits, since the process that wrote it was killed. The files beside it may be of either set.

The next `tiltc compile` into the folder carries the set out before it writes. What only reads the plan (`run`, `show`,
`compile --check`, `export`) changes nothing in the folder and refuses: files in a hidden folder are not the plan that was reviewed.

Example:

    error[T588]: unfinished replacement: plan

after `tiltc compile spec.yaml -o plan` was killed as it moved its files.

What to do: compile the plan again. Where `.tiltc-ready` came with a checkout, remove it: it belongs in no repository.""",
    ),
)
