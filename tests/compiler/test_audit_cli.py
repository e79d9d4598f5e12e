"""`tiltc audit` as a user calls it, on evidence that lies on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pyarrow.parquet as pq
import pytest
from benchmarks.synthetic_evidence import Asked, generate

from tiltc.cli import main
from tiltc.schemas import schema_text


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    generate(folder, Asked(pairs=240, features=512))
    return folder


def called(*arguments: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return main(["audit", *map(str, arguments)], out, err), out.getvalue(), err.getvalue()


def test_three_files_and_a_summary(evidence: Path, tmp_path: Path) -> None:
    """The page, the JSON and the table are written, agree with each other, and the terminal gets the first of each view."""
    code, out, err = called(evidence, "-o", tmp_path / "a", "--store", tmp_path / "store")
    assert (code, f"wrote {tmp_path / 'a' / 'audit.html'}" in err) == (0, True)
    told = json.loads((tmp_path / "a" / "audit.json").read_text("utf-8"))
    jsonschema.validate(told, json.loads(schema_text("audit")))
    table = pq.read_table(tmp_path / "a" / "hypotheses.parquet")
    assert table.column("id").to_pylist() == [h["id"] for h in told["hypotheses"]]
    assert {"delta_low", "delta_length", "delta_difference", "q", "noise", "context_title"} <= set(table.column_names)
    assert "240 of 240 pairs" in out
    assert len(out.splitlines()) <= 62


def test_an_audit_is_a_function_of_its_evidence(evidence: Path, tmp_path: Path) -> None:
    """Called twice, with and without what the first call kept, it writes the same bytes."""
    pages = []
    for name, flags in (("a", ()), ("b", ()), ("c", ("--no-cache",))):
        called(evidence, "-o", tmp_path / name, "--store", tmp_path / "store", *flags)
        pages.append([(tmp_path / name / file).read_bytes() for file in ("audit.json", "audit.html")])
    assert pages[0] == pages[1] == pages[2]


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("{}/none",), 2, "no file or folder"),
        (("{}", "--set", "train.beta=1"), 2, "changes a spec"),
        (("{}", "--labeller", "http://127.0.0.1:9/v1"), 2, "--labeller-model"),
        (("{}", "--reference", "{}/none"), 2, "no file or folder"),
        (("{}", "-o", "{}/manifest.json"), 2, "names a folder"),
        (("{}", "--against", "{}"), 1, "T520"),
        (("{}", "--labels", "{}/manifest.json"), 1, "T701"),
        (("{}/shards",), 1, "T501"),
    ],
)
def test_wrong_calls(evidence: Path, tmp_path: Path, flags: tuple[str, ...], code: int, told: str) -> None:
    """Each gets one answer and the documented exit code, and nothing is written."""
    filled = [flag.format(evidence) for flag in flags]
    # a later `-o` of the case stands
    got, out, err = called("-o", tmp_path / "a", "--store", tmp_path / "store", *filled)
    assert got == code
    assert told in out + err
    assert not (tmp_path / "a").exists()


def test_against_itself_nothing_differs(evidence: Path, tmp_path: Path) -> None:
    """An unpaired audit of responses against themselves matches every row with its own prompt and finds nothing."""
    code, _, _ = called(evidence, "--reference", evidence, "-o", tmp_path / "a", "--store", tmp_path / "store")
    told = json.loads((tmp_path / "a" / "audit.json").read_text("utf-8"))
    assert code == 0
    assert told["settings"]["design"] == "unpaired"
    assert sum(n["found"] for n in told["noise"]) == 0


def test_a_plan_of_other_data_is_refused(evidence: Path, tmp_path: Path) -> None:
    """T711: what a plan does to other rows says nothing of these."""
    from tests.compiler.fabricated import plan, rows
    from tiltc.planfile import write_plan

    write_plan(plan(), rows(), tmp_path / "plan")
    code, out, _ = called(evidence, "--against", tmp_path / "plan", "-o", tmp_path / "a", "--store", tmp_path / "store")
    assert (code, "T711" in out) == (1, True)
