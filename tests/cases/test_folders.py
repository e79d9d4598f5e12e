"""A verb writes into a folder that is new, empty or its own, and never over what it reads.

The folders of the matrix are a user's: shown is that every file in them is byte for byte, name for name as it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases.shout import shouting_rows
from tests.worlds import World, exact_sae_folder, make_world
from tiltc.files import READY


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    """Every path below a folder: the sha256 of a file's bytes, and when it was last written."""
    paths = [folder, *folder.rglob("*")]
    return {str(p): (_sha(p), p.lstat().st_mtime_ns if p.is_file() else 0) for p in paths}


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with a store, a plan, a run and an audit."""
    world = make_world(tmp_path_factory.mktemp("made"), shouting_rows(60))
    for call in (
        ("harvest", "spec.yaml"),
        ("compile", "spec.yaml", "-o", "plan"),
        ("run", "plan", "-o", "run", "--root", "."),
        ("audit", "spec.yaml", "-o", "audit"),
    ):
        said = world.tiltc(*call)
        assert said.code == 0, said.out + said.err
    return world


def model_folder(made: World, place: Path) -> None:
    """A user's work folder: the base model in `model/`, as `tiltc run PLAN -o .` would have met it."""
    shutil.copytree(made.folder / "model", place / "model")


def weights_folder(made: World, place: Path) -> None:
    shutil.copytree(made.folder / "model", place, dirs_exist_ok=True)


