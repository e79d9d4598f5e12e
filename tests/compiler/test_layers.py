"""Who may import whom: the compiler never the runtime or the training stack, and lint next to nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COMPILER = ROOT / "compiler" / "tiltc"
TRAINING = {"torch", "transformers", "datasets", "trl", "sae_lens", "peft", "accelerate", "gguf"}
HEAVY = TRAINING | {"safetensors", "numpy", "scipy", "pyarrow", "jinja2", "markdown_it", "tiltc_runtime"}


def imported(file: Path) -> Iterator[str]:
    """Top-level names of the packages that a file imports anywhere."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("file", sorted(COMPILER.rglob("*.py")), ids=lambda file: str(file.relative_to(COMPILER)))
def test_compiler_imports_no_training_stack(file: Path) -> None:
    """No file of the compiler imports the runtime, torch or anything that needs it, not even within a function."""
    assert set(imported(file)) & (TRAINING | {"tiltc_runtime"}) == set()


def loaded(*arguments: str) -> set[str]:
    """Top-level modules in a fresh process after a command."""
    code = (
        "import sys, io; from tiltc.cli import main; main(sys.argv[1:], io.StringIO(), io.StringIO());"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("spec", ["plain-and-honest", "calm-refusals", "contradictory"])
def test_lint_loads_nothing_heavy(spec: str) -> None:
    """Linting starts no numeric library, so that it ends before one would have loaded."""
    modules = loaded("lint", str(ROOT / "specs" / "examples" / f"{spec}.yaml"))
    assert "pydantic" in modules
    assert modules & HEAVY == set()


def test_lint_without_patterns_loads_no_regex_engine(tmp_path: Path) -> None:
    """The engine is loaded for a spec that has a pattern, and for no other."""
    spec = tmp_path / "spec.yaml"
    spec.write_text("tiltc: 1\nname: a\nsignals: [suppress: std.style.bold]\n")
    assert "regex" not in loaded("lint", str(spec))


@pytest.mark.parametrize("arguments", [("--help",), ("explain",), ("concepts",), ("schema", "spec")])
def test_questions_load_no_training_stack(arguments: tuple[str, ...]) -> None:
    """Asking for help, codes, names or schemas loads nothing of the runtime."""
    assert loaded(*arguments) & (TRAINING | {"tiltc_runtime"}) == set()
