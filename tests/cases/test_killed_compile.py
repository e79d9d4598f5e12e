"""A plan that is replaced as its process is killed is the old one or the new one, whole."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.compiler import fabricated
from tests.compiler.fabricated import plan
from tiltc.canonical import sha256_file
from tiltc.files import settle
from tiltc.planfile import PLAN_FILES, read_plan, write_plan

#: writes one plan with vectors and one without, in turns, until it is killed
WRITER = """
import sys
from pathlib import Path
import numpy as np
from tests.compiler import fabricated
from tests.cases.test_killed_compile import VECTORS, other
from tiltc.files import settle
from tiltc.planfile import write_plan

folder = Path(sys.argv[1])
print("begun", flush=True)
while True:
    write_plan(other(), fabricated.rows(), folder)
    write_plan(fabricated.plan(), fabricated.rows(), folder, VECTORS)
"""
VECTORS = {"calm": np.arange(4, dtype=np.float32)}
ROOT = Path(__file__).parent.parent.parent


def other():
    return plan().model_copy(update={"name": "other"})


def files_of(folder: Path) -> dict[str, str]:
    return {name: sha256_file(folder / name) for name in PLAN_FILES if (folder / name).exists()}


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_compile_leaves_a_whole_plan(tmp_path: Path, seed: int) -> None:
    """SIGKILL at a random moment of writing: the files are those of one plan to the byte, and the digests hold.

    What its writer could not carry out, the next one does.
    """
    write_plan(other(), fabricated.rows(), tmp_path / "without")
    write_plan(plan(), fabricated.rows(), tmp_path / "with", VECTORS)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "plan")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "begun\n"
    while not (tmp_path / "plan" / "plan.json").exists():
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0, 0.3))
    writer.kill()
    writer.communicate()
    settle(tmp_path / "plan", PLAN_FILES)
    loaded, found = read_plan(tmp_path / "plan")
    assert loaded is not None, [*found]
    assert files_of(tmp_path / "plan") in (files_of(tmp_path / "without"), files_of(tmp_path / "with"))
