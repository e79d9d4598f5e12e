"""Findings where GitHub can show them: each has a place, and its path is the repository's."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tiltc.cli import main

SPEC = "tiltc: 1\nname: case\nconcepts:\n  shout: {about: Shouts., pattern: 'WOW'}\nsignals:\n  - suppress: shuot\n"


def linted(*arguments: str) -> str:
    out = io.StringIO()
    main(["lint", *arguments], out, io.StringIO())
    return out.getvalue()


def uris(sarif: str) -> list[str]:
    results: list[dict[str, Any]] = json.loads(sarif)["runs"][0]["results"]
    assert all(len(result["locations"]) == 1 for result in results)
    return [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in results]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose specs are in a folder, in which one works."""
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "spec.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path / "specs")
    return tmp_path


@pytest.mark.parametrize("known", ["workspace", "git"])
def test_paths_are_relative_to_the_repository(repository: Path, known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder within, by an absolute path too; the runner says where the repository is, or git."""
    if known == "workspace":
        monkeypatch.setenv("GITHUB_WORKSPACE", str(repository))
    else:
        subprocess.run(["git", "init", "-q", str(repository)], check=True)
    for path in ("spec.yaml", "../specs/spec.yaml", str(repository / "specs" / "spec.yaml")):
        assert "file=specs/spec.yaml,line=6" in linted(path, "--format", "github")
        assert uris(linted(path, "--format", "sarif")) == ["specs/spec.yaml"]


def test_without_a_repository_a_path_is_as_it_was_given(repository: Path) -> None:
    """Nobody knows better."""
    assert "file=spec.yaml,line=6" in linted("spec.yaml", "--format", "github")
    assert uris(linted(str(repository / "specs" / "spec.yaml"), "--format", "sarif"))[0].startswith("file:///")


def test_a_finding_without_a_place_stands_at_the_first_line_of_the_spec(repository: Path) -> None:
    """What `--set` did, and a file that can't be read, are shown with the spec."""
    (repository / "specs" / "fine.yaml").write_text(SPEC.replace("shuot", "shout"))
    for arguments in (("fine.yaml", "--set", "train.beta=x"), ("fine.yaml", "--set", "no.such=1")):
        assert uris(linted(*arguments, "--format", "sarif")) == ["fine.yaml"]
        assert "file=fine.yaml,line=1" in linted(*arguments, "--format", "github")
