"""The command line: exit codes, streams, and how it ends when it can't go on."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tiltc.cli
import tiltc.verbs.compile
from tests.compiler.synthetic import evidence
from tiltc.cli import RUNTIME, main
from tiltc.verbs import UsageError, Verb

EXAMPLES = Path(__file__).parent.parent.parent / "specs" / "examples"


def called(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return main(arguments, out, err), out.getvalue(), err.getvalue()


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "spec.yaml"
    file.write_text("tiltc: 1\nname: a\nmodel: {hub: a/b}\nsignals: [suppress: std.style.bold]\n")
    return str(file)


def process(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"} | dict(settings.pop("env", {}))  # type: ignore[call-overload]
    command = [sys.executable, "-m", "tiltc", *arguments]
    return subprocess.run(command, text=True, env=environment, stderr=subprocess.PIPE, check=False, **settings)  # type: ignore[call-overload]


def test_sound_spec_is_clean() -> None:
    """Exit 0, nothing on stdout, the summary on stderr."""
    assert called("lint", str(EXAMPLES / "plain-and-honest.yaml")) == (0, "", "no findings\n")


def test_contradictory_spec_has_findings() -> None:
    """The example of what is refused is refused."""
    code, out, err = called("lint", str(EXAMPLES / "contradictory.yaml"))
    assert code == 1
    assert "std.style.bold" in out
    assert "error" in err


@pytest.mark.parametrize("name", ["plain-and-honest", "calm-refusals"])
def test_examples_lint_clean(name: str) -> None:
    """Every example but the contradictory one is sound."""
    assert called("lint", str(EXAMPLES / f"{name}.yaml"))[0] == 0


def test_warnings_pass_unless_denied(spec: str) -> None:
    """`--deny warnings` turns exit 0 into 1 and changes no message."""
    clean, out, err = called("lint", spec)
    assert (clean, "warning[T150]" in out, err) == (0, True, "1 warning\n")
    assert called("lint", spec, "--deny", "warnings") == (1, out, err)


def test_several_specs_are_one_report(spec: str) -> None:
    """Findings of all files are printed together and counted together."""
    code, out, err = called("lint", spec, str(EXAMPLES / "plain-and-honest.yaml"), spec)
    assert (code, out.count("T150]"), err) == (0, 1, "1 warning\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "usage: tiltc VERB"),
        (("lint",), "required: SPEC"),
        (("lint", "."), "is a folder"),
        (("lint", "absent.yaml"), "no file `absent.yaml`"),
        (("lint", "-"), "no file `-`"),
        (("lint", "x", "--format", "xml"), "invalid choice"),
        (("lnit", "x"), "did you mean `lint`?"),
        (("xyzzy",), "see `tiltc --help`"),
        (("explain", "T13"), "no code `T13`"),
        (("schema", "spek"), "did you mean `spec`?"),
        (("concepts", "std.style.blod"), "did you mean `std.style.bold`?"),
        (("init", "/absent/folder/x.yaml"), "no folder"),
        (("lint", "a" * 5000), "file name too long"),
        (("schema", "--write", __file__), "file exists"),
        (("show", "absent"), "no plan folder"),
    ],
)
def test_wrong_usage_is_two(arguments: tuple[str, ...], says: str) -> None:
    """A wrong call exits 2 and says what is wrong on stderr only."""
    code, out, err = called(*arguments)
    assert (code, out) == (2, "")
    assert says in err


def test_help_names_every_verb() -> None:
    """The overview lists the verbs of both packages, and each verb has its own help."""
    code, out, _ = called("--help")
    assert code == 0
    for name in ("lint", "explain", "schema", "concepts", "init", *RUNTIME):
        assert f"\n  {name} " in out
    code, out, err = called("lint", "--help")
    assert (code, err) == (0, "")
    assert "--deny" in out


def test_an_allow_holds_for_what_parsing_says(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning of the parser that the spec allows is silent in compile as it is in lint, and the allow counts as used."""
    Path(spec).write_text(Path(spec).read_text() + "allow: [{code: T150, because: it is pinned elsewhere}]\n")
    data = evidence(rates={"std.style.bold": (0.5, 0.2)})
    monkeypatch.setattr(tiltc.verbs.compile, "_evidence", lambda *_: data)
    code, out, err = called("compile", spec, "-o", str(Path(spec).parent / "plan"), "--no-cache", "--deny", "warnings")
    assert (code, "warning" in out) == (0, False), out + err
    assert "T150: it is pinned elsewhere" in out


def test_version() -> None:
    """`--version` prints name and number."""
    assert called("--version")[1].startswith("tiltc 0.")


