"""`tiltc run` under a launcher: the processes know of each other, also where there is no accelerator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases.shout import shouting_rows
from tests.worlds import make_world
from tiltc_runtime.record import read_record


@pytest.mark.slow
def test_torchrun_on_a_cpu(tmp_path: Path) -> None:
    """Two gloo processes train one run: nobody finds the folder in use, and one of them speaks for both."""
    # enough for several steps: the first one warms up, and moves nothing
    world = make_world(tmp_path, shouting_rows(32))
    assert world.tiltc("harvest", "spec.yaml").code == 0
    assert world.tiltc("compile", "spec.yaml", "-o", "plan").code == 0
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, "-m", "tiltc", "run", "plan", "-o", "run"],
        cwd=tmp_path, env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "T538" not in done.stdout
    assert done.stdout.count("final loss") == 1
    record = read_record(tmp_path / "run")
    assert record is not None
    assert record.hardware.processes == 2


LOOKS = """
import sys
from pathlib import Path
from tiltc_runtime.processes import from_main
from tiltc_runtime.train import is_main, join_processes

join_processes()
looked = []
answer = from_main(lambda: looked.append(1) or ("main" if is_main() else "other"))
try:
    from_main(lambda: 1 // 0)
except (ZeroDivisionError, RuntimeError) as problem:
    said = type(problem).__name__
Path(sys.argv[1], "main" if is_main() else "other").write_text(f"{answer} {len(looked)} {said}")
"""


@pytest.mark.slow
def test_one_process_looks_for_all(tmp_path: Path) -> None:
    """All get the answer of the main process, and none waits for ever where it fails."""
    (tmp_path / "looks.py").write_text(LOOKS)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "looks.py", str(tmp_path)]
    subprocess.run(
        [sys.executable, *launch], cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert (tmp_path / "main").read_text() == "main 1 ZeroDivisionError"
    assert (tmp_path / "other").read_text() == "main 0 RuntimeError"
