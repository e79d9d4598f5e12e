"""What each way of installing tiltc is enough for."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tomllib
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiltc.cli
from tests.compiler.synthetic import evidence, spec_text
from tiltc.parse import parse
from tiltc.pipeline import compile_spec
from tiltc.planfile import PLAN_FILE, ROWS_FILE, write_plan

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))}
BOLD = "  - suppress: std.style.bold\n    within: 10%\n"
#: calls its arguments in a process in which what a lint-only install leaves out can't be imported
BARE = """
import sys
sys.modules.update(dict.fromkeys({left_out}))
from tiltc.cli import main
sys.exit(main(sys.argv[1:]))
"""


def bare(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr in a lint-only install."""
    command = [sys.executable, "-c", BARE.format(left_out=tiltc.cli.COMPILE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def called(*arguments: str | Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = tiltc.cli.main([str(a) for a in arguments], out, err)
    return code, out.getvalue(), err.getvalue()


def test_modules_that_a_lint_only_install_leaves_out_are_those_of_the_extra() -> None:
    """The list by which a missing module is recognised has one name for each requirement of `tiltc[compile]`."""
    named = {r.partition(">")[0].replace("-", "_") for r in PROJECT["optional-dependencies"]["compile"]}
    assert named == set(tiltc.cli.COMPILE)
    assert HOOKS["tiltc-compile-check"]["additional_dependencies"] == PROJECT["optional-dependencies"]["compile"]
    assert "tiltc[compile]" in PROJECT["optional-dependencies"]["runtime"]


def test_a_lint_only_install_lints_as_any_other() -> None:
    """Every spec of the tests and of the examples gives the same findings without numpy, scipy, pyarrow and the rest."""
    specs = [*sorted((ROOT / "specs" / "examples").glob("*.yaml")), *sorted((ROOT / "tests" / "ok").glob("*.yaml"))]
    specs += sorted((ROOT / "tests" / "conflicts").glob("*.yaml"))[:20]
    assert bare("lint", "--format", "json", *specs) == called("lint", "--format", "json", *specs)


@pytest.mark.parametrize(
    "arguments", [("explain", "T301"), ("concepts",), ("schema", "plan"), ("schema", "evidence"), ("--help",)]
)
def test_questions_are_answered_by_a_lint_only_install(arguments: tuple[str, ...]) -> None:
    """Codes, names, schemas and help need nothing more."""
    code, out, err = bare(*arguments)
    assert (code, err) == (0, "")
    assert out


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A folder with `spec.yaml` and the plan that it compiles to."""
    (tmp_path / "spec.yaml").write_text(spec_text(BOLD))
    spec_file, _ = parse(tmp_path / "spec.yaml")
    data: Any = evidence()
    assert spec_file is not None
    result, found = compile_spec(spec_file, data)
    assert result is not None, [d.code for d in found]
    write_plan(result.plan, result.rows, tmp_path / "plan")
    return tmp_path


@pytest.mark.parametrize("verb", ["show", "compile", "audit", "diff"])
def test_what_needs_more_says_which_extra(plan: Path, verb: str) -> None:
    """A verb that needs what is left out ends with one line that names module and extra, and no traceback."""
    rest = {"show": [plan / "plan"], "diff": [plan / "plan", plan / "plan"]}.get(verb, [plan / "spec.yaml"])
    code, out, err = bare(verb, *rest)
    if verb in ("show", "diff", "audit"):
        assert (code, out) == (2, "")
        assert err.startswith(f"tiltc: `{verb}` needs more than a lint-only install (")
        assert "pip install 'tiltc[compile]'" in err
        assert err.count("\n") == 1
    assert "Traceback" not in out + err


CHECK = ("--check", "--no-evidence")


def checked(plan: Path, *more: str) -> tuple[int, str, str]:
    return bare("compile", plan / "spec.yaml", "-o", plan / "plan", *CHECK, *more)


def test_a_plan_is_checked_without_evidence(plan: Path) -> None:
    """Where the spec is the plan's, the check passes in a lint-only install and says what it can't know."""
    code, out, err = checked(plan)
    assert (code, out) == (0, "")
    assert "without evidence nobody knows what compiles now" in err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("within: 10%", "within: 12%"), "signals"),
        (("suppress: std.style.bold", "suppress: std.style.emoji"), "signals"),
        (("name: test", "name: test\ntrain: {beta: 0.2}"), "train"),
    ],
)
def test_a_plan_of_another_spec_is_out_of_date(plan: Path, change: tuple[str, str], said: str) -> None:
    """T540 names the fields that differ; comments and order of keys don't matter."""
    file = plan / "spec.yaml"
    file.write_text("# a comment\n" + file.read_text())
    assert checked(plan)[0] == 0
    assert change[0] in file.read_text()
    file.write_text(file.read_text().replace(*change))
    code, out, _ = checked(plan)
    assert code == 1
    assert "error[T540]" in out
    assert f"the spec means something else now: {said}" in out


def test_other_ways_to_be_out_of_date(plan: Path) -> None:
    """A `--set` that the plan was not compiled with, an edited plan, and a plan without its rows fail."""
    assert "T540" in checked(plan, "--set", "train.beta=0.3")[1]
    text = (plan / "plan" / PLAN_FILE).read_text()
    edited = json.loads(text) | {"compiler": "0.0.1"}
    (plan / "plan" / PLAN_FILE).write_text(json.dumps(edited))
    assert "T521" in checked(plan)[1]
    (plan / "plan" / PLAN_FILE).write_text(text)
    (plan / "plan" / ROWS_FILE).unlink()
    code, out, _ = checked(plan)
    assert code == 1
    assert "T520" in out


def test_no_evidence_is_a_form_of_check(plan: Path) -> None:
    """Nothing is compiled without evidence: the flag alone is wrong usage."""
    assert bare("compile", plan / "spec.yaml", "--no-evidence")[0] == 2


def hook(name: str, *files: Path) -> tuple[int, str, str]:
    """As pre-commit calls it."""
    command, *arguments = HOOKS[name]["entry"].split()
    assert command == "tiltc"
    return called(*arguments, *HOOKS[name].get("args", []), *files)


@pytest.mark.parametrize("name", [None, "policy.yaml", "learning/mine.yml"])
def test_the_hook_finds_what_init_writes(tmp_path: Path, name: str | None) -> None:
    """Whatever a spec is called and wherever it lies, the hook lints it: it is given all YAML."""
    assert HOOKS["tiltc-lint"]["types"] == ["yaml"]
    assert "files" not in HOOKS["tiltc-lint"]
    (tmp_path / "learning").mkdir()
    with chdir(tmp_path):
        assert called("init", *([name] if name else []))[0] == 0
        written = Path(name or "policy.yaml")
        code, out, err = hook("tiltc-lint", written)
        assert (code, out) == (0, "")
        assert "passed over" not in err
        written.write_text(written.read_text().replace("suppress:", "supress:"))
        assert hook("tiltc-lint", written)[0] == 1


def test_the_hook_passes_over_other_yaml(tmp_path: Path) -> None:
    """A workflow is no spec, and its reader is told that it was passed over; what is named without the flag is linted."""
    other = tmp_path / "workflow.yml"
    other.write_text("on: push\njobs: {}\n# tiltc: not here\n")
    code, out, err = hook("tiltc-lint", other)
    assert (code, out) == (0, "")
    assert "passed over 1 files without `tiltc:`" in err
    assert called("lint", other)[0] == 1
