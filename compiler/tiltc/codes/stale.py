"""T5xx: stale or refused."""

from __future__ import annotations

from tiltc.codes.code import Code
from tiltc.codes.exporting import EXPORTING
from tiltc.codes.harvesting import HARVESTING
from tiltc.codes.inputs import INPUTS
from tiltc.codes.placing import PLACING
from tiltc.codes.reading import READING
from tiltc.codes.rows import ROWS
from tiltc.codes.running import RUNNING
from tiltc.codes.sealing import SEALING
from tiltc.codes.trained import TRAINED

STALE: tuple[Code, ...] = (*HARVESTING, *ROWS, *RUNNING, *INPUTS, *EXPORTING, *PLACING, *SEALING, *READING, *TRAINED)
