"""What a stranger adds to debride. Importing it leaves a mark where the tests ask for one."""

import os
from pathlib import Path

if mark := os.environ.get("STRANGER_MARK"):
    Path(mark).touch()
