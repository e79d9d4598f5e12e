"""Arrow's own format, read first where it does no harm: damaged offsets in it end the process that reads them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, BinaryIO

from tiltc.data.places import Unreadable

if TYPE_CHECKING:
    import pyarrow as pa

_READ = """\
import sys
import pyarrow as pa
data = pa.py_buffer(sys.stdin.buffer.read())
try:
    table = pa.ipc.open_stream(data).read_all()
except pa.ArrowInvalid:
    table = pa.ipc.open_file(data).read_all()
table.validate(full=True)
"""


def arrow_table(file: BinaryIO) -> pa.Table:
    """The table of an Arrow stream or file, which another process has read and found whole.

    Raises:
        Unreadable: it can't be read, or reading it ends the process that tries.
    """
    import pyarrow as pa

    data = file.read()
    tried = subprocess.run([sys.executable, "-P", "-c", _READ], input=data, capture_output=True, check=False)
    if tried.returncode:
        said = tried.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unreadable(
            said[-1].partition(": ")[2][:300] if said and tried.returncode > 0 else "damaged: no reader gets to its end"
        )
    try:
        return pa.ipc.open_stream(data).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(data).read_all()
