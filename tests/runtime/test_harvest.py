"""Harvesting: what is written, that it is written whole, and that nothing is lost or done twice."""

from __future__ import annotations

import errno
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.kill_resume_harvest import contents, make_world, only_own, trial, undisturbed

from tests.runtime.tiny import tiny_data_file, tiny_pairs, tiny_sae_folder
from tiltc.canonical import canonical_json, sha256_text
from tiltc.cli import main
from tiltc.diagnostics import Diagnostics
from tiltc.evidence import Manifest, answers, contrast_digest, find_evidence, open_evidence
from tiltc.parse import SpecFile, parse
from tiltc_runtime import disk, inputs
from tiltc_runtime.harvest import harvest
from tiltc_runtime.loading import load_model
from tiltc_runtime.locking import lock
from tiltc_runtime.sae import load_sae

PAIRS = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_world(folder, PAIRS)
    return folder


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(inputs, "SHARD", 16)
    yield
    torch.set_num_threads(threads)


def spec(world: Path, *overrides: str) -> SpecFile:
    spec_file, found = parse(str(world / "spec.yaml"), overrides)
    assert spec_file is not None, list(found)
    return only_own(spec_file)


def done(world: Path, store: Path, *overrides: str, err: io.StringIO | None = None) -> Path:
    folder, found = harvest(spec(world, *overrides), store, device="cpu", err=err)
    assert folder is not None, list(found)
    return folder


def codes(found: Diagnostics) -> list[str]:
    return [d.code for d in found]


def test_what_is_written(world: Path, tmp_path: Path) -> None:
    """The evidence opens, is found by the spec, and its pins are those of model, SAE and data."""
    folder = done(world, tmp_path)
    assert find_evidence(tmp_path, spec(world).spec, world)[0] == folder
    evidence, found = open_evidence(folder)
    assert evidence is not None, list(found)
    manifest = evidence.manifest
    assert manifest.model == load_model(str(world / "model")).pin
    assert manifest.sae == load_sae(str(world / "sae")).pin
    assert (manifest.data.name, manifest.data.rows, len(manifest.shards)) == ("pairs.jsonl", PAIRS, 3)
    assert evidence.table.num_rows == PAIRS
    assert evidence.ok.all()
    assert manifest.reconstruction.tokens > 0
    assert manifest.reconstruction.fvu > 0


def test_figures_are_those_of_the_rows(world: Path, tmp_path: Path) -> None:
    """Features and residuals of a row are those of that row's own responses, read alone."""
    from tiltc_runtime.activations import read_texts

    evidence, _ = open_evidence(done(world, tmp_path))
    assert evidence is not None
    sae = load_sae(str(world / "sae"))
    model = load_model(str(world / "model"), device="cpu")
    for row in (0, 17, PAIRS - 1):
        pair = tiny_pairs(PAIRS)[row]
        for side in ("chosen", "rejected"):
            alone = read_texts(model, sae, [(tuple(pair["prompt"]), pair[side][0]["content"])])
            theirs = evidence.matrix(side, "max")[row].toarray()
            np.testing.assert_allclose(theirs, alone.max.toarray(), rtol=2e-3, atol=2e-3)
            np.testing.assert_allclose(evidence.residuals(side)[row], alone.residuals[0], rtol=2e-3, atol=2e-3)
            assert evidence.table[f"{side}_tokens"][row].as_py() == alone.tokens[0]
            assert (evidence.matrix(side, "peak")[row] != alone.peaks).nnz == 0


def test_texts_are_what_was_read(world: Path, tmp_path: Path) -> None:
    """A cut response ends where reading ended; its row's identity is that of the whole pair; every token has a place."""
    whole, _ = open_evidence(done(world, tmp_path))
    cut, _ = open_evidence(done(world, tmp_path, "train.max_length=90"))
    assert whole is not None
    assert cut is not None
    assert cut.table["row_id"] == whole.table["row_id"]
    rows = list(zip(cut.table.to_pylist(), whole.table.to_pylist(), strict=True))
    ok = [(some, all_) for some, all_ in rows if some["status"] == "ok"]
    assert {some["chosen_cut"] for some, _ in ok} == {True, False}
    for some, all_ in ok:
        for side in ("chosen", "rejected"):
            assert all_[side].startswith(some[side])
            assert some[f"{side}_cut"] or some[side] == all_[side]
            # a character is a token or less in this tokenizer, and all that was read but the template's is here
            assert (
                some[f"{side}_starts"]
                == [min(at, len(some[side])) for at in all_[f"{side}_starts"]][: some[f"{side}_tokens"]]
            )
        assert len(some["prompt_starts"]) == some["prompt_tokens"]
    assert all(
        not some["prompt_starts"] and some["chosen"] == all_["chosen"] for some, all_ in rows if some["status"] != "ok"
    )


