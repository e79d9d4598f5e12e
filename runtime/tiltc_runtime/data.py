"""The plan's rows applied to the pairs: which are trained, and what each of them carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datasets import Dataset

from tiltc.diagnostics import Diagnostics
from tiltc.planfile import NEUTRAL
from tiltc_runtime.instructed import instructed_ids, last_turn_start
from tiltc_runtime.record import RowCounts
from tiltc_runtime.tokens import READ, Encoded, encode_pair, row_status
from tiltc_runtime.trainer import INSTRUCTED, MASKED, OFFSET, STEERED, STEERED_FROM, WEIGHT

if TYPE_CHECKING:
    from tiltc_runtime.pairs import Pair

#: column of `rows.parquet` -> column of the trainer
COLUMNS = {"weight": WEIGHT, "margin_offset": OFFSET} | {name: name for name in (*MASKED, *STEERED)}
#: rows that a finding names
NAMED = 5


@dataclass(frozen=True)
class TrainingRows:
    """Token ids and plan columns of the pairs that are trained, in the order of the data set.

    Columns: row_id, prompt_ids, chosen_ids, rejected_ids, and of `trainer.COLUMNS` those that the plan has anything in.
    The plan's values are columns, never an array beside the rows: trainers drop and reorder rows.
    """

    dataset: Dataset
    counts: RowCounts


@dataclass(frozen=True)
class Instructions:
    """The instructions that `chosen_prompt` counts from 0, and how many tokens the model can read; None: not known."""

    prompts: Sequence[str] = ()
    context: int | None = None


NO_INSTRUCTIONS = Instructions()


@dataclass(frozen=True)
class _Fitting:
    """The pairs that are trained, their tokens, and their part of `rows.parquet`."""

    pairs: Sequence[Pair]
    encoded: Sequence[Encoded]
    rows: pa.Table


def training_rows(
    pairs: Sequence[Pair],
    rows: pa.Table,
    tokenizer: Any,
    max_length: int,
    *,
    plain: bool = False,
    instructions: Instructions = NO_INSTRUCTIONS,
) -> tuple[TrainingRows | None, Diagnostics]:
    """Apply what the plan says of every row; with `plain`, every pair as it is.

    The tokens of an instruction are not counted against `max_length`: the tokens that are trained are those that would
    be trained without it.

    Args:
        rows: `rows.parquet` of the plan, one row a pair in the same order.

    Findings: T534 when no pair is left to learn from, T536 for a mask that is longer than its response and for rows that
    harvest would not read, T543 for pairs that are longer than the model's context with their instruction.
    """
    found = Diagnostics()
    kept = [i for i, keep in enumerate(rows["keep"].to_pylist()) if keep or plain]
    encoded = [(i, encode_pair(tokenizer, pairs[i], max_length)) for i in kept]
    fitting = [(i, e) for i, e in encoded if not e.too_long]
    counts = RowCounts(pairs=len(pairs), kept=len(kept), too_long=len(kept) - len(fitting), trained=len(fitting))
    taken = rows.take(pa.array([i for i, _ in fitting], pa.int64()))
    columns: dict[str, Any] = {
        "row_id": taken["row_id"].to_pylist(),
        "prompt_ids": [list(e.prompt) for _, e in fitting],
        "chosen_ids": [list(e.responses[0]) for _, e in fitting],
        "rejected_ids": [list(e.responses[1]) for _, e in fitting],
    }
    if not plain:
        _check_statuses([(pairs[i], e) for i, e in fitting], found)
        trained = _Fitting([pairs[i] for i, _ in fitting], [e for _, e in fitting], taken)
        columns |= _plan_columns(trained, tokenizer, instructions)
        _check_masks(columns, found)
        if instructions.context is not None:
            _check_lengths(columns, max(instructions.context, max_length), found)
    if not any(columns.get(WEIGHT, [1.0] * len(fitting))):
        notes = [f"{len(pairs)} pairs, {counts.kept} kept by the plan, {counts.too_long} of them too long"]
        found.add("T534", None, f"{counts.trained} pairs are left, none with a positive weight", notes=notes)
    return (None if found.failed else TrainingRows(Dataset.from_dict(columns), counts)), found


def _plan_columns(trained: _Fitting, tokenizer: Any, instructions: Instructions) -> dict[str, list[Any]]:
    """The plan's columns, without those in which every value is the neutral one."""
    columns = {column: trained.rows[name].to_pylist() for name, column in COLUMNS.items() if _any(trained.rows, name)}
    if any(name in columns for name in STEERED):
        steered = [any(numbers) for numbers in zip(*(trained.rows[name].to_pylist() for name in STEERED), strict=True)]
        columns[STEERED_FROM] = [
            last_turn_start(tokenizer, pair) if under else 0 for pair, under in zip(trained.pairs, steered, strict=True)
        ]
    if _any(trained.rows, "chosen_prompt"):
        chosen: list[int] = trained.rows["chosen_prompt"].to_pylist()
        columns[INSTRUCTED] = [
            [] if k < 0 else list(instructed_ids(tokenizer, pair, str(instructions.prompts[k])))
            for pair, k in zip(trained.pairs, chosen, strict=True)
        ]
    return columns


def _any(rows: pa.Table, name: str) -> bool:
    return any(value != NEUTRAL[name] for value in rows[name].to_pylist())


def _check_statuses(kept: Sequence[tuple[Pair, Encoded]], found: Diagnostics) -> None:
    """A plan keeps no row that can't be used; one made of older evidence may."""
    bad = [(pair.row_id, status) for pair, e in kept if (status := row_status(pair, e)) not in READ]
    if bad:
        notes = [f"row {row}: {status}" for row, status in bad[:NAMED]]
        helps = ["harvest and compile again"]
        found.add("T536", None, f"{len(bad)} rows of the plan can't be trained on", notes=notes, helps=helps)


def _check_masks(columns: Mapping[str, list[Any]], found: Diagnostics) -> None:
    """Masks are increasing, so the last token of each is its largest."""
    for name in MASKED:
        responses = columns[name.replace("masked", "ids")]
        sides = zip(columns["row_id"], columns.get(name, ()), responses, strict=False)
        bad = [(row, masked[-1], len(ids)) for row, masked, ids in sides if masked and masked[-1] >= len(ids)]
        if bad:
            notes = [f"row {row}: token {token} of {length}" for row, token, length in bad[:NAMED]]
            found.add("T536", None, f"`{name}` of {len(bad)} rows goes beyond the response", notes=notes)


def _check_lengths(columns: Mapping[str, list[Any]], context: int, found: Diagnostics) -> None:
    rows = zip(columns["row_id"], columns.get(INSTRUCTED, ()), columns["chosen_ids"], strict=False)
    long = [(row, len(prompt) + len(ids)) for row, prompt, ids in rows if prompt and len(prompt) + len(ids) > context]
    if long:
        notes = [f"row {row}: {length} tokens" for row, length in long[:NAMED]]
        more = max(length for _, length in long) - context
        helps = [f"make `train.max_length` smaller by {more}, or the instruction shorter"]
        text = f"{len(long)} rows are longer than the model's {context} tokens with their instruction"
        found.add("T543", None, text, notes=notes, helps=helps)