def data_folder(_: World, place: Path) -> None:
    (place / "rows.parquet").write_bytes(b"PAR1 mine")
    (place / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    (place / "manifest.json").write_text('{"shards": ["mine"]}')


def home(_: World, place: Path) -> None:
    for name in (".bashrc", ".netrc", "notes.md", "record.json", "run.json", "run.lock", "plan.json", "losses.md"):
        (place / name).write_text(f"mine: {name}")
    for name in ("model", "plan", "verify", "checkpoints", "reference", "shards", "derived", "rollouts", "labels"):
        (place / name).mkdir()
        (place / name / "mine.txt").write_text(name)
    (place / ".ssh").mkdir()
    (place / ".ssh" / "id_ed25519").write_text("key")


def foreign_plan(_: World, place: Path) -> None:
    """What another tool calls a plan, beside its state."""
    (place / "plan.json").write_text('{"format_version": "1.2", "terraform_version": "1.9"}')
    (place / "terraform.tfstate").write_text("{}")


def git(_: World, place: Path) -> None:
    """A repository in which nothing but git's own folder lies yet."""
    (place / ".git").mkdir()
    (place / ".git" / "HEAD").write_text("ref: refs/heads/main\n")


def schemas(_: World, place: Path) -> None:
    """Schemas of the user's own, one under a name that tiltc has, too."""
    (place / "spec.json").write_text('{"$schema": "https://json-schema.org/draft/2020-12/schema",\n "title": "Mine"}')


def a_copy(name: str) -> Callable[[World, Path], None]:
    def fill(made: World, place: Path) -> None:
        shutil.copytree(made.folder / name, place, dirs_exist_ok=True)

    fill.__name__ = f"{name.rpartition('/')[2]}_of_tiltc"
    return fill


PLAN, RUN, STORE, AUDIT = a_copy("plan"), a_copy("run"), a_copy(".tiltc/evidence"), a_copy("audit")
USERS = [model_folder, weights_folder, data_folder, home, foreign_plan, git, schemas]
#: verb -> what it is called with, and folders of tiltc that are not its own
VERBS = {
    "compile": (("compile", "spec.yaml", "-o"), [RUN, STORE, AUDIT]),
    "run": (("run", "plan", "--root", ".", "-o"), [PLAN, STORE, AUDIT]),
    "run --plain": (("run", "plan", "--root", ".", "--plain", "-o"), [PLAN, STORE, AUDIT]),
    "run --fresh": (("run", "plan", "--root", ".", "--fresh", "-o"), [PLAN, STORE, AUDIT]),
    "run --reference": (("run", "plan", "--root", ".", "-o", "new", "--reference"), [PLAN, RUN, STORE, AUDIT]),
    "harvest": (("harvest", "spec.yaml", "--store"), [PLAN, RUN, AUDIT]),
    "audit": (("audit", "spec.yaml", "-o"), [PLAN, RUN, STORE]),
    "schema": (("schema", "--write"), [PLAN, RUN, STORE, AUDIT]),
}
MATRIX = [(verb, fill) for verb, (_, own) in VERBS.items() for fill in (*USERS, *own)]


@pytest.mark.parametrize(("verb", "fill"), MATRIX, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_nothing_changes_in_a_folder_of_something_else(
    made: World, tmp_path: Path, verb: str, fill: Callable[[World, Path], None]
) -> None:
    """One finding, T585, and the folder is as it was."""
    place = tmp_path / "place"
    place.mkdir()
    fill(made, place)
    before = tree(place)
    said = made.tiltc(*VERBS[verb][0], str(place))
    assert (said.code, said.codes) == (1, ["T585"]), said.out + said.err
    assert tree(place) == before
    assert not (made.folder / "new").exists()


@pytest.mark.parametrize("fresh", [(), ("--fresh",)])
def test_a_run_here_leaves_the_model_there(made: World, tmp_path: Path, fresh: tuple[str, ...]) -> None:
    """`tiltc run PLAN -o .` beside a base model in `model/`, as it was first reported."""
    shutil.copytree(made.folder / "plan", tmp_path / "plan")
    shutil.copytree(made.folder / "model", tmp_path / "model")
    shutil.copy(made.folder / "pairs.jsonl", tmp_path)
    before = tree(tmp_path)
    said = World(tmp_path).tiltc("run", "plan", "-o", ".", *fresh)
    assert (said.code, said.codes) == (1, ["T585"])
    assert tree(tmp_path) == before


CACHES = {
    "compile": (("compile", "spec.yaml", "-o", "again", "--store", "{store}"), "derived"),
    "harvest": (("harvest", "spec.yaml", "--store", "{store}"), "derived"),
    "audit": (("audit", "spec.yaml", "-o", "again", "--store", "{store}"), "derived"),
    "labeller": (
        ("audit", "spec.yaml", "--store", "{store}", "-o", "again", "--labeller", "http://127.0.0.1:9/v1",
         "--labeller-model", "m"), "labels",
    ),
    "verify": (("verify", "run", "--store", "{store}"), "rollouts"),
}  # fmt: skip


@pytest.mark.parametrize("verb", CACHES)
def test_a_cache_is_not_kept_in_a_folder_of_the_users(made: World, tmp_path: Path, verb: str) -> None:
    """What is kept beside a store has names that users give their own folders, too."""
    call, name = CACHES[verb]
    shutil.copytree(made.folder / ".tiltc" / "evidence", tmp_path / "store")
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.csv").write_text("a,b\n")
    before = tree(tmp_path)
    said = made.tiltc(*(part.format(store=tmp_path / "store") for part in call))
    assert (said.code, said.codes) == (1, ["T585"]), said.out + said.err
    assert tree(tmp_path) == before


EXPORTS = ["plan/rows.parquet", "run/plan/rows.parquet", "run/verify/rollouts.jsonl", "audit/hypotheses.parquet",
           "theirs.jsonl", "theirs.parquet", "folder.jsonl", "pipe.jsonl", "link.jsonl"]  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_replaces_nothing_but_exports(made: World, tmp_path: Path, name: str) -> None:
    """Files of a plan, of a run, of an audit and of the user's, folders, pipes and links: T586 or T587."""
    for folder in ("plan", "run", "audit"):
        shutil.copytree(made.folder / folder, tmp_path / folder)
    (tmp_path / "run" / "verify").mkdir()
    (tmp_path / "run" / "verify" / "rollouts.jsonl").write_text('{"policy": "start", "text": "a"}\n')
    (tmp_path / "theirs.jsonl").write_text("not even JSON\n")
    (tmp_path / "theirs.parquet").write_text("nor Parquet\n")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "link.jsonl").symlink_to(made.folder / "pairs.jsonl")
    before = tree(tmp_path)
    if name == "pipe.jsonl":
        import os

        os.mkfifo(tmp_path / name)
    given = ("--data", str(made.folder / "pairs.jsonl"))
    said = made.tiltc("export", str(tmp_path / "plan"), "-o", str(tmp_path / name), *given)
    expected = "T586" if name in ("plan/rows.parquet", "link.jsonl") else "T587"
    assert (said.code, said.codes) == (1, [expected]), said.out + said.err
    (tmp_path / "pipe.jsonl").unlink(missing_ok=True)
    assert tree(tmp_path) == before


def test_an_export_is_written_again(made: World, tmp_path: Path) -> None:
    """Over an older export and over an empty file, in each format."""
    data = ("--data", str(made.folder / "pairs.jsonl"))
    for name in ("a.parquet", "a.jsonl", "a.jsonl.gz"):
        (tmp_path / name).touch()
        for _ in range(2):
            said = made.tiltc("export", "plan", "-o", str(tmp_path / name), *data)
            assert said.code == 0, said.out + said.err


def test_init_writes_over_nothing(made: World, tmp_path: Path) -> None:
    """A spec that is there stays, and so does what a dangling link names."""
    (tmp_path / "policy.yaml").write_text("mine")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    before = tree(tmp_path)
    for name in ("policy.yaml", "link.yaml", "."):
        assert made.tiltc("init", str(tmp_path / name)).code == 2
    assert tree(tmp_path) == before


@pytest.mark.parametrize("verb", ["show", "diff", "lint"])
@pytest.mark.parametrize("fill", [*USERS, RUN, STORE], ids=lambda fill: fill.__name__)
def test_verbs_that_read_write_nothing(
    made: World, tmp_path: Path, verb: str, fill: Callable[[World, Path], None]
) -> None:
    """Whatever folder they are given."""
    place = tmp_path / "place"
    place.mkdir()
    fill(made, place)
    before = tree(place)
    said = made.tiltc(verb, *[str(place)] * (2 if verb == "diff" else 1))
    assert said.code in (1, 2)
    assert tree(place) == before


def test_what_a_plan_trains_on_is_not_removed(made: World, tmp_path: Path) -> None:
    """A plan whose model is what an earlier run trained can't take that run's folder, `--fresh` or not."""
    shutil.copytree(made.folder / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.copytree(made.folder / "model", tmp_path / "run" / "model")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    record["outputs"] = {path.name: "" for path in (tmp_path / "run" / "model").iterdir()}
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    shutil.copy(made.folder / "pairs.jsonl", tmp_path)
    exact_sae_folder(tmp_path / "sae")
    shutil.copy(made.folder / "spec.yaml", tmp_path)
    world = World(tmp_path)
    change = ("--set", "model=./run/model")
    assert world.tiltc("harvest", "spec.yaml", *change).code == 0
    assert world.tiltc("compile", "spec.yaml", *change).code == 0
    before = tree(tmp_path / "run")
    for flags in ((), ("--fresh",)):
        said = world.tiltc("run", "plan", "-o", "run", "--root", ".", *flags)
        assert (said.code, said.codes) == (1, ["T586"]), said.out + said.err
        assert tree(tmp_path / "run") == before


def test_fresh_keeps_its_own_plan_and_the_users_files(made: World, tmp_path: Path) -> None:
    """`run RUN/plan -o RUN --fresh` would remove the plan that it reads; strangers in a run's folders are told."""
    shutil.copytree(made.folder / "run", tmp_path / "run")
    before = tree(tmp_path)
    said = made.tiltc("run", str(tmp_path / "run" / "plan"), "-o", str(tmp_path / "run"), "--fresh", "--root", ".")
    assert (said.code, said.codes) == (1, ["T586"])
    assert tree(tmp_path) == before
    for name in ("model", "verify", "plan", "checkpoints"):
        (tmp_path / "run" / name).mkdir(exist_ok=True)
        (tmp_path / "run" / name / "my notes.md").write_text("mine")
        before = tree(tmp_path)
        said = made.tiltc("run", "plan", "-o", str(tmp_path / "run"), "--fresh", "--root", ".")
        assert (said.code, said.codes) == (1, ["T585"]), said.out + said.err
        assert "my notes.md" in said.out
        assert tree(tmp_path) == before
        (tmp_path / "run" / name / "my notes.md").unlink()


def test_a_plan_of_another_spec_stays(made: World, tmp_path: Path) -> None:
    """Compiling over a plan of another name is refused; over one of the same name it is what compiling is for."""
    shutil.copytree(made.folder / "plan", tmp_path / "plan")
    before = tree(tmp_path)
    said = made.tiltc("compile", "spec.yaml", "--set", "name=another", "-o", str(tmp_path / "plan"))
    assert (said.code, said.codes) == (1, ["T585"]), said.out + said.err
    assert tree(tmp_path) == before
    said = made.tiltc("compile", "spec.yaml", "--set", "budget.drop=40%", "-o", str(tmp_path / "plan"))
    assert said.code == 0, said.out + said.err
    assert tree(tmp_path) != before


def test_a_plan_within_a_run_stays(made: World, tmp_path: Path) -> None:
    """The copy that a run keeps is the run's."""
    shutil.copytree(made.folder / "run", tmp_path / "run")
    before = tree(tmp_path)
    said = made.tiltc("compile", "spec.yaml", "--set", "budget.drop=40%", "-o", str(tmp_path / "run" / "plan"))
    assert (said.code, said.codes) == (1, ["T585"])
    assert "part of a run" in said.out
    assert tree(tmp_path) == before


def test_the_users_files_in_a_plans_folder_stay(made: World, tmp_path: Path) -> None:
    """A review beside `plan.json`, a folder and a link outlive the next compile."""
    shutil.copytree(made.folder / "plan", tmp_path / "plan")
    (tmp_path / "plan" / "REVIEW.md").write_text("looks good")
    (tmp_path / "plan" / "figures").mkdir()
    (tmp_path / "plan" / "figures" / "a.svg").write_text("<svg/>")
    said = made.tiltc("compile", "spec.yaml", "--set", "budget.drop=40%", "-o", str(tmp_path / "plan"))
    assert said.code == 0, said.out + said.err
    assert (tmp_path / "plan" / "REVIEW.md").read_text() == "looks good"
    assert (tmp_path / "plan" / "figures" / "a.svg").read_text() == "<svg/>"


@pytest.mark.parametrize("name", ["run", ".tiltc/evidence"])
def test_folders_without_a_mark_are_known(made: World, tmp_path: Path, name: str) -> None:
    """What was made before there were marks is found to be tiltc's own by what it holds."""
    place = tmp_path / "place" / "evidence"
    shutil.copytree(made.folder / name, place)
    (place / ".tiltc-folder").unlink()
    call = ("run", "plan", "--root", ".", "-o") if name == "run" else ("harvest", "spec.yaml", "--store")
    said = made.tiltc(*call, str(place))
    assert said.code == 0, said.out + said.err


def test_trifles_make_no_folder_foreign(made: World, tmp_path: Path) -> None:
    """`.gitkeep` and the like, and what a killed process left unfinished."""
    (tmp_path / ".gitkeep").touch()
    (tmp_path / ".tiltc-99999999-01234567.json").touch()
    said = made.tiltc("compile", "spec.yaml", "-o", str(tmp_path))
    assert said.code == 0, said.out + said.err


LOGS = ["log.txt", "slurm-12.out", "train.log", "job.e123", "stderr", "wandb/run/files.json"]


@pytest.mark.parametrize("call", [
    ("run", "plan", "--root", ".", "-o"), ("run", "plan", "--root", ".", "--fresh", "-o"), ("compile", "spec.yaml", "-o"),
    ("harvest", "spec.yaml", "--store"), ("audit", "spec.yaml", "-o"), ("schema", "--write"),
], ids=" ".join)  # fmt: skip
def test_the_log_of_a_command_makes_no_folder_foreign(made: World, tmp_path: Path, call: tuple[str, ...]) -> None:
    """`tiltc run plan -o r | tee r/log.txt`, and what SLURM and trackers write there; the logs stay."""
    place = tmp_path / "place"
    for name in LOGS:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(f"mine: {name}")
    said = made.tiltc(*call, str(place))
    assert said.code == 0, said.out + said.err
    assert [(place / name).read_text() for name in LOGS] == [f"mine: {name}" for name in LOGS]


@pytest.fixture(scope="module")
def another(made: World) -> Path:
    """Another plan of the same spec."""
    said = made.tiltc("compile", "spec.yaml", "--set", "budget.drop=40%", "-o", "another")
    assert said.code == 0, said.out + said.err
    return made.folder / "another"


READERS = {
    "show": ("show", "{plan}"),
    "diff": ("diff", "{plan}", "plan"),
    "check": ("compile", "spec.yaml", "--check", "-o", "{plan}"),
    "check alone": ("compile", "spec.yaml", "--check", "--no-evidence", "-o", "{plan}"),
    "run": ("run", "{plan}", "-o", "never", "--root", "."),
    "export": ("export", "{plan}", "-o", "never.jsonl", "--data", "pairs.jsonl"),
}


@pytest.mark.parametrize("verb", READERS)
def test_a_set_that_waits_takes_no_reviewed_plans_place(made: World, another: Path, tmp_path: Path, verb: str) -> None:
    """A hidden folder that came with a checkout, or that a killed compile left: who reads refuses, and changes nothing."""
    shutil.copytree(made.folder / "plan", tmp_path / "plan")
    shutil.copytree(another, tmp_path / "plan" / READY)
    before = tree(tmp_path)
    said = made.tiltc(*(part.format(plan=tmp_path / "plan") for part in READERS[verb]))
    assert (said.code, "T588" in said.out) == (1, True), said.out + said.err
    assert tree(tmp_path) == before
    assert not [*made.folder.glob("never*")]


@pytest.mark.parametrize("moved", [(), ("rows.parquet",), ("rows.parquet", "plan.json")])
@pytest.mark.parametrize("before", [None, "plan"])
def test_what_a_killed_compile_left_is_compiled_again(
    made: World, another: Path, tmp_path: Path, before: str | None, moved: tuple[str, ...]
) -> None:
    """A first one or a later one, before and between the moves of its files."""
    place = tmp_path / "plan"
    if before:
        shutil.copytree(made.folder / before, place)
    shutil.copytree(another, place / READY)
    for name in moved:
        (place / READY / name).replace(place / name)
    said = made.tiltc("compile", "spec.yaml", "-o", str(place))
    assert said.code == 0, said.out + said.err
    assert not (place / READY).exists()
    assert (place / "plan.json").read_bytes() == (made.folder / "plan" / "plan.json").read_bytes()


def test_a_set_that_waits_says_whose_the_folder_is(made: World, tmp_path: Path) -> None:
    """A plan that waits makes no room for an audit or a plan of another name; an audit that waits is written again."""
    shutil.copytree(made.folder / "plan", tmp_path / "plan" / READY)
    shutil.copytree(made.folder / "audit", tmp_path / "audit" / READY)
    before = tree(tmp_path)
    for call in (
        ("audit", "spec.yaml", "-o", "{}/plan"),
        ("compile", "spec.yaml", "-o", "{}/audit"),
        ("compile", "spec.yaml", "--set", "name=another", "-o", "{}/plan"),
    ):
        said = made.tiltc(*(part.format(tmp_path) for part in call))
        assert (said.code, said.codes) == (1, ["T585"]), said.out + said.err
        assert tree(tmp_path) == before
    assert made.tiltc("audit", "spec.yaml", "-o", str(tmp_path / "audit")).code == 0
    assert not (tmp_path / "audit" / READY).exists()


@pytest.mark.parametrize("text", ["", "{", '<<<<<<< HEAD\n{"plan_version": 4}\n=======\n'])
def test_a_broken_plan_is_compiled_again(made: World, tmp_path: Path, text: str) -> None:
    """A cut or conflicting `plan.json` is still that of a plan, whose rows lie beside it."""
    shutil.copytree(made.folder / "plan", tmp_path / "plan")
    (tmp_path / "plan" / "plan.json").write_text(text)
    said = made.tiltc("compile", "spec.yaml", "-o", str(tmp_path / "plan"))
    assert said.code == 0, said.out + said.err
    assert (tmp_path / "plan" / "plan.json").read_bytes() == (made.folder / "plan" / "plan.json").read_bytes()