#: of all rows' texts, counts and marks of `tiny_pairs(40)`, whole and cut at 90 tokens, before text and tokens were compared
ROWS_SHA256 = {
    "1024": "cedd825dc21e30938bc0dd7b4d83e116",
    "90": "334626e37e77ef2798e96ec83d466dfa",
}


@pytest.mark.parametrize("max_length", ROWS_SHA256)
def test_good_rows_are_as_they_are(world: Path, tmp_path: Path, max_length: str) -> None:
    """Where tokens say what the text says, rows are to the byte what they were, nothing is found and nothing is kept."""
    folder, found = harvest(spec(world, f"train.max_length={max_length}"), tmp_path, device="cpu")
    assert folder is not None
    assert not found
    assert not list(folder.rglob("trained.json"))
    evidence, _ = open_evidence(folder)
    assert evidence is not None
    assert not evidence.differences
    assert sha256_text(canonical_json(evidence.table.to_pylist())).startswith(ROWS_SHA256[max_length])


def test_second_harvest_does_nothing(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything there, not even the model's weights are loaded."""
    folder = done(world, tmp_path)
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*")}
    monkeypatch.setattr(inputs, "load_model", lambda *_, **__: pytest.fail("loaded the model"))
    err = io.StringIO()
    assert done(world, tmp_path, "budget.drop=0.1", err=err) == folder
    assert "nothing to do" in err.getvalue()
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*")} == before


def test_what_makes_another_folder(world: Path, tmp_path: Path) -> None:
    """Truncation and the number of rows change what is measured, and so the folder; the rest of the spec does not."""
    folders = [
        done(world, tmp_path, *set_) for set_ in ([], ["train.max_length=90"], ["data={file: pairs.jsonl, rows: 9}"])
    ]
    assert len(set(folders)) == 3
    for overrides, folder in zip(([], ["train.max_length=90"]), folders, strict=False):
        assert find_evidence(tmp_path, spec(world, *overrides).spec, world)[0] == folder


def test_formats_are_not_mixed(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A harvest never goes on in a folder that was begun in another format."""
    folder = done(world, tmp_path)
    monkeypatch.setattr(Manifest.model_fields["format"], "default", 1)
    assert inputs.Inputs.read(spec(world), "cpu", None).key != folder.name


def test_place_and_time_leave_no_trace(world: Path, tmp_path: Path) -> None:
    """Harvests of the same things from different places into different stores are equal to the byte."""
    import shutil

    moved = Path(shutil.copytree(world, tmp_path / "elsewhere"))
    done(world, tmp_path / "a")
    done(moved, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not any(str(tmp_path).encode() in f.read_bytes() for f in (tmp_path / "a").rglob("*") if f.is_file())


def test_killed_harvest_goes_on(world: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments, several times over: the finished evidence is that of an undisturbed harvest."""
    expected, seconds = undisturbed(world, tmp_path / "undisturbed")
    rng = random.Random(1)
    results = [trial(world, tmp_path / str(i), expected, seconds, rng) for i in range(2)]
    assert sum(r.kills for r in results) > 0
    assert all(r.same for r in results), results


def failing_after(monkeypatch: pytest.MonkeyPatch, calls: int, error: BaseException) -> None:
    """Let `np.save` raise from the n-th call on."""
    save, left = np.save, [calls]

    def fail(*args: Any, **keywords: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise error
        save(*args, **keywords)

    monkeypatch.setattr(disk.np, "save", fail)


def test_full_disk(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is one finding; the finished shard stays, half a shard does not, and the next harvest goes on."""
    with monkeypatch.context() as patch:
        failing_after(patch, 20, OSError(errno.ENOSPC, "No space left on device"))
        folder, found = harvest(spec(world), tmp_path / "a", device="cpu")
    assert folder is None
    assert codes(found) == ["T506"]
    assert [p.name for p in (tmp_path / "a").glob("*/shards/*")] == ["00000"]
    done(world, tmp_path / "a")
    done(world, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 3, "T506"),
        (OSError("13185 requested and 1984 written"), 3, "T506"),
        (KeyboardInterrupt(), 130, "the same command goes on from there"),
    ],
)
def test_exit_codes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, says: str
) -> None:
    """A full disk ends with 3 and Ctrl-C with 130; both say what to do, and then the same command ends with 0."""
    arguments = ["harvest", str(world / "spec.yaml"), "--store", str(tmp_path), "--device", "cpu"]
    out, err = io.StringIO(), io.StringIO()
    with monkeypatch.context() as patch:
        failing_after(patch, 20, error)
        assert main(arguments, out, err) == code
    assert says in out.getvalue() + err.getvalue()
    assert main(arguments, out, err) == 0
    assert "1 of 3 shards are there already" in err.getvalue()


def test_a_device_that_is_not_there_is_wrong_usage(world: Path, tmp_path: Path) -> None:
    """Exit code 2 before anything is read."""
    err = io.StringIO()
    arguments = ["harvest", str(world / "spec.yaml"), "--store", str(tmp_path), "--device", "toaster"]
    assert main(arguments, io.StringIO(), err) == 2
    assert "no device `toaster`" in err.getvalue()


def test_two_harvests_at_once(world: Path, tmp_path: Path) -> None:
    """The second one is told that the first is at work; a lock file that nobody holds does not matter."""
    folder = done(world, tmp_path)
    place = tmp_path / f"{folder.name}.lock"
    with lock(place):
        found = harvest(spec(world), tmp_path, device="cpu")[1]
        assert codes(found) == ["T508"]
        assert str(os.getpid()) in next(iter(found)).primary.text
    place.write_text("999999", encoding="utf-8")
    assert done(world, tmp_path) == folder


def test_damaged_shard_is_made_again(world: Path, tmp_path: Path) -> None:
    """A shard with a changed or missing file is computed again, and the others are not touched."""
    folder = done(world, tmp_path)
    before = contents(tmp_path)
    (folder / "shards/00001/chosen.max.npy").write_bytes(b"rot")
    (folder / "shards/00002/residual.npy").unlink()
    kept = (folder / "shards/00000").stat().st_ino
    assert open_evidence(folder)[0] is None
    done(world, tmp_path)
    assert contents(tmp_path) == before
    assert (folder / "shards/00000").stat().st_ino == kept


def test_contrast_sets(world: Path, tmp_path: Path) -> None:
    """A contrast set is read once by the digest of its rows; a new one on known data costs only itself."""
    folder = done(world, tmp_path)
    evidence, _ = open_evidence(folder)
    definition = spec(world).library["cats"]
    digest = contrast_digest(definition)
    contrast = evidence.contrast(digest) if evidence else None
    assert contrast is not None
    assert contrast.labels.tolist() == [0, 1] * 20
    assert contrast.matrix("max").shape == contrast.matrix("count").shape == contrast.matrix("peak").shape == (40, 64)
    assert contrast.residuals().shape == (40, 32)
    import shutil

    shutil.rmtree(folder / "contrast" / digest)
    shards = {f: f.stat().st_mtime_ns for f in (folder / "shards").rglob("*")}
    done(world, tmp_path)
    assert (folder / "contrast" / digest / "manifest.json").is_file()
    assert {f: f.stat().st_mtime_ns for f in (folder / "shards").rglob("*")} == shards


def test_contrast_sets_that_ship_with_tiltc(world: Path) -> None:
    """The examples of every std concept are harvested, whether the spec names it or not."""
    spec_file, _ = parse(str(world / "spec.yaml"))
    assert spec_file is not None
    shipped = [d for d in spec_file.library.values() if d.concept.kind == "examples"]
    assert len(shipped) > 1
    assert set(inputs.contrast_sets(spec_file)) == {contrast_digest(d) for d in shipped}


def refused(world: Path, tmp_path: Path, *overrides: str) -> tuple[list[str], str]:
    """Codes and the text of the first finding."""
    folder, found = harvest(spec(world, *overrides), tmp_path / "store", device="cpu")
    assert folder is None
    assert not list(tmp_path.glob("store/*/manifest.json"))
    return codes(found), next(iter(found)).primary.text


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"data={path}"


def test_rows_without_features(world: Path, tmp_path: Path) -> None:
    """Rows that can't teach keep their place and their reason, and carry nothing; the reasons are counted on stderr."""
    rows = tiny_pairs(20)
    rows[2]["rejected"] = rows[2]["chosen"]
    rows[5]["chosen"] = [{"role": "assistant", "content": " "}]
    rows[7]["prompt"] = [{"role": "user", "content": "x" * 700}]
    err = io.StringIO()
    evidence, _ = open_evidence(
        done(world, tmp_path / "store", write_rows(tmp_path / "d.jsonl", rows), "train.max_length=300", err=err)
    )
    assert evidence is not None
    statuses = evidence.table["status"].to_pylist()
    assert [statuses[i] for i in (2, 5, 7)] == ["identical", "empty", "too_long"]
    assert statuses.count("ok") == 17
    assert evidence.ok.sum() == 17
    sizes = np.diff(evidence.matrix("chosen", "max").indptr)
    assert (sizes[~evidence.ok] == 0).all()
    assert (sizes[evidence.ok] > 0).all()
    assert not evidence.residuals("rejected")[~evidence.ok].any()
    assert "17 ok, 1 identical, 1 empty, 1 too_long" in err.getvalue()


def test_single_responses_have_features(world: Path, tmp_path: Path) -> None:
    """Data for supervised training is harvested too: its responses are read, and it is no pair that could be compiled."""
    rows = [{"messages": [*p["prompt"], *p["chosen"]]} for p in tiny_pairs(20)]
    file = write_rows(tmp_path / "sft.jsonl", rows)
    evidence, found = open_evidence(done(world, tmp_path / "store", file))
    assert evidence is not None, list(found)
    assert set(evidence.table.column("status").to_pylist()) == {"single"}
    assert evidence.read.all()
    assert not evidence.ok.any()
    assert (np.diff(evidence.matrix("chosen", "max").indptr) > 0).all()


def test_nothing_usable(world: Path, tmp_path: Path) -> None:
    """A data set in which no row can teach is refused with the counts."""
    same = [{"prompt": "a", "chosen": "b", "rejected": "b"}] * 3
    assert refused(world, tmp_path, write_rows(tmp_path / "d.jsonl", same))[0] == ["T518"]


def test_findings_have_places(world: Path, tmp_path: Path) -> None:
    """What is wrong with model, SAE, data or examples is said at its line of the spec, before anything is computed."""
    found = harvest(
        spec(world, f"sae={tiny_sae_folder(tmp_path / 'wide', width=48)}"), tmp_path / "store", device="cpu"
    )[1]
    assert codes(found) == ["T510"]
    (world / "bad.yaml").write_text((world / "spec.yaml").read_text().replace("./sae", "./no-sae"), encoding="utf-8")
    found = harvest(parse(str(world / "bad.yaml"))[0] or pytest.fail("no spec"), tmp_path / "store", device="cpu")[1]
    assert codes(found) == ["T509"]
    (finding,) = found
    assert finding.primary.span is not None
    assert finding.primary.span.line == 4


def test_bad_examples_file(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad lines of an examples file are all named."""
    import shutil

    moved = Path(shutil.copytree(world, tmp_path / "w"))
    lines = ['{"prompt": "a", "response": "b"}', "no", '{"prompt": "a", "response": "b", "label": 2}']
    (moved / "cats.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = harvest(spec(moved), tmp_path / "store", device="cpu")[1]
    assert codes(found) == ["T519"] * 3


def test_activations_out_of_range(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows on which the model overflows are named, and their shard is not written."""
    loaded = load_model(str(world / "model"), layers=2, device="cpu")
    with torch.no_grad():
        loaded.model.embed_tokens.weight[loaded.tokenizer.convert_tokens_to_ids("Z")] = torch.inf
    monkeypatch.setattr(inputs, "load_model", lambda *_, **__: loaded)
    rows = tiny_pairs(20)
    rows[17]["rejected"] = [{"role": "assistant", "content": "Z"}]
    problem, text = refused(world, tmp_path, write_rows(tmp_path / "d.jsonl", rows))
    assert problem == ["T513"]
    assert "row 18 (" in text
    assert [p.name for p in tmp_path.glob("store/*/shards/*")] == ["00000"]


def test_data_that_was_written_anew_is_the_same_data(world: Path, tmp_path: Path) -> None:
    """Other bytes, the same rows: evidence is found, and harvesting again has nothing to do."""
    data = tiny_data_file(tmp_path / "d.jsonl", 8)
    override = f"data={data}"
    first = done(world, tmp_path / "store", override)
    data.write_bytes(b"\xef\xbb\xbf" + data.read_bytes().replace(b'": ', b'" :  ').replace(b"\n", b"\r\n"))
    assert find_evidence(tmp_path / "store", spec(world, override).spec, world) == (first, Diagnostics())
    assert done(world, tmp_path / "store", override) == first
    assert [path.name for path in (tmp_path / "store").iterdir() if path.is_dir()] == [first.name]
    manifest = Manifest.model_validate_json((first / "manifest.json").read_bytes())
    assert not list(answers(manifest, spec(world, override).spec, world))


@pytest.mark.parametrize(
    "change", [lambda p: p.write_text("".join(p.read_text().splitlines(True)[1:])), lambda p: p.unlink()]
)
def test_changed_data_is_stale(world: Path, tmp_path: Path, change: Callable[[Path], Any]) -> None:
    """After the rows of its data file changed, evidence is not found any more; harvesting again makes other evidence."""
    data = tiny_data_file(tmp_path / "d.jsonl", 9)
    override = f"data={data}"
    done(world, tmp_path / "store", override)
    change(data)
    folder, found = find_evidence(tmp_path / "store", spec(world, override).spec, world)
    assert folder is None
    assert codes(found) == (["T502"] if data.exists() else ["T514"])
    if data.exists():
        again = done(world, tmp_path / "store", override)
        assert find_evidence(tmp_path / "store", spec(world, override).spec, world) == (again, Diagnostics())