def test_missing_training_stack_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime verb in a lint-only install names the extra."""
    import importlib.metadata

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: ())
    code, _, err = called("harvest", "x")
    assert code == 2
    assert "pip install 'tiltc[runtime]'" in err


def test_training_stack_that_lacks_a_package_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point that can't be imported is no traceback."""
    import importlib.metadata

    class Point:
        def load(self) -> Verb:
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: (Point(),))
    code, _, err = called("run", "x")
    assert code == 2
    assert "torch is missing" in err
    assert "tiltc[runtime]" in err


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    def run(*_: object) -> int:
        raise error

    monkeypatch.setattr(tiltc.cli, "_verb", lambda name: Verb(name, "fails", lambda parser: None, run))
    return called("fail")


def test_unexpected_exception_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 3, one line, and a trace only on request."""
    code, out, err = failing(RuntimeError("broken\nin two"), monkeypatch)
    assert (code, out) == (3, "")
    assert err == "tiltc: RuntimeError: broken in two (TILTC_TRACEBACK=1 shows where)\n"
    monkeypatch.setenv("TILTC_TRACEBACK", "1")
    assert "Traceback" in failing(RuntimeError("broken"), monkeypatch)[2]


def test_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C exits 130 with one line."""
    assert failing(KeyboardInterrupt(), monkeypatch) == (130, "", "tiltc: interrupted\n")


def test_usage_error_of_a_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb says that it was called wrongly by raising."""
    assert failing(UsageError("not so"), monkeypatch) == (2, "", "tiltc: not so\n")


def test_what_the_file_system_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 3 in the system's words, whether or not the error names a file; no exception's name."""
    for error, says in (
        (OSError(28, "No space left on device"), "tiltc: no space left on device\n"),
        (PermissionError(13, "Permission denied", "/x"), "tiltc: `/x`: permission denied\n"),
    ):
        assert failing(error, monkeypatch) == (3, "", says)


def test_closed_pipe_ends_quietly(spec: str) -> None:
    """When the reader has gone, nothing is complained of."""
    reader, writer = os.pipe()
    os.close(reader)
    done = process("explain", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_full_disk_is_a_failure() -> None:
    """Results that can't be written are not passed over."""
    with open("/dev/full", "w") as full:
        done = process("explain", stdout=full)
    assert done.returncode == 3
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_quietly(spec: str, closed: str) -> None:
    """Without stdin, stdout or stderr the exit code still tells."""
    command = f'exec "{sys.executable}" -m tiltc lint "{spec}" --deny warnings {closed}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_narrow_encoding_is_no_failure(tmp_path: Path) -> None:
    """A terminal without the characters gets escapes."""
    file = tmp_path / "é.yaml"
    file.write_text("tiltc: 1\nname: é漢\n", "utf-8")
    done = process("lint", str(file), stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert r"\u6f22" in done.stdout


def test_init_writes_a_spec_that_lints_clean(tmp_path: Path) -> None:
    """The spec to start from needs no change to be sound, and is never written over another."""
    path = str(tmp_path / "policy.yaml")
    assert called("init", path)[:2] == (0, f"{path}\n")
    assert called("lint", path, "--deny", "warnings")[0] == 0
    before = Path(path).read_bytes()
    assert called("init", path)[0] == 2
    assert Path(path).read_bytes() == before


def test_explain_prints_pages_in_the_order_asked() -> None:
    """Several codes give several pages; case does not matter."""
    code, out, _ = called("explain", "t132", "T101")
    assert code == 0
    assert out.index("T132: unknown concept (error)") < out.index("T101: unreadable file (error)")


def test_concepts_shows_definitions(tmp_path: Path, spec: str) -> None:
    """The list has std; a page is YAML that can be pasted; `--spec` adds the spec's own."""
    assert "std.style.bold" in called("concepts")[1]
    assert "surface: bold" in called("concepts", "std.style.bold")[1]
    calm = str(EXAMPLES / "calm-refusals.yaml")
    assert "team.lecture" not in called("concepts")[1]
    assert "team.lecture" in called("concepts", "--spec", calm)[1]


def test_schema_lists_and_prints() -> None:
    """Without a name the names; with one the schema."""
    assert called("schema")[1].split()[:2] == ["spec", "concepts"]
    assert '"title": "Spec"' in called("schema", "spec")[1]


@pytest.mark.parametrize("verb", sorted(RUNTIME))
@pytest.mark.parametrize("missing", ["torch", "tiltc_runtime.gone"])
def test_what_is_missing_when_a_verb_runs_is_said(monkeypatch: pytest.MonkeyPatch, verb: str, missing: str) -> None:
    """The verbs of the runtime load in a lint-only install too: what they need is imported when they run. A module of our
    own that is missing is a fault, and stays one."""

    def run(*_: object) -> int:
        raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)

    monkeypatch.setattr(tiltc.cli, "_verb", lambda name: Verb(name, "help", lambda parser: None, run))
    code, _, err = called(verb)
    if missing == "torch":
        assert code == 2
        assert err.startswith(f"tiltc: `{verb}` needs the training stack (torch is missing): pip install ")
    else:
        assert code == 3
