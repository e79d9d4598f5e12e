"""The house: what the README promises exists, nothing leaks from a machine into the repository, the wheel is clean."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tiltc.cli import RUNTIME, main

ROOT = Path(__file__).parent.parent
PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / ".github").glob("*.md"))]


def sources() -> Iterator[Path]:
    """The repository's own files: tracked, or new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            yield ROOT / name


def text_of(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def snippets(page: str) -> list[str]:
    """Code in Markdown: lines of fenced and of indented blocks, and code spans."""
    fenced = "\n".join(re.findall(r"^```.*?\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    prose = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    found = [*fenced.split("\n"), *re.findall(r"^ {4}(.*)$", prose, re.MULTILINE), *re.findall(r"`([^`]+)`", prose)]
    return [snippet.strip() for snippet in found]


def words_after(command: str, page: str) -> set[str]:
    """The first word after `command` in each snippet that starts with it."""
    matches = (re.match(rf"{command} ([a-z][a-z-]*)", snippet) for snippet in snippets(page))
    return {match[1] for match in matches if match}


@pytest.mark.parametrize("file", PROSE, ids=lambda file: file.name)
def test_commands_in_the_docs_exist(file: Path) -> None:
    """Every `make` target and every `tiltc` verb that the documentation names is there."""
    overview = io.StringIO()
    assert main(["--help"], overview, io.StringIO()) == 0
    verbs = set(re.findall(r"^  ([a-z]+) ", overview.getvalue(), re.MULTILINE))
    assert words_after("make", file.read_text()) <= targets()
    assert words_after("tiltc", file.read_text()) <= verbs


def test_commands_are_found_in_the_docs() -> None:
    """The search sees indented blocks, fences and code spans, and no prose."""
    page = "to make them\n\n    make a  # x\n\n`make b` and\n```sh\nmake c\n```\nmake d\n"
    assert words_after("make", page) == {"a", "b", "c"}
    assert {"demo", "test"} <= words_after("make", (ROOT / "README.md").read_text())
    assert {"lint", "diff", "export"} <= words_after("tiltc", (ROOT / "README.md").read_text())


def test_the_readmes_two_commands_are_targets() -> None:
    """The README tells a newcomer to type `make demo` and `make test`; both set up what they need by themselves."""
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"\n    make {target} " in readme
        assert re.search(rf"^{target}: \$\(READY\) ## ", makefile, re.MULTILINE)


def test_every_step_of_the_demo_is_a_command() -> None:
    """The commands that `make demo` runs have verbs, and flags that these verbs take."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "tools" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = demo
    spec.loader.exec_module(demo)
    steps = demo.steps("specs/examples/planted.yaml", "demo")
    assert [step.arguments[0] for step in steps] == ["lint", "harvest", "compile", "run", "run", "verify"]
    for step in steps:
        package = "tiltc_runtime" if step.arguments[0] in RUNTIME else "tiltc"
        verb = importlib.import_module(f"{package}.verbs.{step.arguments[0]}").VERB
        parser = argparse.ArgumentParser(allow_abbrev=False)
        verb.add_arguments(parser)
        parser.parse_args(step.arguments[1:])


def test_ci_runs_what_the_readme_says() -> None:
    """`.ci/run` is executable, starts with the README's test command and checks style and types."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert re.search(r"^make test$", script.read_text(), re.MULTILINE)
    assert re.search(r"^make check$", script.read_text(), re.MULTILINE)


def test_the_readmes_spec_is_clean(tmp_path: Path) -> None:
    """The spec on the README's first screen lints without a finding."""
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block
    spec = tmp_path / "spec.yaml"
    spec.write_text(block[1])
    out = io.StringIO()
    assert main(["lint", str(spec), "--deny", "warnings"], out, io.StringIO()) == 0, out.getvalue()


def test_links_in_the_docs_lead_somewhere() -> None:
    """Files that the documentation names in backticks by their path from the root are there."""
    named = re.compile(r"`((?:docs|tests|tools|schemas|specs|compiler|runtime|\.github|\.ci)/[\w./-]+)`")
    missing = [
        f"{file.name}: {path}"
        for file in PROSE
        for path in named.findall(file.read_text())
        if not (ROOT / path).exists()
    ]
    assert missing == []


#: Written in pieces, so that this file does not hold what it looks for.
MACHINE = re.compile(
    "|".join(
        [
            r"(?<![\w.])/(?:" + "|".join(["tmp", "work", "root", "opt", "Users", "home/\\w+"]) + r")/\w",
            "py" + r"pi\.(?:org|python)",
            "python" + "hosted",
            "registry." + "npmjs",
        ]
    )
)


def test_nothing_of_a_machine_is_in_the_repository() -> None:
    """No file names a path of somebody's machine or the host of a package registry."""
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in sources()
        if (text := text_of(file)) is not None
        for match in MACHINE.finditer(text)
    ]
    assert found == []


def test_the_search_for_machines_finds_them() -> None:
    """What the test above looks for is found where it is."""
    for leak in ("/".join(["", "tmp", "x"]), "/".join(["see ", "home", "ann", "x"]), "https://" + "py" + "pi.org"):
        assert MACHINE.search(leak), leak
    for fine in ("a/tmp/x", "tests/work/x", "https://example.org/opt"):
        assert not MACHINE.search(fine), fine


def test_the_license_is_there() -> None:
    """The full text of Apache-2.0, which the package metadata names."""
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text.splitlines()) == 202
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"


def pins() -> dict[str, str]:
    lines = (line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#")
    return dict(re.fullmatch(r"([a-z0-9-]+)==([\w.]+)", line).groups() for line in lines)  # type: ignore[union-attr]


def test_constraints_pin_what_is_asked_for() -> None:
    """Every dependency of the package and its extras has an exact version, which its own bounds allow."""
    asked = [r for line in requires("tiltc") or [] if (r := Requirement(line)).name != "tiltc"]
    assert len(asked) > 20
    for requirement in asked:
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in pins(), f"constraints.txt has no {name}"
        assert requirement.specifier.contains(pins()[name]), f"{requirement} does not allow {pins()[name]}"


def test_torch_is_installed_first_and_pinned() -> None:
    """The Makefile installs torch at the version of the constraints, before anything that would pull another."""
    makefile = (ROOT / "Makefile").read_text()
    torch, rest = makefile.index(f"torch=={pins()['torch']}"), makefile.index("-e '.[runtime,dev]'")
    assert torch < rest


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("dist")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


def test_the_wheel_holds_two_packages_and_nothing_else(wheel: Path) -> None:
    """No generic name (`compiler`, `runtime`, `tests`) lands in site-packages; the packages' data files do."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"tiltc", "tiltc_runtime"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for needed in ("tiltc/templates/plan.txt.j2", "tiltc/std/style.yaml", "tiltc/py.typed", "tiltc_runtime/py.typed"):
        assert needed in names


def test_the_wheel_fits_a_pull_request(wheel: Path) -> None:
    """The wheel, the shipped SAE included, stays below 30 MB."""
    assert wheel.stat().st_size < 30_000_000
