"""SAELens releases are looked up in the list of the installed sae-lens, without importing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tiltc.lint import lint
from tiltc.parse.rules import releases

SPEC = """\
tiltc: 1
name: case
sae: {release: %s, id: %s}
signals:
  - suppress: std.style.bold
"""


def codes(folder: Path, release: str, name: str) -> list[str]:
    (folder / "spec.yaml").write_text(SPEC % (release, name), encoding="utf-8")
    return [d.code for d in lint(folder / "spec.yaml")[1]]


def test_releases_and_ids(tmp_path: Path) -> None:
    """What is listed passes, what is not is an error, and a repository on the hub needs no entry."""
    pytest.importorskip("sae_lens")
    assert codes(tmp_path, "gpt2-small-res-jb", "blocks.8.hook_resid_pre") == []
    assert codes(tmp_path, "gpt2-small-res-jb", "blocks.99.hook_resid_pre") == ["T168"]
    assert codes(tmp_path, "no-such-release", "blocks.8.hook_resid_pre") == ["T168"]
    assert codes(tmp_path, "owner/name", "anything") == []


def test_the_scan_of_the_list_is_its_reading() -> None:
    """Every release with its ids, as sae-lens itself reads them."""
    pytest.importorskip("sae_lens")
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    theirs = {name: tuple(release.saes_map) for name, release in get_pretrained_saes_directory().items()}
    ours = releases.known_releases()
    assert ours is not None
    assert {name: tuple(dict.fromkeys(ids)) for name, ids in ours.items()} == theirs


def test_without_sae_lens_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lint can't know, and leaves it to harvest."""
    releases.known_releases.cache_clear()
    monkeypatch.setattr(releases, "find_spec", lambda name: None)
    assert codes(tmp_path, "no-such-release", "blocks.8.hook_resid_pre") == []
    releases.known_releases.cache_clear()


def test_looking_imports_neither_sae_lens_nor_torch(tmp_path: Path) -> None:
    """Lint of a spec with a release stays light."""
    (tmp_path / "spec.yaml").write_text(SPEC % ("no-such-release", "x"), encoding="utf-8")
    code = (
        "import sys; from tiltc.lint import lint; lint(sys.argv[1]); print(*{'torch', 'sae_lens'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "spec.yaml"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
