"""The memory of ``audit_labels`` does not grow with the number of cases, of memory maps and generators."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SHAPE, CLASSES, FEW, MANY = (32, 128, 128), 4, 8, 22
EACH = CLASSES * 8 * 32 * 128 * 128 / 1e6
"""MB of the probabilities of a case, in double precision."""
TOLERANCE = 40.0

AUDIT = r"""
import re, sys
from pathlib import Path
import numpy as np
from debride.audit import audit_labels

def masks(cases):
    for at in range(cases):
        mask = np.zeros((32, 128, 128), np.int64)
        mask[10:20, 30 : 60 + at, 40:70] = 1
        yield mask

for cases in map(int, sys.argv[2:]):
    maps = np.load(sys.argv[1], mmap_mode="r")[:cases]
    audit_labels(masks(cases), maps, planted=1, jobs=1)
    print(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.system
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_more_cases_in_the_same_memory(tmp_path: Path) -> None:
    """The peak of a process, with the pages of mapped files that it holds, after an audit of 134 MB and after one of 369 MB."""
    file = tmp_path / "maps.npy"
    maps = np.lib.format.open_memmap(file, "w+", np.float64, (MANY, CLASSES, *SHAPE))
    for at in range(MANY):
        maps[at] = 0.01
        maps[at, 1, 10:20, 30 : 60 + at, 40:70] = 0.96
        maps[at, 0] = 1 - maps[at, 1:].sum(axis=0)
    del maps

    words = [sys.executable, "-c", AUDIT, str(file), str(FEW), str(MANY)]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    few, many = (int(peak) * 1024 / 1e6 for peak in told.split())
    assert EACH * (MANY - FEW) > 4 * TOLERANCE
    assert many - few < TOLERANCE
