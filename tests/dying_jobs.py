"""Jobs of a cluster that die, for tests: what is done in their process before they begin."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from debride.data import copy
from debride.execute.cluster import shard


def dying(command: list[str], how: str) -> list[str]:
    """The argument list of a job that dies by the function ``how`` of this module."""
    return [*command[:2], command[2].replace("main(", f"import tests.dying_jobs as dying; dying.{how}(); main("), *command[3:]]


def when_begun() -> None:
    """It dies before its first item."""
    shard._serve = die


def while_writing() -> None:
    """It dies while it writes its second label."""
    write, written = copy.write_label_like, []

    def dies(source: Path, ids: Any, dataset: Any, target: Path, **more: Any) -> Path:
        if written:
            (target.parent / ".tmp-of-another-machine.png").write_bytes(b"half")
            die()
        written.append(target)
        return write(source, ids, dataset, target, **more)

    copy.write_label_like = dies


def die(*_: object) -> Any:
    """Ends this process as a lost node does."""
    os.kill(os.getpid(), signal.SIGKILL)
